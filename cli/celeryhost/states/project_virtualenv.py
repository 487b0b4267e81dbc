"""A project's virtual environment: made when something asks for another one, beside the one that programs run from.

What is there is never changed, so that whatever fails (an index, a wheel's host, a compiler, the power) leaves it as it
was: environment.py has how a new one takes its place.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import re
from typing import Any

from ..account import converse, legible, named, run
from ..account import error as cause
from ..celery import resp
from ..errors import Failure
from ..project import releases
from ..project.git_key import lent
from ..scripts import requirements, source
from . import evidence, installer
from .environment import Place, stamp
from .installer import Broken
from .project_git import ENVIRONMENT as GIT

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "directory": {"type": "path", "required": True},
    "top": {"type": "path"},
    "owner": {"type": "str", "required": True},
    "python": {"type": "str", "default": "/usr/bin/python3"},
    "system_site_packages": {"type": "bool", "default": False},
    "requirements": {"type": "list", "elements": "str"},
    "extensions": {"type": "list", "elements": "str", "default": []},
    "tools": {"type": "list", "elements": "str", "default": []},
    "managed": {"type": "bool", "default": True},
    "redis_version": {"type": "str", "default": ""},
    "record": {"type": "path"},
    "key": {"type": "path"},
    "folder": {"type": "path"},
    "app": {"type": "str", "default": ""},
}

LOCK = "/run/celeryhost/pip.lock"
SECONDS = 20  # that reading a project's requirements may take
IMPORTS = 120  # that importing Celery may take, on a small board too
IMPORTED = "celery.bin.celery, kombu, redis"  # the first is the command, which an old Celery may have alone broken
OLDER_CELERY = ("celery[redis]<5.7", "kombu[redis]<5.7")
# A Celery before 5.5 takes any kombu, also one that does not run with the redis-py that Celery asks for.
CELERY = ("celery[redis]", "kombu[redis]")
BY_SSH = re.compile(r"\bssh://|\bgit@")
COMPILER = re.compile(
    r"(?:No such file or directory: |command |Unable to find )['\"]?[^'\"\n]*(?:gcc|g\+\+|cc|cargo|rustc|cmake)\b"
    r"(?!['\"]? failed with)"
    r"|[Cc]ompiler[^\n]*(?:not found|missing|cannot)|linker `cc` not found|Rust toolchain|(?:pg|mysql|mariadb)_config"
    r"|pkg-config[^\n]*(?:not found|exit)|fatal error: [\w./]+\.h: No such file"
)
UNBUILT = re.compile(
    r"Failed to (?:download and )?build `([\w.-]+?)(?:==(?P<version>[^`]+)| @ [^`]*)?`"
    r"|Failed (?:building wheel for|to build) (?:installable wheels for some [\w.]+ based projects \()?([\w.-]+)"
    r"|(?:Encountered error while generating package metadata|metadata-generation-failed)[^╰]*╰─> ([\w.-]+)"
)
# What is published as wheels alone.
UNMADE = re.compile(r"Because ([\w.-]+)(?:\{[^}]*\})?==(\S+) has no wheels with a matching (?:Python|platform)")
# What compiling needs from Debian beside gcc and python3-dev.
HEADERS = {
    "psycopg2": "libpq-dev",
    "psycopg": "libpq-dev",
    "psycopg-c": "libpq-dev",
    "mysqlclient": "default-libmysqlclient-dev, pkg-config",
    "pillow": "libjpeg-dev, zlib1g-dev",
    "lxml": "libxml2-dev, libxslt1-dev",
    "cffi": "libffi-dev",
    "cryptography": "libssl-dev, cargo, pkg-config",
    "python-ldap": "libldap-dev, libsasl2-dev",
    "pycurl": "libcurl4-openssl-dev, libssl-dev",
    "xmlsec": "libxmlsec1-dev, pkg-config",
}
# What packages for an older Python miss in a newer one.
OLDER_PYTHON = re.compile(
    r"No module named '(asynchat|asyncore|audioop|cgi|crypt|distutils|imp|imghdr|nntplib|pipes|smtpd|telnetlib)'"
    r"|'_acquireLock'|'(formatargspec|getargspec|coroutine)'|cannot import name '\w+' from 'collections'"
    r"|'EntryPoints' object has no attribute 'get'"
)
# The ways out for a release that is older than the Python.
OTHER = 'take another release of it, or name an older Python, such as python: "3.11"'


def too_old(version: str | None) -> bool:
    return bool(version) and tuple(map(int, (version or "").split(".")[:2])) < resp.OLDEST


def declared(owner: str, directory: str, top: str | None, files: list[str] | None) -> dict[str, Any]:
    """As requirements.declared, which `owner` runs: root reads no file that an app names."""
    question = json.dumps({"directory": directory, "top": top or directory, "named": files}).encode()
    try:
        code, said, why = converse(
            ["/usr/bin/python3", "-IS", "-c", source(requirements)],
            named(owner),
            question,
            SECONDS,
            limit=requirements.MOST * requirements.LARGEST,
        )
        found = json.loads(said) if code == 0 else {"problem": f"requirements: {directory}: {why.decode()[-200:]}"}
    except TimeoutError as error:
        found = {"problem": f"requirements: {directory}: reading them was {error}"}
    if problem := found.get("problem"):
        raise Failure(problem)
    return found


def version_of(python: str) -> str:
    """Its first two numbers, as its name has them; "" where it has none."""
    found = re.fullmatch(r"(?:.*/python)?(\d+\.\d+)(?:\.\d+)?", os.path.realpath(python) if "/" in python else python)
    return found[1] if found else ""


def python_problem(python: str, wanted: str) -> str:
    """Why a project for the Pythons `wanted` does not run on this one; "" where it does, or where that is not known."""
    version = version_of(python)
    major, _, minor = version.partition(".")
    if not wanted or not version or requirements.fits((int(major), int(minor)), wanted):
        return ""
    fitting = [minor for minor in (12, 13, 14, 11, 10, 15, 9) if requirements.fits((3, minor), wanted)]
    such = f', such as python: "3.{fitting[0]}", which uv brings where the host has none,' if fitting else ""
    return (
        f"the project is for Python {wanted} (requires-python), and {python} is {version}; name another{such} or a path"
    )


class Environment:
    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.path = params["path"]
        self.python = os.path.join(self.path, "bin", "python")
        self.owner = params["owner"]
        self.warnings: list[str] = []
        folder = params.get("folder")
        known = releases.load(params["app"]).releases if folder else []
        self.place = Place(self.path, self.owner, folder, [each.virtualenv for each in known])

    def versions(self, path: str | None = None) -> list[str] | None:
        """Versions of celery and kombu in it; None when it does not work."""
        python = os.path.join(path or self.path, "bin", "python")
        script = (
            "import json; from importlib.metadata import version;"
            f"import {IMPORTED};"
            "print(json.dumps([version('celery'), version('kombu')]))"
        )
        if not os.access(python, os.X_OK) or not os.path.isdir(self.params["directory"]):
            return None
        code, output = run(self.owner, python, "-c", script, cwd=self.params["directory"], seconds=IMPORTS)
        try:
            celery, kombu = map(str, json.loads(output.splitlines()[-1])) if code == 0 else ("", "")
        except (ValueError, TypeError, IndexError, RecursionError):  # its Python says something else
            return None
        return [celery, kombu] if celery and re.match(r"\d+\.\d+", kombu) else None

    def refusal(self, path: str) -> str:
        """Why Celery cannot be imported there, with the way out."""
        options = {"cwd": self.params["directory"], "seconds": IMPORTS}
        _, output = run(self.owner, f"{path}/bin/python", "-c", f"import {IMPORTED}", **options)
        why = cause(output, self.params["directory"])
        if why.startswith("SyntaxError") or OLDER_PYTHON.search(why):
            return f"{why}; they are for an older Python than {version_of(self.params['python'])}: {OTHER}"
        return f"{why}; run again"

    def lacking(self, names: list[str]) -> list[str]:
        """Names of the requirements `names` that are not in it, in whatever version."""
        script = "import sys; from importlib.metadata import version; version(sys.argv[1])"
        plain = [found[0] for name in names if (found := re.match(r"[\w.-]+", name))]
        options = {"cwd": self.params["directory"], "seconds": IMPORTS}
        return [name for name in plain if run(self.owner, self.python, "-c", script, name, **options)[0]]

    def fill(self, found: dict[str, Any], ours: list[str], revision: str) -> list[str]:
        """Make a new one, see that it works, and only then have it take the place of the other; return `versions`."""
        redis, place = self.params["redis_version"], self.place
        if (other := place.other(revision)) and (versions := self.versions(other)):
            place.switch(other)
            return versions
        path = place.new(revision)
        # What builds a package might use the key, too: it is lent where it is needed, and no further.
        by_ssh = any(BY_SSH.search(text) for text in found["texts"].values())
        try:
            with lent(self.params["key"] if by_ssh else None, self.owner) as key:
                self._fill(path, found, ours, (self.owner, self.params["directory"], place.cache, GIT | key))
        except Broken as broken:
            place.remove(path)
            if broken.code < 0:
                raise Failure(
                    f"the installer was killed by signal {-broken.code}, 9 often for want of memory: "
                    "add swap or stop something, run again"
                ) from None
            asked = "\n".join(found["texts"].values()), version_of(self.params["python"])
            raise Failure(explained(broken.output, redis, *asked) or last(broken.output)) from None
        except Failure:
            place.remove(path)
            raise
        versions = self.versions(path)
        if not versions:
            why = self.refusal(path)
            place.remove(path)
            raise Failure(f"all is installed, but celery and redis cannot be imported in {path}: {why}")
        place.switch(path)
        return versions

    def _fill(
        self, path: str, found: dict[str, Any], ours: list[str], where: tuple[str, str, str, dict[str, str]]
    ) -> None:
        program = installer.fetch_uv()
        if not program:
            return self._install(installer.Pip(*where), path, found, ours)
        try:
            return self._install(installer.Uv(program, *where), path, found, ours)
        except Broken as broken:
            if broken.refused:
                raise
            # It is uv that has failed: on a processor that it does not know, for want of memory, by a fault of its own.
            pip = installer.Pip(*where)
            try:
                pip.clear(path)
                self._install(pip, path, found, ours)
            except (Broken, Failure):
                raise broken from None
            self.warnings.append(f"uv has failed, and pip has filled {self.path}: {last(broken.output)}")

    def _install(self, tool: installer.Pip | installer.Uv, path: str, found: dict[str, Any], ours: list[str]) -> None:
        tool.make(path, self.params["python"], self.params["system_site_packages"])
        named = [word for file in found["files"] for word in ("-r", file)]
        if found["kind"] in ("", "requirements") and not found["hashed"]:
            return beside(tool, path, named, ours)
        if found["kind"] == "requirements":
            tool.install(path, named)
        elif found["kind"] == "pyproject":
            file = found["files"][0]
            groups = requirements.deployed_groups(found["texts"][file])
            named = [word for name in groups for word in ("--group", f"{file}:{name}")] or named
            return beside(tool, path, named, ours) if tool.reads_pyproject else tool.locked(path, found)
        else:
            tool.locked(path, found)
        # Ours come apart: they have no hashes, and change nothing of what is locked.
        kept = [line for line in tool.frozen(path).splitlines() if re.match(r"[\w.-]+==", line)]
        tool.write(limits := f"{tool.cache}/tmp/locked.txt", "\n".join(kept))
        try:
            return beside(tool, path, ["-c", limits], ours)
        except Broken as broken:
            if not unsolved(broken.output):
                raise
            names = " ".join(os.path.basename(file) for file in found["files"])
            raise Failure(
                f"{names} locks what celeryhost's {' '.join(ours)} does not go with: {last(broken.output)}",
                fix="add them to the project, and lock it again",
            ) from None


def beside(tool: installer.Pip | installer.Uv, path: str, words: list[str], ours: list[str]) -> None:
    """Install `ours` with what `words` say; where those take a redis-py outside Celery's bounds for it, that one."""
    try:
        return tool.install(path, [*words, *ours])
    except Broken as broken:
        if not unsolved(broken.output):
            raise
        plain = [word.replace("[redis]", "") for word in ours]
        try:
            return tool.install(path, [*words, *plain, "redis", "packaging"])
        except Broken:
            raise broken from None


def unsolved(output: str) -> bool:
    """Whether an installer has found no versions that go with each other."""
    return "ResolutionImpossible" in output or "No solution found" in output


def explained(output: str, redis: str | None, asked: str = "", python: str = "") -> str:
    """What an installer's `output` means, in one line with the way out; "" where it says that itself.

    `asked` is what the requirements say, `python` the version that they are for.
    """
    output = legible(output)
    if unsolved(output) and too_old(redis) and re.search(r"celery|kombu", output):
        return (
            f"requirements ask for a Celery that does not run on Redis {redis} (5.7 needs 6.2); "
            "allow celery<5.7 and kombu<5.7 there, or use a newer Redis"
        )
    if "ResolutionImpossible" in output:
        return "requirements contradict each other: " + " ".join(re.findall(r"^ {4}(.+)$", output, re.MULTILINE)[:4])
    if "No space left on device" in output:
        return "no space left on device; free some and run again"
    if re.search(r"Git executable not found|Cannot find command 'git'", output):
        return "a requirement comes from git, which is not there; write packages: [git, ca-certificates]"
    if re.search(r"Permission denied \(publickey|Host key verification failed", output):
        return (
            "a requirement comes from git by ssh, which does not let this host in; write git_key: generate, "
            "and let its key read that repository, too"
        )
    if found := UNMADE.search(output):
        return f"{unmade(found[1], found[2], python)}; {OTHER}"
    found = UNBUILT.search(output)
    if not found:
        return ""
    name, version = next(filter(None, found.group(1, 3, 4))), found["version"]
    pinned = re.search(rf"^[ \t\"']*{re.escape(name)}(?:\[[^\]]*\])?\s*===?", asked, re.MULTILINE | re.IGNORECASE)
    return unbuilt(name, version if pinned else None, python, output)


def unbuilt(name: str, pin: str | None, python: str, output: str) -> str:
    """Why a package that has no wheel for this machine could not be built from its source."""
    said = unmade(name, pin, python)
    if COMPILER.search(output):
        plain = name.lower().removesuffix("-binary").replace("_", "-")
        packages = ", ".join(filter(None, ["gcc", "python3-dev", HEADERS.get(plain)]))
        said += ", and there is nothing to build it with; "
        if pin and name.lower() != plain:  # there are wheels, of later releases
            return f"{said}{OTHER}, or write packages: [{packages}]"
        debian = (
            f"take Debian's build (packages: [python3-{plain}], system_site_packages: true) or a release with a wheel"
        )
        return f"{said}write packages: [{packages}], or {OTHER if pin else debian}"
    if offline := re.search(r"(?:error sending request for url \((\S+)\)|fatal: unable to access '(\S+?)')", output):
        return (
            f"{name} in requirements cannot be fetched from {offline[1] or offline[2]}; see that it answers, run again"
        )
    errors = re.findall(r"^[ │]*((?:[\w.]+(?:Error|Exception)): .+)$", output, re.MULTILINE)
    errors = errors or re.findall(r"^[ │]*([\w./-]+\.\w+:\d+:\d+: error: .+)$", output, re.MULTILINE)[:1]
    errors = errors or re.findall(r"^[ │]*(error: .+)$", output, re.MULTILINE)
    cause = errors[-1].strip() if errors else "its build fails"
    return f"{said}, and cannot be built from its source: {cause}; {OTHER}"


def unmade(name: str, pin: str | None, python: str) -> str:
    """That a package has no wheel."""
    return (
        f"{name}{f'=={pin}' if pin else ''} in requirements has no wheel for this machine and "
        f"{f'Python {python}' if python else 'its Python'}"
    )


def last(output: str) -> str:
    """The cause that an installer names: the first `error:` of uv with its first cause, pip's last ERROR."""
    output = legible(output)
    _, found, told = output.partition("No solution found")
    if found and "unsatisfiable." in told:
        told = told.partition("\n")[2].partition("unsatisfiable.")[0] + "unsatisfiable."
        conclusions = re.split(r"^[ \t]*(?:And because|cause: Because) ", told, flags=re.MULTILINE)
        return "no versions go with each other: because " + " ".join(conclusions[-1].split())
    lines = [
        line.strip() for line in output.splitlines() if line.strip() and not line.startswith(("[notice]", "WARNING"))
    ]
    for number, line in enumerate(lines):
        if line.startswith("error: "):
            causes = [text.removeprefix("cause: ") for text in lines[number + 1 :] if text.startswith("cause: ")]
            shown = [causes[0], *causes[1:][-1:]] if causes else []
            return ": ".join([line.removeprefix("error: "), *shown])
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no output")


def known_versions(record: str | None) -> list[str] | None:
    """What the app's last load has said of it (celery_app.py), as long as all that was read for that is as it was."""
    kept = evidence.load(record) if record else None
    if kept and evidence.holds(kept, kept.get("key", "")):
        versions: list[str] | None = kept["answer"]["versions"]
        return versions
    return None


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    if check or not params["managed"]:
        return _bring(params, check)
    # One at a time: several fill a board's memory, and one that a killed run has begun may still be at work.
    os.makedirs(os.path.dirname(LOCK), mode=0o700, exist_ok=True)  # nobody else's to hold
    with open(LOCK, "a", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with releases.preparing(params["directory"]):
            return _bring(params, check)


def _bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    environment = Environment(params)
    directory, redis = params["directory"], params["redis_version"]
    try:
        pwd.getpwnam(environment.owner)
        account = True
    except KeyError:
        account = False
    unknown = check and not (account and os.path.isdir(directory))
    found: dict[str, Any] = {"kind": "", "files": [], "texts": {}, "python": "", "hashed": False}
    if params["managed"] and not unknown:
        found = declared(environment.owner, directory, params.get("top"), params["requirements"])
        if problem := python_problem(params["python"], found["python"]):
            raise Failure(problem)
    celery = list(OLDER_CELERY if too_old(redis) else CELERY)
    celery += params["extensions"]
    if not found["kind"] and os.path.lexists(os.path.join(directory, "manage.py")):
        celery.append("django")  # declared nowhere, and manage.py does nothing without it
    python = os.path.realpath(params["python"]) if "/" in params["python"] else params["python"]
    texts = found["texts"]
    if params.get("folder"):  # which releases share, unless they install the project itself from its folder
        top = "" if requirements.is_local(texts) else params["top"]
        texts = {os.path.relpath(path, top) if top else path: text for path, text in texts.items()}
    wanted = [texts, celery, python, params["system_site_packages"]]
    revision = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]
    versions = ((check and known_versions(params["record"])) or environment.versions()) if account else None
    lacking = environment.lacking(params["tools"]) if versions else []
    changed = params["managed"] and (not versions or stamp(environment.path) != revision or bool(lacking))
    if changed and not check:
        versions = environment.fill(found, [*celery, *params["tools"]], revision)
    if not versions and not params["managed"]:
        raise Failure(
            f"virtualenv {environment.path} holds no working celery[redis]; "
            "install it there, or leave `requirements: false` out"
        )
    if lacking and not params["managed"]:
        raise Failure(
            f"virtualenv {environment.path} lacks {', '.join(lacking)}; install that there, or leave "
            "`requirements: false` out"
        )
    if versions and too_old(redis) and [*map(int, versions[1].split(".")[:2])] >= [5, 7] and not changed:
        raise Failure(
            f"Celery {versions[0]} with kombu {versions[1]} in {environment.path} does not run on Redis {redis}; "
            "install celery<5.7 and kombu<5.7 there, or use Redis 6.2 or later"
        )
    shown = [
        line for path in found["files"] if found["kind"] == "requirements" for line in found["texts"][path].splitlines()
    ]
    after = "".join(f"{line}\n" for line in [*(shown or found["files"]), *celery])
    return {
        "changed": changed,
        "pending": changed,
        "revision": revision if params["managed"] else "",
        "path": os.path.realpath(environment.path),
        "celery": versions[0] if versions else "",
        # A task in the background leaves its result on the host, and an index may have a password.
        "diff": {"before": "", "after": after} if changed and check else {},
        "warnings": environment.warnings,
    }

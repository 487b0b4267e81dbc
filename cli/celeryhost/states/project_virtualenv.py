"""A project's virtual environment: made, filled and mended only when something asks for it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil

from ..account import run
from ..errors import Failure

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "directory": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "system_site_packages": {"type": "bool", "default": False},
    "requirements": {"type": "list", "elements": "str"},
    "extensions": {"type": "list", "elements": "str", "default": []},
    "tools": {"type": "list", "elements": "str", "default": []},
    "managed": {"type": "bool", "default": True},
    "redis_version": {"type": "str", "default": ""},
    "versions": {"type": "list", "elements": "str"},
}

STAMP = ".celeryhost.json"
LOCK = "/run/celeryhost-pip.lock"
# kombu 5.7 uses ZRANGE … BYSCORE (kombu issue 2628), which Redis has from 6.2.
OLDEST_REDIS = (6, 2)
OLDER_CELERY = ("celery[redis]<5.7", "kombu<5.7")
COMPILER = re.compile(
    r"error: (?:command '[^']*(?:gcc|cc|clang)[^']*'|.*[Cc]ompiler)|Unable to find .*compiler|pg_config"
)
UNBUILT = re.compile(
    r"Failed (?:building wheel for|to build) (?:installable wheels for some pyproject.toml based projects \()?([\w.-]+)"
)
# What ensurepip brings, without the 2 s on a server, 14 on a board, in which it compiles that on one processor: such a
# wheel is installed by unpacking it (https://packaging.python.org/en/latest/specifications/binary-distribution-format/).
UNPACK = """
import ensurepip, glob, os, sys, sysconfig, zipfile
wheels = sysconfig.get_config_var("WHEEL_PKG_DIR") or os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
for name in ["pip", "setuptools"] if sys.version_info < (3, 12) else ["pip"]:
    (wheel,) = glob.glob(os.path.join(wheels, name + "-*-py3-none-any.whl"))
    zipfile.ZipFile(wheel).extractall(sysconfig.get_path("purelib"))
from pip._vendor.distlib.scripts import ScriptMaker
maker = ScriptMaker(None, sysconfig.get_path("scripts"))
maker.variants = {"", "X"}
maker.make("pip = pip._internal.cli.main:main")
"""


def stamp(path):
    """The `revision` that a virtual environment was last filled for; None where that is not known."""
    try:
        with open(os.path.join(path, STAMP), encoding="utf-8") as file:
            return json.load(file).get("revision")
    except (OSError, ValueError):
        return None


def too_old(version):
    return bool(version) and tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS


def texts(directory, files, seen):
    """The text of each file of requirements and of those it includes (-r, -c), by path."""
    for name in files:
        path = os.path.join(directory, name)
        if path in seen:
            continue
        try:
            with open(path, encoding="utf-8") as file:
                seen[path] = file.read()
        except OSError as error:
            raise Failure(
                f"requirements: {path}: {error.strerror}; name a file in {directory}, or leave the key out"
            ) from None
        included = re.findall(r"^\s*(?:-[rc]|--requirement|--constraint)[ =]*(\S+)", seen[path], re.MULTILINE)
        texts(os.path.dirname(path), [name for name in included if "://" not in name], seen)
    return seen


class Environment:
    def __init__(self, params):
        self.params = params
        self.path = params["path"]
        self.python = os.path.join(self.path, "bin", "python")
        self.owner = params["owner"]

    def run(self, *command):
        """(code, output) of `command` as the owner."""
        environment = {
            "MAKEFLAGS": "-j1",
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "TMPDIR": os.path.join(self.path, ".tmp"),
        }
        return run(self.owner, *command, cwd=self.params["directory"], environment=environment)

    def versions(self):
        """Versions of celery and kombu in it; None when it does not work."""
        script = (
            "import json; from importlib.metadata import version;"
            "import celery, kombu, redis;"
            "print(json.dumps([version('celery'), version('kombu')]))"
        )
        if not os.access(self.python, os.X_OK) or not os.path.isdir(self.params["directory"]):
            return None
        code, output = self.run(self.python, "-c", script)
        return json.loads(output.splitlines()[-1]) if code == 0 else None

    def lacking(self, names):
        """Names of the requirements `names` that are not in it, in whatever version."""
        script = "import sys; from importlib.metadata import version; version(sys.argv[1])"
        plain = (re.match(r"[\w.-]+", name)[0] for name in names)
        return [name for name in plain if self.run(self.python, "-c", script, name)[0]]

    def make(self, clear):
        """Make the environment itself, as the owner, in a folder that only root may be able to make."""
        account = pwd.getpwnam(self.owner)
        if not os.path.isdir(self.path):
            os.makedirs(self.path, 0o755)
            os.chown(self.path, account.pw_uid, account.pw_gid)
        self.clean()
        options = ["--clear"] if clear else []
        options += ["--system-site-packages"] if self.params["system_site_packages"] else []
        code, output = self.run(self.params["python"], "-m", "venv", "--without-pip", *options, self.path)
        if code == 0 and self.run(self.python, "-c", UNPACK)[0]:
            code, output = self.run(self.python, "-m", "ensurepip", "--upgrade", "--default-pip")
        if code:
            raise Failure(f"virtualenv {self.path} cannot be made with {self.params['python']}: {last(output)}")

    def clean(self):
        temporary = os.path.join(self.path, ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        if self.run("mkdir", temporary)[0]:
            raise Failure(f"virtualenv {self.path} is not {self.owner}'s; chown -R {self.owner} {self.path}")

    def fill(self, requirements, revision, redis):
        """Install with pip; return `versions`. The stamp goes first and comes last, so that a killed run is seen."""
        stamp = os.path.join(self.path, STAMP)
        if os.path.lexists(stamp):
            os.unlink(stamp)
        pip = [self.python, "-m", "pip", "install", "--no-cache-dir", "--prefer-binary", "--retries=5", "--timeout=60"]
        # pip would compile all, on one processor; Python compiles what is imported, a third of it, when it is.
        pip += ["--progress-bar=off", "--no-compile"]
        fresh = False
        if not os.access(self.python, os.X_OK) or self.run(self.python, "-m", "pip", "--version")[0]:
            self.make(clear=True)
            fresh = True
        self.clean()
        code, output = self.run(*pip, *requirements)
        if code > 0 and not fresh and not explained(output, redis):
            self.make(clear=True)
            self.clean()
            code, output = self.run(*pip, *requirements)
        shutil.rmtree(os.path.join(self.path, ".tmp"), ignore_errors=True)
        if code < 0:
            raise Failure(
                f"pip was killed by signal {-code}, 9 often for want of memory: add swap or stop something, run again"
            )
        if code:
            raise Failure(explained(output, redis) or f"pip: {last(output)}")
        versions = self.versions()
        if not versions:
            raise Failure(
                f"pip is done, but celery cannot be imported in {self.path}: remove that folder and run again"
            )
        code, output = self.run("sh", "-c", 'printf %s "$1" >"$2"', "sh", json.dumps({"revision": revision}), stamp)
        if code:
            raise Failure(f"{stamp}: {last(output)}")
        return versions


def explained(output, redis):
    """What pip's `output` means, for the failures that a second try would not mend; "" for any other."""
    if "ResolutionImpossible" in output and too_old(redis):
        return (
            f"requirements ask for a Celery that does not run on Redis {redis} (5.7 needs 6.2); "
            "allow celery<5.7 and kombu<5.7 there, or use a newer Redis"
        )
    if "ResolutionImpossible" in output:
        return "requirements contradict each other: " + " ".join(re.findall(r"^ {4}(.+)$", output, re.MULTILINE)[:4])
    if "No space left on device" in output:
        return "pip: no space left on device; free some and run again"
    if COMPILER.search(output):
        name = (UNBUILT.search(output) or [None, "a package"])[1]
        return (
            f"{name} in requirements has no wheel for this machine and there is no compiler; take Debian's build "
            f"(packages: [python3-{name.removesuffix('-binary')}], system_site_packages: true) or one with a wheel"
        )
    if "No matching distribution found" in output:
        return last(output)
    return ""


def last(output):
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(("[notice]", "WARNING"))]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no output")


def bring(params, check):
    if check or not params["managed"]:
        return _bring(params, check)
    # One pip at a time: several fill a board's memory, and one that a killed run has begun may still be at work.
    with open(LOCK, "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _bring(params, check)


def _bring(params, check):
    environment = Environment(params)
    directory, files, redis = params["directory"], params["requirements"], params["redis_version"]
    if files is None:
        files = ["requirements.txt"] if os.path.isfile(os.path.join(directory, "requirements.txt")) else []
    missing = check and not os.path.isdir(directory)
    seen = {} if missing else texts(directory, files, {})
    celery = list(OLDER_CELERY) if too_old(redis) else ["celery[redis]"]
    celery += params["extensions"]
    python = os.path.realpath(params["python"])
    wanted = [seen, celery, python, params["system_site_packages"]]
    revision = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]
    try:
        pwd.getpwnam(environment.owner)
        versions = params["versions"] or environment.versions()
    except KeyError:
        versions = None
    lacking = environment.lacking(params["tools"]) if versions else []
    changed = params["managed"] and (not versions or stamp(environment.path) != revision or bool(lacking))
    if changed and not check:
        names = [word for name in files for word in ("-r", os.path.join(directory, name))]
        versions = environment.fill([*names, *celery, *params["tools"]], revision, redis)
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
    after = "".join(f"{line}\n" for text in seen.values() for line in [*text.splitlines(), *celery])
    return {
        "changed": changed,
        "pending": changed,
        "revision": revision if params["managed"] else "",
        "celery": versions[0] if versions else "",
        # A task in the background leaves its result on the host, and an index may have a password.
        "diff": {"before": "", "after": after} if changed and check else {},
    }

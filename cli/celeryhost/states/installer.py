"""What fills a virtual environment: uv, which root's pip brings from the configured index, else the Python's own pip.

uv belongs to root and is run by the app's account alone, for it runs what packages bring to build them.
"""

from __future__ import annotations

import ast
import contextlib
import glob
import os
import re
import shutil
import subprocess
from typing import Any

from ..account import run
from ..errors import Failure
from ..paths import UV
from ..scripts import requirements

UV_REQUIREMENT = "uv>=0.13,<0.14"
UV_VERSION = re.compile(r"uv 0\.13\.")
# Debian keeps pip's wheel for ensurepip. It runs from there, without an environment of its own.
PIP = """
import ensurepip, glob, os, sys, sysconfig
wheels = sysconfig.get_config_var("WHEEL_PKG_DIR") or os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
sys.path.insert(0, glob.glob(os.path.join(wheels, "pip-*.whl"))[0])
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
# What `python -m venv` brings before Python 3.12, and packages of then rely on unsaid: the last with pkg_resources.
SETUPTOOLS = "setuptools<81"
NO_INDEX = "UV_NO_INDEX"  # uv itself has but an option for it
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# What turns a lock file that uv cannot read into requirements with hashes: [the tool, its words], one after the other.
EXPORTS = {
    # It refuses a lock file that is behind by itself; `poetry check` refuses what `poetry install` takes.
    "poetry.lock": [
        [["--from", "poetry", "--with", "poetry-plugin-export", "poetry"], ["export", "--format=requirements.txt"]],
    ],
    "pdm.lock": [
        [["pdm"], ["lock", "--check"]],
        [["pdm"], ["export", "--prod", "--format=requirements"]],
    ],
    "Pipfile.lock": [[["pipenv"], ["verify"]], [["pipenv"], ["requirements", "--hash"]]],
}


def fetch_uv() -> str | None:
    """uv's path; it is fetched where it is not there in the right version. None where that cannot be had."""
    program = f"{UV}/bin/uv"
    if _works(program):
        return program
    new = f"{UV}.new"
    shutil.rmtree(new, ignore_errors=True)
    command = ["/usr/bin/python3", "-I", "-c", PIP, "install", "--quiet", "--no-cache-dir", "--no-deps", "--no-input"]
    command += ["--only-binary=:all:", "--no-compile", "--disable-pip-version-check", "--target", new, UV_REQUIREMENT]
    environment = os.environ | {"PIP_ROOT_USER_ACTION": "ignore"}
    try:
        done = subprocess.run(command, cwd="/", env=environment, umask=0o022, capture_output=True, check=False)
        if done.returncode or not _works(f"{new}/bin/uv"):
            return None
        shutil.rmtree(UV, ignore_errors=True)
        os.rename(new, UV)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return program


def _works(program: str) -> bool:
    try:
        done = subprocess.run([program, "--version"], cwd="/", capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and bool(UV_VERSION.match(done.stdout))


class Broken(Exception):
    """An installer's exit code and output."""

    def __init__(self, code: int, output: str) -> None:
        super().__init__(output)
        self.code, self.output = code, output

    @property
    def refused(self) -> bool:
        """Whether uv has found fault with the requirements: 2 is for what it had not expected."""
        return self.code == 1 or "Couldn't parse" in self.output or "Error parsing" in self.output


class Pip:
    """The way without uv: no lock files, no pyproject.toml, and slower."""

    reads_pyproject = False

    def __init__(self, owner: str, directory: str, cache: str, environment: dict[str, str]) -> None:
        self.owner, self.directory, self.cache = owner, directory, cache
        self.environment = environment | {
            "MAKEFLAGS": "-j1",
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "TMPDIR": f"{cache}/tmp",  # /tmp may be in memory
        }

    def run(self, *command: str, **variables: str) -> str:
        code, output = run(
            self.owner, *command, cwd=self.directory, environment=self.environment | self.more() | variables
        )
        if code:
            raise Broken(code, output)
        return output

    def more(self) -> dict[str, str]:
        return {}

    def clear(self, path: str) -> None:
        self.run("find", path, "-mindepth", "1", "-delete")

    def make(self, path: str, python: str, system: bool) -> None:
        if not python.startswith("/"):
            raise Failure(f"python {python} is brought by uv, which this machine cannot have", fix="name a path")
        self.run(python, "-m", "venv", *(["--system-site-packages"] if system else []), path)

    def install(self, path: str, words: list[str]) -> None:
        self.run(
            *(f"{path}/bin/python", "-m", "pip", "install", "--no-cache-dir", "--prefer-binary", "--retries=5"),
            # pip would compile all, on one processor; Python compiles what is imported, a third of it, when it is.
            *("--timeout=60", "--progress-bar=off", "--no-compile"),
            *words,
        )

    def frozen(self, path: str) -> str:
        return self.run(f"{path}/bin/python", "-m", "pip", "freeze")

    def locked(self, path: str, found: dict[str, Any]) -> None:
        raise Failure(
            f"{os.path.basename(found['files'][0])} needs uv, and this machine's index has none for it",
            fix=f"let the index have {UV_REQUIREMENT}, or export it to requirements.txt and name that",
        )

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'printf %s "$1" >"$2"', "sh", text, path)


class Uv(Pip):
    """The usual way."""

    reads_pyproject = True

    def __init__(self, program: str, *where: Any) -> None:
        super().__init__(*where)
        self.program = program
        self.known: dict[str, str] | None = None

    def more(self) -> dict[str, str]:
        if self.known is None:
            code, output = run(
                self.owner, "/usr/bin/python3", "-I", "-c", PIP, "config", "list", cwd="/", environment=self.environment
            )
            said = re.findall(r"^(?:global|install|:env:)\.([\w-]+)=('.*'|\".*\")$", output if code == 0 else "", re.M)
            self.known = as_uv({name: ast.literal_eval(value) for name, value in said}) | {
                "UV_CACHE_DIR": self.cache,
                "UV_CONCURRENT_BUILDS": "1",
                "UV_NO_PROGRESS": "1",
                "UV_PYTHON_DOWNLOADS": "never",
                "UV_LINK_MODE": "hardlink",
                "NO_COLOR": "1",
            }
        return self.known

    def run(self, *command: str, **variables: str) -> str:
        if command[0] == self.program and command[1] in ("pip", "sync") and "freeze" not in command:
            command += ("--no-index",) if NO_INDEX in self.more() else ()
        return super().run(*command, **variables)

    def make(self, path: str, python: str, system: bool) -> None:
        words = ["--system-site-packages"] if system else []
        brings = {} if python.startswith("/") else {"UV_PYTHON_DOWNLOADS": "automatic"}
        self.run(self.program, "venv", "--quiet", "--allow-existing", "--python", python, *words, path, **brings)
        if glob.glob(f"{path}/lib/python3.[0-9]") or glob.glob(f"{path}/lib/python3.1[01]"):
            with contextlib.suppress(Broken):  # an index may do without
                self.install(path, [SETUPTOOLS])

    def install(self, path: str, words: list[str]) -> None:
        """What has no wheel for this machine is built; where that fails, a release with a wheel is looked for."""
        only: list[str] = []
        first = None
        while True:
            try:
                self.run(self.program, "pip", "install", "--quiet", "--python", path, *only, *words)
                return
            except Broken as broken:
                name = re.search(r"Failed to (?:download and )?build `([\w.-]+)", broken.output)
                first = first or broken
                if not name or name[1] in only or len(only) > 10:
                    raise first from None
                only += ["--only-binary", name[1]]

    def frozen(self, path: str) -> str:
        return self.run(self.program, "pip", "freeze", "--quiet", "--python", path)

    def locked(self, path: str, found: dict[str, Any]) -> None:
        kind, file = found["kind"], found["files"][0]
        folder = os.path.dirname(file)
        project = found["texts"].get(os.path.join(folder, requirements.PYPROJECT), "")
        if kind == "uv.lock":
            groups = [name for name in requirements.default_groups(project) if not requirements.is_development(name)]
            words = ["--no-default-groups", *(f"--group={name}" for name in groups)]
            self.run(
                *(self.program, "sync", "--quiet", "--locked", "--directory", folder, *words),
                UV_PROJECT_ENVIRONMENT=path,
                UV_PYTHON=f"{path}/bin/python",
            )
        elif kind == "pylock.toml":
            self.run(self.program, "pip", "install", "--quiet", "--python", path, "-r", file)
        else:
            self.run(
                self.program, "pip", "install", "--quiet", "--python", path, "-r", self._exported(kind, file, project)
            )

    def _exported(self, kind: str, file: str, project: str) -> str:
        """The path of the requirements that the tool which wrote the lock file makes of it."""
        output = ""
        for tool, words in EXPORTS[kind]:
            without = []
            if "export" in words and kind == "poetry.lock":
                names = [name for name in requirements.groups(project) if requirements.is_development(name)]
                known = [name for name in names if f"tool.poetry.group.{name}" in project or name != "dev"]
                without = [f"--without={','.join(known)}"] if known else []
            output = self.run(
                *("sh", "-c", 'cd "$1" && shift && "$@" 2>"$TMPDIR/said" || { cat "$TMPDIR/said"; exit 1; }'),
                *("sh", os.path.dirname(file), self.program, "tool", "run", "--quiet", "--python", "/usr/bin/python3"),
                *(*tool, *words, *without),
                PDM_CHECK_UPDATE="0",
                PIPENV_IGNORE_VIRTUALENVS="1",
                PIPENV_VERBOSITY="-1",
            )
        path = f"{self.cache}/tmp/exported.txt"
        self.write(path, output)
        return path


def as_uv(pip: dict[str, str]) -> dict[str, str]:
    """pip's settings as uv's variables (https://docs.astral.sh/uv/reference/environment/)."""
    there = [word for word in pip.get("extra-index-url", "").split() if _is_there(word)]
    found = {
        "UV_DEFAULT_INDEX": pip.get("index-url"),
        "UV_INDEX": " ".join(there),
        # pip takes the best of all its indexes.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if there else None,
        "UV_FIND_LINKS": ",".join(word for word in pip.get("find-links", "").split() if _is_there(word)),
        NO_INDEX: "1" if pip.get("no-index", "").lower() in ("1", "true", "yes", "on") else None,
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "UV_CONSTRAINT": " ".join(word for word in pip.get("constraint", "").split() if _is_there(word)),
        "UV_HTTP_TIMEOUT": pip.get("timeout") or pip.get("default-timeout") or "60",
        "SSL_CERT_FILE": pip.get("cert") or (CERTIFICATES if os.path.exists(CERTIFICATES) else None),
        "HTTPS_PROXY": pip.get("proxy"),
        "HTTP_PROXY": pip.get("proxy"),
    }
    return {name: value for name, value in found.items() if value}


def _is_there(location: str) -> bool:
    """pip passes over a folder that is not there."""
    path = location.removeprefix("file://")
    return "://" in path or os.path.exists(path)

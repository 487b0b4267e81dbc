"""A real supervisord in a temporary folder, without root, for each test that asks for one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from celeryhost.errors import Failure
from celeryhost.supervisor import locate, programs
from celeryhost.supervisor.rpc import Supervisor

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD = "celeryhost", "pass word%with:odd/characters"
OLD = {"3.4.0": "python2.7", "4.1.0": "python3.11"}  # the last for Python 2; 4.0 runs on none after 3.7
START_OLD = """
import site, sys
site.addsitedir(sys.argv.pop(1))
from supervisor.supervisord import main
main()
"""


class Daemon:
    """A supervisord: write its programs, start it, run `celeryhost` against it."""

    def __init__(self, folder: Path, supervisord: list[str]):
        self.folder = folder
        self.supervisord = supervisord
        self.config = folder / "supervisord.conf"
        self.socket = folder / "s"
        self.log = folder / "supervisord.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.process: subprocess.Popen | None = None
        (folder / "conf.d").mkdir()
        (folder / "bin").mkdir()
        launcher = folder / "bin" / "celeryhost"
        launcher.write_text(f"#!{sys.executable}\nfrom celeryhost.__main__ import main\n\nmain()\n")
        launcher.chmod(0o755)
        (folder / "log").mkdir()
        password = PASSWORD.replace("%", "%%")
        self.config.write_text(f"""
[supervisord]
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
nodaemon=true
{"user=root" if os.getuid() == 0 else ""}
[unix_http_server]
file=%(here)s/s
[inet_http_server]
port={self.url.removeprefix("http://")}
username={USER}
password={password}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%(here)s/s
[include]
files=conf.d/*.conf
""")

    def program(self, name: str, command: str = "sleep 1000", kind: str = "program", **settings) -> Path:
        """Write (again) the configuration of a program; it counts from the next start or `reloadConfig`."""
        lines = {
            "command": command,
            "startsecs": 0,
            "stopwaitsecs": 5,
            "redirect_stderr": "true",
            "stdout_logfile": f"{self.folder}/log/{name}.log",
        } | settings
        path = self.folder / "conf.d" / f"{name}.conf"
        path.write_text(f"[{kind}:{name}]\n" + "".join(f"{key}={value}\n" for key, value in lines.items()))
        return path

    def start(self, until=("RUNNING", "EXITED", "FATAL", "BACKOFF", "STOPPED")) -> Daemon:
        """Start it and wait until each program is in one of the states `until`."""
        self.process = subprocess.Popen(
            [*self.supervisord, "-n", "-c", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(lambda: all(p.state in until and (p.start or p.state == "STOPPED") for p in self.known()))
        return self

    @property
    def rpc(self) -> Supervisor:
        return Supervisor(locate.Server(f"unix://{self.socket}"))

    def known(self) -> list[programs.Process]:
        return programs.processes(self.rpc)

    def state(self, name: str) -> str:
        return next(p.state for p in self.known() if p.name == name)

    def pid(self, name: str) -> int:
        return next(p.pid for p in self.known() if p.name == name)

    def run(self, *args: str, **options) -> subprocess.CompletedProcess:
        """`celeryhost ARGS` that finds this supervisord by itself: beside its own folder, where root looks too."""
        return subprocess.run(self.argv(*args), **self.options(timeout=180, capture_output=True, **options))

    def popen(self, *args: str, **options) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.argv(*args), **self.options(**pipes | options))

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, str(self.folder / "bin" / "celeryhost"), *args]

    def command(self) -> str:
        """The text of a program `celeryhost` that finds this supervisord, for the PATH of a host."""
        start = f"PYTHONPATH={ROOT}/cli exec {sys.executable} {self.folder}/bin/celeryhost"
        return f'#!/bin/sh\ncd {self.folder} && {start} "$@"\n'

    def options(self, env=None, **options) -> dict:
        plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
        return {"cwd": self.folder, "text": True, "stdin": subprocess.DEVNULL, "env": plain | (env or {})} | options

    def end(self):
        """End supervisord and what it started, however stubborn."""
        if not self.process or self.process.poll() is not None:
            return
        try:
            left = [p.pid for p in self.known() if p.pid]
        except Failure:
            left = []
        self.process.send_signal(signal.SIGTERM)
        for pid in left:
            kill_group(pid)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def kill_group(pid: int):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def wait_for(truth, seconds: float = 120):
    """Wait until `truth()` holds; a supervisord that does not answer yet counts as no."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if truth():
                return
        except Failure:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not so after {seconds} s")


@pytest.fixture
def daemon():
    """A Daemon of the Supervisor that this environment holds, not started yet."""
    yield from _daemon([sys.executable, "-m", "supervisor.supervisord"])


@pytest.fixture(scope="module")
def shared_daemon():
    """A Daemon for all tests of a module."""
    yield from _daemon([sys.executable, "-m", "supervisor.supervisord"])


@pytest.fixture(params=OLD)
def old_daemon(request, pytestconfig):
    """A Daemon of an old release of Supervisor, which is installed at first use and kept in pytest's cache."""
    version, python = request.param, _python(OLD[request.param])
    if not python:
        pytest.skip(f"supervisor {version} needs {OLD[version]}")
    cache = Path(pytestconfig.cache.mkdir("supervisor"))
    place = cache / version
    if not place.exists():
        packages = [f"supervisor=={version}", "setuptools<70"]  # it imports pkg_resources
        made = Path(tempfile.mkdtemp(dir=cache))
        done = subprocess.run([python, "-m", "pip", "install", "-q", "--target", made, *packages], check=False)
        if done.returncode:
            shutil.rmtree(made)
            pytest.skip(f"supervisor {version} cannot be installed here")
        with contextlib.suppress(OSError):  # another worker was first
            made.rename(place)
    yield from _daemon([python, "-c", START_OLD, str(place)])


def _python(name: str) -> str | None:
    """A Python of that version, on PATH or of pyenv, whose own commands work for selected versions only."""
    found = sorted(Path.home().glob(f".pyenv/versions/{name.removeprefix('python')}*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _daemon(supervisord: list[str]):
    # A socket's path may be 107 bytes long, which pytest's own temporary folders can exceed.
    folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
    made = Daemon(folder, supervisord)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(folder)

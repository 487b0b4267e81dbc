"""What the measurements share: a supervisord with many programs, and the two command lines side by side."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"  # what a host has
SUPERVISOR = "4.3.0"
LAUNCHER = """#!{python} -IS
import sys

sys.path[:0] = ["{library}", "{click}"]
from celeryhost.__main__ import main

main()
"""


def supervisor() -> Path:
    """The bin folder of a virtual environment of PYTHON with Supervisor, made once."""
    place = ROOT / ".cache" / f"supervisor-{SUPERVISOR}"
    if not (place / "bin" / "supervisorctl").exists():
        subprocess.run([PYTHON, "-m", "venv", place], check=True)
        subprocess.run([place / "bin" / "pip", "install", "-q", f"supervisor=={SUPERVISOR}"], check=True)
    return place / "bin"


def click() -> Path:
    """The click of Debian 12, which `status` alone does without."""
    place = ROOT / ".cache" / "click-8.1.3"
    if not place.exists():
        subprocess.run([supervisor() / "pip", "install", "-q", "--target", place, "click==8.1.3"], check=True)
    return place


def install(folder: Path) -> Path:
    """celeryhost as on a host: compiled, started by PYTHON without site-packages; it finds supervisord.conf beside."""
    library = folder / "lib"
    shutil.copytree(
        ROOT / "cli" / "celeryhost", library / "celeryhost", ignore=shutil.ignore_patterns("__pycache__", "_ansible")
    )
    subprocess.run([PYTHON, "-m", "compileall", "-q", library], check=True)
    launcher = folder / "bin" / "celeryhost"
    launcher.parent.mkdir()
    launcher.write_text(LAUNCHER.format(python=PYTHON, library=library, click=click()))
    launcher.chmod(0o755)
    return launcher


@contextmanager
def running(programs: dict[str, str], files: dict[str, str] | None = None, more: str = ""):
    """A supervisord with `programs` (name: command) RUNNING; yields its folder and the two command lines.

    `files` (name: text) are put into the folder, which is `%(here)s` in commands; `more` are further sections.
    """
    folder = Path(tempfile.mkdtemp(prefix="ch-"))
    for name, content in (files or {}).items():
        (folder / name).write_text(content)
    config = folder / "supervisord.conf"
    text = f"""[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
{"user=root" if os.getuid() == 0 else ""}
[unix_http_server]
file={folder}/s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/s
"""
    for name, command in programs.items():
        text += f"[program:{name}]\ncommand={command}\nstdout_logfile={folder}/{name}.log\nredirect_stderr=true\n"
    config.write_text(text + more)
    tools = supervisor()
    commands = {
        "celeryhost": [install(folder)],
        "supervisorctl": [tools / "supervisorctl", "-c", config],
    }
    daemon = subprocess.Popen([tools / "supervisord", "-n", "-c", config], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(
            [*commands["celeryhost"], "status"], cwd=folder, capture_output=True, check=False
        ).returncode:
            if time.monotonic() > deadline:
                sys.exit("the programs do not start")
            time.sleep(0.2)
        yield folder, commands
    finally:
        daemon.terminate()
        daemon.wait(60)
        shutil.rmtree(folder)


def seconds(command, folder: Path) -> float:
    """How long a command takes; it must succeed."""
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def peak(command, folder: Path) -> float:
    """The most memory that a command held, in MB. By time(1), since a child of Python begins with Python's peak."""
    told = folder / "peak"
    subprocess.run(
        ["/usr/bin/time", "-f", "%M", "-o", told, *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return int(told.read_text()) / 1024


def alternate(measure, sides: dict, runs: int) -> dict[str, float]:
    """The median of `runs` measurements of each side, taken in turn so that a busy moment meets both."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, command in sides.items():
            found[name].append(measure(command))
    return {name: statistics.median(values) for name, values in found.items()}


def head():
    """The head of the table."""
    print(f"supervisor {SUPERVISOR}, Python {sys.version.split()[0]}, {os.cpu_count()} processors\n")
    print("| what | supervisorctl | celeryhost | ratio | at most |")
    print("|---|---|---|---|---|")


def row(what: str, found: dict[str, float], unit: str, limit: float) -> bool:
    """A line of the table; returns whether the ratio is within its limit."""
    ours, theirs = found["celeryhost"], found["supervisorctl"]
    print(f"| {what} | {theirs:.3g} {unit} | {ours:.3g} {unit} | {ours / theirs:.3f} | {limit} |", flush=True)
    return ours / theirs <= limit


def used(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss(pid: int) -> float:
    """Memory of a process in MB, its share of what it shares."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.partition("\nPss:")[2].split()[0]) / 1024

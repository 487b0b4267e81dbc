"""`restart` and `apply` killed at random moments, by a real supervisord: nothing left behind, nothing left stopped.

`python -m tests.kills [COUNT [SEED]]` prints a line for each command and each that went wrong; it is no part of every
run. What a SIGKILL has cut off the next run completes; what a TERM, HUP or INT was sent to ends it itself.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "integration"))

from conftest import Daemon, wait_for

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
PROGRAMS = ("one", "two", "three")
LONGEST = 1.5  # seconds after which the last kill comes
ENDS = 120  # seconds that the end may take, on a busy machine


def main(count: str = "50", seed: str = "1") -> int:
    """The number of kills that left something."""
    dice, failed = random.Random(seed), 0
    folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
    daemon = Daemon(folder, [sys.executable, "-m", "supervisor.supervisord"])
    try:
        for name in PROGRAMS:
            daemon.program(name)
        daemon.start(until=("RUNNING",))
        for command in ("restart", "apply"):
            killed = wrong = 0
            for number in range(int(count)):
                if command == "apply":
                    for name in PROGRAMS:
                        daemon.program(name, startretries=10 + number)
                sent = dice.choice(SIGNALS)
                was, problems = once(daemon, command, dice.uniform(0, LONGEST), sent)
                killed += was
                wrong += bool(problems)
                if problems:
                    print(f"{command} {number} of seed {seed}, {sent.name}: {'; '.join(problems)}", flush=True)
            print(f"{command}: {count} kills, {killed} before its end, {wrong} left something", flush=True)
            failed += wrong
    finally:
        daemon.end()
        shutil.rmtree(folder)
    return failed


def once(daemon, command: str, seconds: float, number: int):
    """(whether it was cut off, what was wrong behind it)."""
    process = daemon.popen(*([command, *PROGRAMS] if command == "restart" else [command]))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    killed = process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=ENDS)
    problems = ["a traceback"] if "Traceback" in said else []
    if number == signal.SIGKILL:  # who is killed so ends nothing
        done = daemon.run(*(["start", *PROGRAMS] if command == "restart" else ["apply"]))
        problems += [f"the next run: {done.stderr.strip()}"] if done.returncode else []
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not down(daemon), ENDS)
    problems += [f"{name} is {state}" for name, state in down(daemon).items()]
    problems += [f"{path.name} is left" for path in daemon.folder.glob("**/.*.celeryhost")]
    done = daemon.run("apply", "--dry-run")
    if done.returncode not in (0, 10) or re.search("Traceback|another apply", done.stderr):
        problems.append(f"apply afterwards: {done.stderr.strip()}")
    return killed, problems


def down(daemon) -> dict[str, str]:
    """The programs that do not run."""
    return {process.name: process.state for process in daemon.known() if process.state != "RUNNING"}


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))

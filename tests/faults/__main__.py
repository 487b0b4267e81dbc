"""Do every fault to celeryhost's configuration and to the one that blogs show, and print what came of it."""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from tests.hosts import requirements

from . import hosts, rows
from .stack import NAIVE, OURS, REDIS

HEAD = ["fault", "configuration", "sent", "lost", "waiting", "twice", "killed", "orphans", "again after", "remark"]
AT_ONCE = 6
BEGIN, END = "<!-- ./tests/run faults -->\n", "<!-- end -->"


def main():
    arguments = _parser().parse_args()
    local = [row for row in rows.LONG if re.search(arguments.k, row.name)]
    hosted = [] if arguments.no_hosts else [row for row in hosts.ROWS if re.search(arguments.k, row.name)]
    if hosted and (reasons := requirements()):
        print(f"faults: without hosts: {'; '.join(reasons)}", file=sys.stderr)
        hosted = []
    jobs = max(arguments.jobs, 1)
    cells = [(row, side) for row in local for side in (OURS, NAIVE)]
    with ThreadPoolExecutor(2) as machines, ThreadPoolExecutor(jobs) as stacks:
        there = [machines.submit(on_host, side, hosted) for side in (OURS, NAIVE) if hosted]
        here = stacks.map(lambda cell: attempt(*cell), cells)
        found = {(row.name, side): result for (row, side), result in zip(cells, here, strict=True)}
        for future in there:
            found |= future.result()
    text = table([*local, *hosted], found)
    print(text, end="")
    if arguments.write:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        write(arguments.write, f"`./tests/run faults` of {today}, {versions()}:\n\n{text}")
    return any(isinstance(result, str) for result in found.values())


def on_host(side: str, chosen: list) -> dict:
    """Do all faults for a host to one, one after the other."""
    found = {}
    try:
        with hosts.Machine(side) as machine:
            for row in chosen:
                found[row.name, side] = attempt(row, machine, machine.reset)
    except Exception as error:
        found |= {
            (row.name, side): f"{type(error).__name__}: {error}" for row in chosen if (row.name, side) not in found
        }
    return found


def attempt(row, side, prepare=lambda: None):
    """The Result of a row, after `prepare`; or what kept it from one twice, for a busy machine may be too slow once."""
    named = side if isinstance(side, str) else side.side
    for _ in range(2):
        begun, said = time.monotonic(), "done"
        try:
            prepare()
            return row.run(side)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            print(f"{row.name}, {named}: {said}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return said


def table(chosen: list, found: dict) -> str:
    lines = [HEAD, ["---"] * len(HEAD)]
    for row in chosen:
        for side in (OURS, NAIVE):
            result = found[row.name, side]
            if isinstance(result, str):
                lines.append([row.name, side, *[""] * 7, " ".join(result.split())])
            else:
                again = "" if result.again is None else f"{result.again:.1f} s"
                lines.append([row.name, side, result.sent, *result.count, again, result.remark])
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def versions() -> str:
    server = subprocess.run([REDIS, "--version"], capture_output=True, text=True, check=True).stdout
    packages = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis", "supervisor"))
    return f"Python {platform.python_version()}, {packages}, Redis {server.split('v=')[1].split()[0]}"


def write(path: Path, text: str):
    """Put the table between its marks."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"faults: {path} has no {BEGIN.strip()} … {END}: add both lines where the table goes")
    path.write_text(before + begin + text + end + after)


def _parser():
    parser = argparse.ArgumentParser(prog="./tests/run faults", description=__doc__)
    parser.add_argument("-k", default="", metavar="REGEX", help="only the faults whose names match")
    parser.add_argument("-j", "--jobs", type=int, default=AT_ONCE, metavar="N", help="so many at a time, hosts aside")
    parser.add_argument("--no-hosts", action="store_true", help="only those that need no host")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into FILE, between its marks")
    return parser


sys.exit(main())

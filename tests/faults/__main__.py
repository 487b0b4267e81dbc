"""python -m tests.faults: do every fault to both configurations and print what came of it, as a table."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from . import rows
from .stack import NAIVE, OURS

HEAD = ["fault", "configuration", "sent", "lost", "waiting", "twice", "killed", "orphans", "again after"]
AT_ONCE = 6


def main():
    arguments = _parser().parse_args()
    chosen = [row for row in rows.LONG if arguments.k in row.name]
    cells = [(row, side) for row in chosen for side in (OURS, NAIVE)]
    print(line(HEAD) + "\n" + line(["---"] * len(HEAD)), flush=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for (row, side), done in zip(cells, pool.map(lambda cell: attempt(*cell), cells), strict=True):
            print(line([row.name, side, *done]), flush=True)


def attempt(row, side):
    try:
        result = row.run(side)
    except Exception as e:
        return [repr(e)]
    back = "" if result.back is None else f"{result.back:.1f} s"
    return [result.sent, *result.count, back]


def line(cells) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _parser():
    parser = argparse.ArgumentParser(prog="./tests/run faults", description=__doc__)
    parser.add_argument("-k", default="", metavar="TEXT", help="only the faults with TEXT in their names")
    parser.add_argument("-j", "--jobs", type=int, default=AT_ONCE, help="at a time")
    return parser


sys.exit(main())

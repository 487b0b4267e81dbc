"""`celeryhost top`: the live view, or with --json what it is made of."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from ..errors import FAILED, OK, USAGE, Failure
from ..hangup import end_with_reader
from ..hosts.remote import MAYBE, is_remote
from ..hosts.target import Target
from ..plain import plain
from ..top.feed import Feed
from ..top.samples import samples
from . import complete
from .hosts import each
from .status import Seconds

TEXTUAL = "install it: pip install 'celeryhost[top]', on Debian 13 apt-get install python3-textual; docs/top.md"


@click.command()
@click.argument("programs", nargs=-1, metavar="[PROGRAM…]", shell_complete=complete.programs)
@click.option("--interval", type=Seconds(), default=2.0, metavar="SECONDS", help="Between two looks at a host (2).")
@click.option("--json", "as_json", is_flag=True, help="No view: a JSON object for each look (docs/json.md).")
@click.pass_obj
def top(target: Target, programs: Sequence[str], interval: float, as_json: bool) -> int:
    """Watch programs, queues, tasks, beat and logs, on this machine or many, and start, stop and restart programs.

    PROGRAM is a program, group:process, an app (all its programs) or a quoted glob; without any, all are shown. Needs
    the extra `top` (docs/top.md).
    """
    if not as_json:
        return _view(target, programs, interval)
    if is_remote(target):
        argv = ["top", f"--interval={interval:g}", "--", *programs]
        return each(target, argv, lambda host, sample: _print({"host": host, **sample}), MAYBE, None, None)
    end_with_reader()
    for sample in samples(target, programs, interval):
        _print(sample)
    return OK


def _print(sample: dict[str, Any]) -> None:
    print(json.dumps(sample, separators=(",", ":")), flush=True)


def _view(target: Target, programs: Sequence[str], interval: float) -> int:
    try:
        from ..top.draw import LEAST
        from ..top.screen import Top
    except ImportError:
        raise Failure("the view needs Textual 2.1 or later, which is not here", FAILED, TEXTUAL) from None
    _check_terminal(*LEAST)
    for name in ("COLUMNS", "LINES"):  # of some parent (GNU readline exports them), and wrong after a resize
        os.environ.pop(name, None)
    feed = Feed(target)
    view = Top(feed, programs, interval)
    try:
        outcome = view.run(mouse=False)
    finally:
        feed.close()
    if feed.under_way:
        print(f"celeryhost: {', '.join(map(plain, sorted(feed.under_way)))} goes on; see celeryhost status")
    if isinstance(outcome, Failure):
        raise outcome
    return outcome or view.return_code or OK


def _check_terminal(columns: int, lines: int) -> None:
    """Raises Failure (USAGE) where there is no terminal, or one that is too small."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise Failure("top needs a terminal for its input and output", USAGE, "use celeryhost status, or top --json")
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
        fix = "set TERM to what it is, or use celeryhost status --watch"
        raise Failure(f"top cannot draw on a terminal of TERM={os.environ.get('TERM', '')!r}", USAGE, fix)
    size = os.get_terminal_size(sys.stdin.fileno())
    if size.columns < columns or size.lines < lines:
        wanted = f"make it {columns}x{lines} or larger, or use celeryhost status --watch"
        raise Failure(f"the terminal is too small for top, {size.columns}x{size.lines}", USAGE, wanted)

"""`celeryhost audit`: who did what, on this host or on many."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from .. import audit as core
from ..errors import OK, USAGE, Failure
from ..hosts.remote import MAYBE, is_remote
from ..hosts.target import Target
from ..logs.times import moment
from ..plain import plain
from ..terminal import coloured, columns_of, pad, paint
from .hosts import each

VERSION = 1  # of the JSON, docs/json.md
ENTRIES = 50
COLOURS = {"ok": "green", "failed": "red", "interrupted": "yellow", "refused": "yellow", "running": "cyan"}


@click.command()
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help=f"The last N entries [{ENTRIES}].")
@click.option("--since", metavar="TIME", help="Only what began from then on: 2d, 14:00, yesterday, '2026-11-22 14:00'.")
@click.option("--until", metavar="TIME", help="Only what began up to then.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object an entry (docs/json.md).")
@click.pass_obj
def audit(target: Target, lines: int | None, since: str | None, until: str | None, as_json: bool) -> int:
    """Who provisioned, started, stopped, restarted, applied, ran a task, locked; from where, when, and what came of it.

    /var/log/celeryhost/audit.log is root's. What members of group supervisor do without root, they note themselves.
    """
    start = moment(since, "--since") if since else None
    end = moment(until, "--until") if until else None
    if start is not None and end is not None and start >= end:
        raise Failure(f"--since {since} is not before --until {until}", USAGE, "exchange them")
    count = ENTRIES if lines is None and start is None and end is None else lines
    if is_remote(target):
        options = [("--since", start and f"@{start}"), ("--until", end and f"@{end}"), ("--lines", count)]
        words = [f"{option}={value}" for option, value in options if value is not None]
        found: list[dict[str, Any]] = []

        def keep(host: str, data: dict[str, Any]) -> None:
            one = {"host": host} | data | {"time": float(data["time"])}
            _row(one)  # raises for what makes no sense
            found.append(one)

        code = each(target, ["audit", *words], keep, root=MAYBE)
        found.sort(key=lambda one: float(one["time"]))
        _show(found, as_json)
        return code
    found = core.read(start, end, count)
    _show(found, as_json)
    if not found and not as_json:
        print("celeryhost: nothing is noted" + (" of that time" if start or end else " yet"), file=sys.stderr)
    return OK


def _show(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for one in found:
            print(json.dumps({"version": VERSION} | one))
        return
    rows = [_row(one) for one in found]
    widths = [max(columns_of(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row, one in zip(rows, found, strict=True):
        cells = [pad(text, width) for text, width in zip(row, widths, strict=True)]
        cells[-2] = paint(cells[-2], COLOURS.get(str(one["outcome"])), coloured())
        print("  ".join(cell for cell, width in zip(cells, widths, strict=True) if width).rstrip())


def _row(one: dict[str, Any]) -> list[str]:
    """Time, host, who, outcome, what."""
    who = str(one.get("user") or one.get("account") or "?")
    who += f" ({one['account']})" if one.get("user") and one.get("account") not in (None, one["user"]) else ""
    who += f" from {one['address']}" if one.get("address") else ""
    what = " ".join([str(one.get("command")), *map(str, one.get("arguments") or ())])
    seconds = one.get("seconds")
    took = f", {seconds:.0f} s" if isinstance(seconds, (int, float)) and seconds >= 1 else ""
    same = ", nothing changed" if one.get("changed") is False and one["outcome"] == "ok" else ""
    code = f" {one['exit_code']}" if one.get("exit_code") and one["outcome"] == "failed" else ""
    self = "" if one.get("witness") == "root" else ", noted by themselves"
    row = [
        core.clock(one["time"]),
        str(one.get("host") or ""),
        who,
        f"{one['outcome']}{code}",
        f"{what}{took}{same}{self}",
    ]
    return list(map(plain, row))

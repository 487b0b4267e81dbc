"""Printing `status`: a table for people, or JSON. Without click, whose import takes longer than the answer."""

from __future__ import annotations

import sys

from ..errors import NOT_RUNNING, OK, STARTING, worst
from ..plain import plain
from ..supervisor import locate
from ..supervisor.programs import DEAD
from ..supervisor.rpc import Supervisor
from ..supervisor.status import Report, Row, look
from ..supervisor.table import lines

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


VERSION = 1  # of the JSON, docs/json.md


def show(names: list[str], as_json: bool, **where: str) -> int:
    """Print the status of the programs that `names` mean; returns the exit code. `where`: as locate.find has it."""
    return write(look(Supervisor(locate.find(**where)), names), as_json)


def write(report: Report, as_json: bool = False, sort: str | None = None) -> int:
    """Print one report and return its exit code."""
    if as_json:
        import json

        print(json.dumps(as_data(report, sort)))
    else:
        print("\n".join(lines(ordered(report.rows, sort))))
        for hint in filter(None, (advice(report.changes), outdated(report.rows))):
            sys.stdout.flush()
            print(f"celeryhost: {hint}", file=sys.stderr)
    return worst(map(exit_code, report.rows))


def exit_code(row: Row) -> int:
    """What `status` exits with for this program alone."""
    return OK if row.state == "RUNNING" else NOT_RUNNING if row.state in DEAD else STARTING


def as_data(report: Report, sort: str | None = None) -> dict[str, Any]:
    """The report as its JSON object (docs/json.md)."""
    return {
        "version": VERSION,
        "supervisord": {"url": report.url, "version": report.version, "pid": report.pid},
        "programs": [row._asdict() for row in ordered(report.rows, sort)],
        "changes": report.changes,
    }


def ordered(rows: Sequence[Row], sort: str | None) -> Sequence[Row]:
    """Rows by a column: numbers largest first, words from a; rows without a value last."""
    if sort is None:
        return rows
    words = sort in ("name", "state")
    known = [row for row in rows if getattr(row, sort) is not None]
    return sorted(known, key=lambda row: getattr(row, sort), reverse=not words) + [
        row for row in rows if getattr(row, sort) is None
    ]


def advice(changes: dict[str, Any] | None) -> str | None:
    """The hint that the configuration on disk is not what runs."""
    if not changes:
        return None
    if "error" in changes:
        return f"the configuration on disk cannot be read by supervisord: {plain(changes['error'])}"
    groups = ", ".join(f"{plain(name)} ({kind})" for kind, names in changes.items() for name in names)
    return f"the configuration on disk is newer than what runs: {groups}; bring it in with celeryhost apply"


def outdated(rows: Sequence[Row]) -> str:
    """The hint that what runs may be other code than is on disk."""
    names = ", ".join(plain(row.name) for row in rows if row.outdated)
    return names and f"started before the code on disk was brought: {names}; celeryhost doctor says more"

"""The table of programs, as wide as the terminal."""

from __future__ import annotations

import time

from ..plain import plain
from ..terminal import coloured, columns_of, cut, pad, paint, width
from .status import Row

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Sequence


STATES = {"RUNNING": "green", "STARTING": "yellow", "STOPPING": "yellow", "BACKOFF": "yellow", "STOPPED": "dim"}
NUMBERS = ("PID", "UPTIME", "CPU", "MEMORY", "RESTARTS")
NARROWER = ("RESTARTS", "CPU", "MEMORY", "PID", "UPTIME")  # left out in this order where the terminal is too narrow
NAME_COLUMNS = 12  # what a name is not cut below while there are columns to leave out


def lines(rows: Sequence[Row], hosts: Sequence[str] | None = None) -> list[str]:
    """The table that fits the terminal: a head and a line for each Row, with its host first if `hosts` gives them."""
    if not rows:
        return ["no programs"]
    columns = width()
    head = (["HOST"] if hosts else []) + ["PROGRAM", "STATE", *NUMBERS]
    table = [_cells(row) for row in rows]
    if hosts:
        table = [[host, *cells] for host, cells in zip(hosts, table, strict=True)]
    if all(row.restarts is None for row in rows):
        _drop(head, table, "RESTARTS")
    sizes = _sizes(head, table, rows)
    for name in NARROWER:
        if columns is None or _total(sizes) <= columns:
            break
        excess = _total(sizes) - columns
        if sizes[head.index("PROGRAM")] - excess >= NAME_COLUMNS:
            break
        _drop(head, table, name)
        sizes = _sizes(head, table, rows)
    at = head.index("PROGRAM")
    if columns is not None:
        sizes[at] = max(1, min(sizes[at], sizes[at] - (_total(sizes) - columns)))
    colours = coloured()
    text = [paint(_line(head, sizes, head, columns), "dim", colours)]
    for row, cells in zip(rows, table, strict=True):
        cells[at] = cut(cells[at], sizes[at])
        line = _line(cells, sizes, head, columns, remark(row))
        state = cells[at + 1]
        start = len("  ".join(pad(cell, size) for cell, size in zip(cells[: at + 1], sizes, strict=False))) + 2
        coloured_state = paint(state, STATES.get(state, "red"), colours)
        text.append(line[:start] + coloured_state + line[start + len(state) :])
    return text


def _cells(row: Row) -> list[str]:
    return [
        plain(row.name),
        row.state,
        str(row.pid or ""),
        duration(row.uptime),
        "" if row.cpu is None else f"{row.cpu:.1f}%",
        size(row.memory),
        "" if row.restarts is None else str(row.restarts),
    ]


def _drop(head: list[str], table: list[list[str]], name: str) -> None:
    if name in head:
        at = head.index(name)
        for cells in (head, *table):
            del cells[at]


def _sizes(head: list[str], table: list[list[str]], rows: Sequence[Row]) -> list[int]:
    """The columns' widths; what has no pid shows a remark instead of numbers, so its cells do not count."""
    at = head.index("STATE") + 1
    kept = [head, *(cells if row.pid else cells[:at] for cells, row in zip(table, rows, strict=True))]
    return [max(columns_of(cells[i]) for cells in kept if i < len(cells)) for i in range(len(head))]


def _total(sizes: list[int]) -> int:
    return sum(sizes) + 2 * (len(sizes) - 1)


def _line(cells: list[str], sizes: list[int], head: list[str], columns: int | None, said: str | None = None) -> str:
    at = head.index("STATE") + 1
    padded = [pad(cell, size, right=name in NUMBERS) for cell, size, name in zip(cells, sizes, head, strict=True)]
    return cut("  ".join([*padded[:at], said] if said else padded).rstrip(), columns)


def remark(row: Row) -> str | None:
    """What stands in place of the numbers of a program without a process."""
    if row.pid:
        return None
    what = [row.error or ("" if row.exitstatus is None else f"exit code {row.exitstatus}")]
    if not row.error:
        what.append(f"since {_moment(row.stopped)}" if row.stopped else "not started")
    if row.restarts:
        what.append(f"{row.restarts} restarts")
    said = ", ".join(filter(None, what))
    return plain(f"{said}: {row.last_line}" if row.last_line else said)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def duration(seconds: float | None) -> str:
    """`4d 3h`, `3h 20m`, `20m 5s` or `5s`."""
    if seconds is None:
        return ""
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    for at, (unit, length) in enumerate(units[:-1]):
        if seconds >= length:
            lower, lower_length = units[at + 1]
            return f"{seconds // length:.0f}{unit} {seconds % length // lower_length:.0f}{lower}"
    return f"{seconds:.0f}s"


def size(count: float | None) -> str:
    """Bytes as `82 MB` or `1.2 GB` (of 1024)."""
    if count is None:
        return ""
    megabytes = count / (1 << 20)
    if megabytes >= 1000:
        return f"{megabytes / 1024:.1f} GB"
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"

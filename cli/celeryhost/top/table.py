"""A table that fits: which columns there are room for, and how wide their graphs are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.text import Text

GAP = 2  # before a column; one before a graph, which belongs to the number before it
GRAPHS = (30, 20, 12, 8, 6, 4)  # columns of a graph: the widest that fits
MODEST = 6  # what is wider takes no room from words
NARROWER = ("RESTARTS", "", "PID", "UPTIME", "MEMORY")  # left out in this order; "": the graphs


class Column(NamedTuple):
    """Cells of a word or number are Texts, those of a graph functions of a width, which draw it. The last
    column may be the rest, which takes what room is left: pairs of a Text and a shorter one. `least` is a width."""

    title: str
    cells: Sequence[Any]
    kind: str = "word"
    least: int = 0


def table(wanted: list[Column], width: int, kept: int = 0, remarks: Sequence[str | None] | None = None) -> list[Text]:
    """A head and a line for each row, each `width` columns wide.

    Where `remarks` has something for a row, that stands in place of all columns but the first `kept`.
    """
    rows = range(len(wanted[0].cells))
    remarks = remarks or [None for _ in rows]
    columns, graph = _fitting(wanted, width, kept, remarks)
    sizes = _sizes(columns, graph, kept, remarks, False)
    if columns[-1].kind == "rest":
        sizes[-1] = max(0, width - _total(columns, [*sizes[:-1], 0]))
    lines = [fit(_joined(columns, sizes, [Text(column.title) for column in columns]), width)]
    lines[0].stylize("dim")
    for n in rows:
        count = kept if remarks[n] else len(columns)
        cells = [_cell(column, n, size) for column, size in zip(columns, sizes, strict=True)]
        line = _joined(columns[:count], sizes[:count], cells[:count])
        if remarks[n]:
            line.append(f"{' ' * GAP}{remarks[n]}")
        lines.append(fit(line, width))
    return lines


def fit(text: Text, width: int) -> Text:
    """`text` cut or filled up to a width."""
    text.truncate(max(0, width), overflow="ellipsis", pad=True)
    return text


def _fitting(columns: list[Column], width: int, kept: int, remarks: Sequence[str | None]) -> tuple[list[Column], int]:
    """The columns that there is room for, and the width of their graphs."""
    for left_out in (None, *NARROWER):
        if left_out is not None:
            columns = [column for column in columns if column.title != left_out]
        for graph in GRAPHS:
            if _total(columns, _sizes(columns, graph, kept, remarks, graph > MODEST)) <= width:
                return columns, graph
    return columns, 0


def _sizes(columns: list[Column], graph: int, kept: int, remarks: Sequence[str | None], whole: bool) -> list[int]:
    """The columns' widths; of the last one either the whole texts' or the shorter ones'."""
    sizes = []
    for place, column in enumerate(columns):
        cells = [cell for cell, remark in zip(column.cells, remarks, strict=True) if place < kept or not remark]
        if column.kind == "graph":
            sizes.append(graph)
            continue
        if column.kind == "rest":
            cells = [long if whole else short for long, short in cells]
        sizes.append(max([column.least, cell_len(column.title), *(cell.cell_len for cell in cells)]))
    return sizes


def _total(columns: list[Column], sizes: list[int]) -> int:
    return sum(sizes) + sum(_gap(column) for column in columns[1:])


def _gap(column: Column) -> int:
    return 1 if column.kind == "graph" else GAP


def _cell(column: Column, n: int, size: int) -> Text:
    cell = column.cells[n]
    if column.kind == "graph":
        cell = Text(cell(size))
    elif column.kind == "rest":
        cell = cell[0] if cell[0].cell_len <= size else cell[1]
    assert isinstance(cell, Text)
    return cell


def _joined(columns: list[Column], sizes: list[int], cells: list[Text]) -> Text:
    line = Text(no_wrap=True)
    for place, (column, size, cell) in enumerate(zip(columns, sizes, cells, strict=True)):
        room = Text(" " * (size - cell.cell_len))
        line.append(" " * _gap(column) if place else "")
        line.append_text(room + cell if column.kind == "number" else cell + room)
    return line

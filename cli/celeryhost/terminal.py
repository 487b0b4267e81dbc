"""Writing to a terminal: colours, width, text that can do it no harm."""

from __future__ import annotations

import os
import sys

from .errors import INTERRUPTED, USAGE, Failure

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from typing import TextIO


COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "dim": 2, "bold": 1}
LEVELS = {  # of a log
    "DEBUG": "dim",
    "INFO": "green",
    "WARNING": "yellow",
    "WARN": "yellow",
    "ERROR": "red",
    "CRITICAL": "red",
    "CRIT": "red",
    "FATAL": "red",
}


def coloured(stream: TextIO | None = None) -> bool:
    """Whether colours may be used: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    stream = stream or sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None, wanted: bool) -> str:
    """`text` in one of COLOURS, if `wanted`."""
    return f"\033[{COLOURS[colour]}m{text}\033[0m" if wanted and colour else text


def width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal; None where output is no terminal and nothing needs to fit."""
    stream = stream or sys.stdout
    if not stream.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdigit() and int(columns) else os.get_terminal_size(stream.fileno()).columns or 80


def columns_of(text: str) -> int:
    """How many columns a terminal takes for `text`: two for a wide character, such as a Korean one."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, columns: int, right: bool = False) -> str:
    """`text` with blanks behind it, or before it (`right`), up to so many columns."""
    blanks = " " * (columns - columns_of(text))
    return blanks + text if right else text + blanks


def cut(text: str, columns: int | None) -> str:
    """At most `columns` columns of `text`, the last an ellipsis if there was more."""
    if columns is None or columns_of(text) <= columns:
        return text
    kept = text[: max(0, columns - 1)]
    while kept and columns_of(kept) > columns - 1:
        kept = kept[:-1]
    return f"{kept}…"


def confirm(question: str, yes: bool) -> None:
    """Ask, unless `yes`; raises Failure: USAGE where nobody can answer, INTERRUPTED for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{question} Nobody is here to answer", USAGE, "add --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("not confirmed, nothing was done", INTERRUPTED)

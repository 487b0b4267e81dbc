"""The lines of `top`, for a screen of any size. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from rich.text import Text

from ..logs.reader import COLOUR
from ..plain import plain
from ..supervisor.table import STATES, duration, remark, size
from ..terminal import LEVELS, cut
from .state import App, Item, State, waiting
from .table import Column, fit, table

LEAST = (60, 12)  # columns and lines
BARS = "▁▂▃▄▅▆▇█"
HEIGHTS = {"cpu": 10, "waiting": 8, "done": 8, "failed": 8}  # of a graph at least, from 0
LATE = 5  # seconds that beat may be behind
KEYS = {"s": "start", "x": "stop", "r": "restart", "l": "log", "/": "filter", "o": "order", "q": "quit"}
# What Celery puts before each line, and the identity of a task, of which eight digits will do.
CELERY = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: ([A-Z]+)/[^]]*\] ")
IDENTITY = re.compile(r"\[([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}\]")


_One = TypeVar("_One")


class View(NamedTuple):
    """How a person looks at it: the (host, program) chosen, one of top.state.SORTS, the filter, whether it is being
    typed, a line to read, a question to answer, the characters of graphs, low to high, the time (None: now)."""

    chosen: tuple[str, str] | None = None
    sort: str = "name"
    filter: str = ""
    typing: bool = False
    said: str = ""
    question: str = ""
    bars: str = BARS
    now: float | None = None


def screen(state: State, view: View, width: int, height: int) -> list[Text]:
    """`height` lines of `width` columns."""
    now = time.time() if view.now is None else view.now
    several = state.counts().hosts > 1
    items = state.items(view.sort, view.filter)
    apps = state.apps(items)
    here = _window(apps, max(1, (height - 12) // 4 + 1), _place(apps, lambda app: _has(app, view.chosen)))
    room = height - 2 - (here.stop - here.start + 1 if apps else 0)
    least = 3 if height < 20 else 5  # lines for the logs, and what is above them
    there = _window(items, max(1, room - 1 - least), _place(items, lambda item: key(item) == view.chosen))
    room -= there.stop - there.start + 1
    lines = [_title(state, view, now, width)]
    if apps:
        lines += [Text(" ") + line for line in table(_app_columns(apps[here], view, several), width - 1)]
    lines += _programs(items[there], view, several, width)
    lines.append(_rule({"apps": (here, apps), "programs": (there, items)}, width))
    lines += _log(state.lines(view.filter, room - 1), room - 1, several, width)
    lines.append(_foot(view, width))
    return lines


def key(item: Item) -> tuple[str, str]:
    """What is chosen when an item is."""
    return item.host, item.row.name


def _has(app: App, chosen: tuple[str, str] | None) -> bool:
    return chosen is not None and app.host == chosen[0] and chosen[1] in app.data["programs"]


def _place(found: Sequence[_One], wanted: Callable[[_One], bool]) -> int:
    return next((place for place, one in enumerate(found) if wanted(one)), 0)


def _window(found: list[Any], count: int, place: int) -> slice:
    """`count` of a list, the one at `place` among them."""
    start = max(0, min(place - count // 2, len(found) - count))
    return slice(start, min(start + count, len(found)))


def _rule(parts: dict[str, Any], width: int) -> Text:
    """The line above the logs, which says what part of the lists above it is shown, where that is not all."""
    said = [
        f"{name} {shown.start + 1}-{shown.stop} of {len(found)} "
        for name, (shown, found) in parts.items()
        if shown.stop - shown.start < len(found)
    ]
    text = "".join(f"── {part}" for part in said)
    return Text.styled(f" {text.ljust(width - 1, '─')}", "dim")


def _title(state: State, view: View, now: float, width: int) -> Text:
    counts = state.counts()
    text = Text.styled("celeryhost top  ", "bold")
    text.append(f"{counts.hosts} hosts" if counts.hosts > 1 else plain(*state.samples, *state.away))
    if counts.away and counts.hosts > 1:
        text.append(f", {counts.away} away", style="red")
    text.append(f"  {counts.programs} programs")
    if counts.running < counts.programs:
        text.append(f", {counts.programs - counts.running} not running", style="red")
    if view.filter:
        text.append(f"  with {plain(view.filter)}", style="yellow")
    if view.sort != "name":
        text.append(f"  by {view.sort}", style="yellow")
    return fit(text, width - 9).append(time.strftime(" %H:%M:%S", time.localtime(now)))


def _app_columns(apps: list[App], view: View, several: bool) -> list[Column]:
    columns = [
        Column("HOST", [Text(plain(app.host)) for app in apps]),
        Column("APP", [Text(plain(app.data["app"])) for app in apps]),
        Column("WAITING", [_count(waiting(app.data)) for app in apps], "number"),
        Column("", [_graph(app.waiting, "waiting", view) for app in apps], "graph"),
        Column("DONE/MIN", [_count(app.data["done"]) for app in apps], "number"),
        Column("", [_graph(app.done, "done", view) for app in apps], "graph"),
        Column("FAILED", [_count(app.data["failed"], "red") for app in apps], "number"),
        Column("", [_graph(app.failed, "failed", view) for app in apps], "graph"),
        Column("BEAT", [(_beat(app, True), _beat(app, False)) for app in apps], "rest"),
    ]
    return columns[not several :]


def _count(value: int | None, style: str = "") -> Text:
    return Text("?" if value is None else str(value), style=style if value else "")


def _graph(history: Iterable[float | None], number: str, view: View) -> Callable[[int], str]:
    """A function of a width that draws the end of a history."""

    def drawn(width: int) -> str:
        known = [value for value in history if value is not None]
        low = 0 if number in HEIGHTS else min(known, default=0)  # memory is never near 0: what it grows by counts
        height = max(HEIGHTS.get(number, low / 10), max(known, default=0) - low, 1)
        levels = len(view.bars)
        last = [*history][-width:] if width else []
        bars = [" " if v is None else view.bars[min(levels - 1, int((v - low) / height * levels))] for v in last]
        return "".join(bars).rjust(width)

    return drawn


def _beat(app: App, whole: bool) -> Text:
    """When beat has sent what, and what it sends next; and why the queue is not known."""
    text, beat, now = Text(), app.data["beat"], app.time
    if beat:
        last, following = beat["last"], beat["next"]
        text.append(_named(f"{duration(max(0, now - last[0]))} ago", last, whole) if last else "nothing sent yet")
        if following and now - following[0] > LATE:
            text.append(", ").append(_named(f"late {duration(now - following[0])}", following, whole), style="red")
        elif following:
            text.append(f", {_named(f'in {duration(max(0, following[0] - now))}', following, whole)}")
        elif beat["remark"]:
            text.append(f", next: {plain(beat['remark'])}")
    if app.data["remark"]:
        text.append(f"{'; ' if text else ''}waiting: {plain(app.data['remark'])}")
    return text


def _named(when: str, sent: list[Any], whole: bool) -> str:
    return f"{when} {plain(sent[1])}" if whole else when


def _programs(items: list[Item], view: View, several: bool, width: int) -> list[Text]:
    rows = [item.row for item in items]
    columns = [
        Column("HOST", [Text(cut(plain(item.host), width // 5)) for item in items]),
        Column("PROGRAM", [Text(cut(plain(row.name), width // 4)) for row in rows]),
        Column("STATE", [Text(row.state, style=STATES.get(row.state, "red")) for row in rows]),
        Column("PID", [Text(str(row.pid or "")) for row in rows], "number", 5),
        Column("UPTIME", [Text(duration(row.uptime)) for row in rows], "number", 7),
        Column("CPU", [Text("" if row.cpu is None else f"{row.cpu:.1f}%") for row in rows], "number", 6),
        Column("", [_graph(item.cpu, "cpu", view) for item in items], "graph"),
        Column("MEMORY", [Text(size(row.memory)) for row in rows], "number", 6),
        Column("", [_graph(item.memory, "memory", view) for item in items], "graph"),
        Column("RESTARTS", [Text("" if row.restarts is None else str(row.restarts)) for row in rows], "number"),
    ]
    head, *lines = table(columns[not several :], width - 1, 2 + several, [remark(row) for row in rows])
    drawn = [Text(" ") + head]
    for line, item in zip(lines, items, strict=True):
        is_chosen = key(item) == view.chosen
        drawn.append(Text.styled(f">{line.plain}", "reverse") if is_chosen else Text(" ") + line)
    return drawn


def _log(lines: list[Any], count: int, several: bool, width: int) -> list[Text]:
    names = [" ".join(filter(None, (several * host, line["program"]))) for host, line in lines]
    column = min(width // 3, max(map(len, names), default=0))
    drawn = []
    for name, (_, line) in zip(names, lines, strict=True):
        found = CELERY.match(line["text"])
        level = found[1] if found else "INFO"
        text = Text(time.strftime(" %H:%M:%S ", time.localtime(line["time"])))
        text.append(f"{cut(plain(name), column).ljust(column)} ", style="cyan")
        text.append("" if level == "INFO" else f"{level} ", style=LEVELS.get(level, ""))
        said = IDENTITY.sub(r"[\1]", line["text"][found.end() if found else 0 :])
        drawn.append(fit(text.append(bare(said)), width))
    return drawn + [Text(" " * width)] * (count - len(drawn))


def bare(text: str) -> str:
    """A line of a log without its colours, and without what could change the terminal."""
    return plain(COLOUR.sub("", text).expandtabs(4))


def _foot(view: View, width: int) -> Text:
    if view.question:
        return fit(Text.styled(f" {view.question} [y/N]", "bold reverse"), width)
    if view.typing:
        return fit(Text(f" filter: {plain(view.filter)}_  part of host, program or state; Enter, Esc for none"), width)
    if view.said:
        return fit(Text.styled(f" {plain(view.said)}", "bold"), width)
    text = Text()
    for letter, what in KEYS.items():
        text.append(f" {letter}", style="bold").append(f" {what} ")
    return fit(text, width)

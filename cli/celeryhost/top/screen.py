"""`top` on a terminal: Textual reads the keys, scrolls a log, and leaves the terminal as it was.

The view is drawn by top_draw.py and compared with what is there, so that only what differs is sent to the terminal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.events import Key
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Log, Static

from ..errors import OK, Failure
from ..plain import plain
from .draw import BARS, LEAST, View, bare, key, screen
from .feed import DONE, END, EVENT, GONE, LINE, SAMPLE, Feed, Stop
from .state import SORTS, State
from .table import fit

SECONDS = 0.5  # between two looks at what has come
NEAR = 8  # columns: to go over so many costs about what sending them does
FOLLOWED = 200  # lines of a log to begin with
MOST_FOLLOWED = 5000
ASKING = {"s": "start", "x": "stop", "r": "restart"}
MOVES = {"down": 1, "j": 1, "up": -1, "k": -1, "pagedown": 10, "pageup": -10, "home": -1 << 20, "end": 1 << 20}
ASCII_BARS = "_.:-=+*#"
ASCII_LINES = str.maketrans("─…", "-.")
FEW_CHARACTERS = ("linux", "vt", "ansi", "cons")  # terminals whose fonts have no bars


def has_bars() -> bool:
    """Whether this terminal can show more than ASCII."""
    encoding = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "").upper()
    return encoding.endswith(("UTF-8", "UTF8")) and not os.environ.get("TERM", "").startswith(FEW_CHARACTERS)


def in_ascii(line: Text) -> Text:
    """A line with nothing but ASCII, as wide as before."""
    text = line.plain.translate(ASCII_LINES).encode("ascii", "replace").decode()
    return fit(Text(text, line.style, spans=line.spans), line.cell_len)


class Canvas(Widget):
    """Lines of text, of which only what has changed is drawn again."""

    def __init__(self) -> None:
        super().__init__()
        self.strips: list[Strip] = []

    def show(self, lines: list[Text]) -> None:
        """Draw these lines."""
        new = [Strip(line.render(self.app.console)) for line in lines]
        changed = [Region(0, y, self.size.width, 1) for y in range(len(self.strips), len(new))]
        for y, (before, after) in enumerate(zip(self.strips, new)):  # noqa: B905 - one may be longer after a resize
            changed += [Region(x, y, width, 1) for x, width in differences(before, after)]
        self.strips = new
        if changed:
            self.refresh(*changed)

    def render_line(self, y: int) -> Strip:
        return self.strips[y] if y < len(self.strips) else Strip.blank(self.size.width)


def differences(before: Strip, after: Strip) -> Iterator[tuple[int, int]]:
    """Yield (place, width) of the parts of a line that differ."""
    if before == after:
        return
    cells = [*zip_longest(_cells(before), _cells(after))]
    places = [place for place, (old, new) in enumerate(cells) if old != new]
    start = end = places[0]
    for place in places:
        if place - end > NEAR:
            yield start, end - start + 1
            start = place
        end = place
    yield start, end - start + 1


def _cells(strip: Strip) -> list[Any]:
    return [(place, style) for text, style, _ in strip for character in text for place in _halves(character)]


def _halves(character: str) -> tuple[Any, ...]:
    return (character,) if cell_len(character) < 2 else (character, f"after {character}")


class Followed(Screen[None]):
    """The log of one program, as it grows."""

    AUTO_FOCUS = "Log"

    def __init__(self, host: str, program: str, talk: Stop) -> None:
        super().__init__()
        self.host, self.program, self.talk = host, program, talk  # `talk`: what brings the lines, to be closed

    def compose(self) -> Iterator[Widget]:
        yield Log(max_lines=MOST_FOLLOWED)
        keys = "arrows, PgUp, PgDn, Home, End scroll   q back"
        yield Static(f" log of {plain(self.program)} on {plain(self.host)}   {keys}", markup=False)

    def write(self, text: str) -> None:
        self.query_one(Log).write_line(bare(text))


class Top(App[int | Failure]):
    """The view; ends with an exit code, or with a Failure."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [Binding("ctrl+c", "leave", priority=True, show=False)]  # noqa: RUF012 - as Textual wants it
    CSS = """
    Screen, Log { background: ansi_default; color: ansi_default; }
    Canvas { width: 100%; height: 100%; }
    Log { scrollbar-size: 0 0; }
    Static { dock: bottom; height: 1; text-style: reverse; }
    """

    def __init__(self, feed: Feed, programs: Sequence[str], interval: float) -> None:
        super().__init__(ansi_color=True)
        self.feed = feed
        self.argv = ["top", f"--interval={interval:g}", "--", *programs]
        self.state = State(feed.hosts)
        self.has_bars = has_bars()
        self.view = View(bars=BARS if self.has_bars else ASCII_BARS)
        self.question: tuple[Any, ...] | None = None  # (command, host, program) that a y would begin
        self.followed: Followed | None = None

    def compose(self) -> Iterator[Widget]:
        yield Canvas()

    def on_mount(self) -> None:
        self.feed.watch(self.argv)
        self.set_interval(SECONDS, self.look)

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    # What comes

    def look(self) -> None:
        """Take in what has come, and draw if anything has."""
        if self.followed and not self.followed.is_mounted:
            return  # there is nothing yet to write into
        news = list(self.feed.news())
        for new in news:
            self.take(*new)
        if failure := self.state.hopeless():
            self.exit(failure)
        elif news:
            self.draw()

    def take(self, kind: str, host: str, value: Any) -> None:
        """One of the kinds of top.feed."""
        if kind == SAMPLE:
            self.state.take(host, value)
        elif kind == GONE:
            self.state.lose(host, value)
        elif kind == EVENT:
            pid = f" pid {value['pid']}" if value["pid"] else ""
            said = "".join(value["text"].splitlines()[:1])
            self.say(f"{value['program']}: {value['kind']}{pid} {said}")
        elif kind == DONE and value:
            self.say(str(value))
        elif kind == LINE and self.followed:
            self.followed.write(value["text"])
        elif kind == END and value and self.followed:
            self.followed.write(str(value))

    def draw(self) -> None:
        """Draw all anew; what has not changed is not sent."""
        width, height = self.size
        if width < LEAST[0] or height < LEAST[1]:
            said = f"{width}x{height} is too small; make it {LEAST[0]}x{LEAST[1]} or larger"
            lines = [fit(Text(line), width) for line in (said, *[""] * (height - 1))]
        else:
            self.move(0)
            lines = screen(self.state, self.view, width, height)
        lines = lines if self.has_bars else [in_ascii(line) for line in lines]
        self.screen_stack[0].query_one(Canvas).show(lines)

    def say(self, text: str) -> None:
        """Show a line until the next key."""
        self.view = self.view._replace(said=text.strip())

    # What a person wants

    def on_key(self, event: Key) -> None:
        pressed = event.character or event.key
        if self.followed:
            if event.key in ("q", "escape", "l"):
                self.unfollow()
        elif self.question:
            self.answer(pressed == "y")
        elif self.view.typing:
            self.type(event.key, pressed)
        else:
            self.say("")
            self.obey(event.key, pressed)
        self.draw()

    def type(self, name: str, pressed: str) -> None:
        """A key for the filter."""
        text = self.view.filter
        if name in ("enter", "escape"):
            self.view = self.view._replace(typing=False, filter="" if name == "escape" else text)
        elif name == "backspace":
            self.view = self.view._replace(filter=text[:-1])
        elif len(pressed) == 1 and pressed.isprintable():
            self.view = self.view._replace(filter=text + pressed)

    def obey(self, name: str, pressed: str) -> None:
        """What a key is for, by its name, or the character that it stands for."""
        if name in MOVES:
            self.move(MOVES[name])
        elif pressed in ASKING:
            self.ask(ASKING[pressed])
        elif pressed == "l" or name == "enter":
            self.follow()
        elif pressed == "/":
            self.view = self.view._replace(typing=True)
        elif name == "escape":
            self.view = self.view._replace(filter="")
        elif pressed == "o":
            self.view = self.view._replace(sort=SORTS[(SORTS.index(self.view.sort) + 1) % len(SORTS)])
        elif pressed == "q":
            self.action_leave()

    def action_leave(self) -> None:
        self.exit(OK)

    def move(self, by: int) -> None:
        """Choose another line; the first program where the chosen one is gone."""
        keys = [key(item) for item in self.state.items(self.view.sort, self.view.filter)]
        chosen = self.view.chosen if self.view.chosen in keys else next((one for one in keys if one[1]), None)
        if by and keys:
            place = keys.index(chosen) if chosen else 0
            chosen = keys[max(0, min(place + by, len(keys) - 1))]
        self.view = self.view._replace(chosen=chosen)

    def chosen(self) -> tuple[str, str] | None:
        """The host and program that a key is about."""
        if self.view.chosen and self.view.chosen[1]:
            return self.view.chosen
        self.say("choose a program first")
        return None

    def ask(self, command: str) -> None:
        """Ask whether a command is meant."""
        if chosen := self.chosen():
            self.question = (command, *chosen)
            host, program = chosen
            where = f" on {plain(host)}" if len(self.feed.hosts) > 1 else ""
            self.view = self.view._replace(question=f"{command} {plain(program)}{where}?")

    def answer(self, yes: bool) -> None:
        """Do what was asked about, or not."""
        if not self.question:
            return
        command, host, program = self.question
        what = self.view.question.removesuffix("?")
        self.question, self.view = None, self.view._replace(question="")
        if yes:
            self.feed.ask(host, [command, "--", program], what)
            self.say(what)

    def follow(self) -> None:
        """Show the log of the chosen program as it grows."""
        if chosen := self.chosen():
            host, program = chosen
            talk = self.feed.follow(host, ["logs", "-f", "-n", str(FOLLOWED), "--", program])
            self.followed = Followed(host, program, talk)
            self.push_screen(self.followed)

    def unfollow(self) -> None:
        if self.followed:
            self.followed.talk.close()
        self.followed = None
        self.look()  # what is left of it is not for the next log
        self.pop_screen()

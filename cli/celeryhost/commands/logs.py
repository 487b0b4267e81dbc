"""`celeryhost logs`: options, colours, and many hosts at once."""

from __future__ import annotations

import io
import json
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import merge
from typing import Any

import click

from .. import errors
from ..hangup import end_with_reader
from ..hosts.remote import is_remote
from ..hosts.target import Target
from ..logs import reader as core
from ..logs.times import moment
from ..plain import plain
from ..terminal import LEVELS, coloured, columns_of, pad, paint
from . import complete
from .hosts import each
from .parameters import Parameter

LINES = 10
PREFIXES = ("cyan", "magenta", "blue", "green")
LEVEL = re.compile(rf"\b({'|'.join(LEVELS)})\b")
LEVEL_WITHIN = 80  # characters; further in, the word is part of what is said
HIGHLIGHT = "\x1b[1;7m{}\x1b[0m"
HARMFUL = re.compile(r"\x1b\[[\d;]*m|[^\t -~\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\U0010ffff]")


# From and until when, how many lines, and what they match: as reader.read has it.
Limits = tuple[float | None, float | None, int | None, "re.Pattern[str] | None"]


class Regex(Parameter):
    """A regular expression of Python's."""

    name = "regex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> re.Pattern[str]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what it may mean in a later Python
                return re.compile(value)
        except re.error as error:
            self.fail(f"{value!r} is no regular expression: {error}", param, ctx)


class Printer:
    """Writes lines to stdout: as JSON, or for people, with the program (and host) in front where there are several."""

    def __init__(self, grep: re.Pattern[str] | None, as_json: bool) -> None:
        self.grep = grep
        self.as_json = as_json
        self.colours = coloured() and not as_json
        self.programs: dict[str, str] = {}  # name: its colour
        self.hosts: dict[str, str] = {}
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # what LANG=C cannot show

    def know(self, programs: Iterable[str], hosts: Iterable[str] = ()) -> None:
        """Prepare for these names, so that all lines align."""
        for names, seen in ((programs, self.programs), (hosts, self.hosts)):
            for name in names:
                seen.setdefault(name, PREFIXES[len(seen) % len(PREFIXES)])

    def write(self, host: str | None, line: core.Line) -> None:
        """Write one line; not flushed."""
        if self.as_json:
            data = line._asdict()
            sys.stdout.write(json.dumps(data if host is None else {"host": host} | data) + "\n")
            return
        self.know([line.program], [host] if host else [])
        prefix = ""
        if host:
            prefix = self._prefix(host, self.hosts) + " "
        if host or len(self.programs) > 1:
            prefix += self._prefix(line.program, self.programs) + " | "
        sys.stdout.write(f"{prefix}{self._text(line.text)}\n")

    def _prefix(self, name: str, known: dict[str, str]) -> str:
        columns = max(map(columns_of, known))
        return paint(pad(HARMFUL.sub(_escaped, name), columns), known[name], self.colours)

    def _text(self, text: str) -> str:
        keep_colours = self.colours and not self.grep
        text = HARMFUL.sub(lambda found: _escaped(found, keep_colours), text)
        if not self.colours:
            return text
        if keep_colours and "\x1b" in text:
            return f"{text}\x1b[0m"
        matches = [found for found in self.grep.finditer(text) if found[0]] if self.grep else []
        spans = [(found.start(), found.end(), HIGHLIGHT.format(found[0])) for found in matches]
        level = LEVEL.search(text, 0, LEVEL_WITHIN)
        if level and not any(start < level.end() and level.start() < end for start, end, _ in spans):
            spans.append((level.start(), level.end(), paint(level[0], LEVELS[level[0]], True)))
        for start, end, shown in sorted(spans, reverse=True):
            text = text[:start] + shown + text[end:]
        return text


def _escaped(found: re.Match[str], keep_colours: bool = False) -> str:
    """What is printed for a control character, so that a log cannot drive the terminal: its escape."""
    if len(found[0]) > 1:
        return str(found[0]) if keep_colours else ""
    return found[0].encode("unicode_escape", "surrogatepass").decode()


@click.command()
@click.argument("programs", nargs=-1, metavar="[PROGRAM…]", shell_complete=complete.programs)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on; Ctrl-C ends it with 0.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    metavar="N",
    help=f"The last N lines of each log [{LINES}; with --since or --until all].",
)
@click.option(
    "--since", metavar="TIME", help="Only lines from then on: 10m, 2h30m, 14:00, yesterday, '2026-11-22 14:00'."
)
@click.option("--until", metavar="TIME", help="Only lines up to then.")
@click.option("--grep", type=Regex(), metavar="REGEX", help="Only lines that match.")
@click.option("--err", is_flag=True, help="Only logs that hold stderr alone.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line (docs/json.md).")
@click.pass_obj
def logs(
    target: Target,
    programs: Sequence[str],
    follow: bool,
    lines: int | None,
    since: str | None,
    until: str | None,
    grep: re.Pattern[str] | None,
    err: bool,
    as_json: bool,
) -> int:
    """Show the last lines of logs, merged by time, rotated and compressed files included.

    PROGRAM is a program, group:process, an app (all its programs), a quoted glob, `supervisord` or `redis`; without
    any, all programs are shown. Following loses and repeats nothing when a log rotates. Control characters in a log are
    escaped, colours kept on a terminal.
    """
    if follow and until:
        raise errors.Failure("--until and --follow exclude each other", errors.USAGE, "leave one out")
    start = moment(since, "--since") if since else None
    end = moment(until, "--until") if until else None
    if start is not None and end is not None and start >= end:
        raise errors.Failure(f"--since {since} is not before --until {until}", errors.USAGE, "exchange them")
    if lines is None and not (since or until):
        lines = LINES
    printer = Printer(grep, as_json)
    try:
        if is_remote(target):
            options = [("--since", start and f"@{start}"), ("--until", end and f"@{end}"), ("--lines", lines)]
            argv = ["logs", *(f"{option}={value}" for option, value in options if value is not None)]
            argv += [f"--grep={grep.pattern}"] if grep else []
            argv += ["--follow"] * follow + ["--err"] * err
            return _on_hosts(target, [*argv, "--", *programs], follow, printer)
        return _here(target, programs, follow, (start, end, lines, grep), err, printer)
    except KeyboardInterrupt:
        if follow:
            return errors.OK
        raise


def _here(target: Target, programs: Sequence[str], follow: bool, limits: Limits, err: bool, printer: Printer) -> int:
    end_with_reader()
    found, failures = core.find(programs, target.config, target.url, target.user, err)
    for failure in failures:
        _remark(failure)
    files = core.opened(found, follow, _remark)
    printer.know(log.program for log in found)
    count = 0
    for line in core.read(files, *limits):
        printer.write(None, line)
        count += 1
    sys.stdout.flush()
    if follow and found:
        for batch in core.follow(files, limits[-1]):
            for line in batch:
                printer.write(None, line)
            sys.stdout.flush()
    if not count and not failures:
        _remark("no such line" if any(limits[:2]) or limits[3] else "nothing is logged yet")
    # What has no log yet is no fault while others do; what this user may not read always is.
    shown = any(file.tail for _, file in files)
    return errors.worst(failure.code for failure in failures if failure.code == errors.DENIED or not shown)


def _on_hosts(target: Target, argv: Sequence[str], follow: bool, printer: Printer) -> int:
    if follow:

        def show(host: str, line: dict[str, Any]) -> None:
            printer.write(host, _line(line))
            sys.stdout.flush()

        return each(target, argv, show, timeout=None, at_once=None)
    lines = defaultdict(list)
    code = each(target, argv, lambda host, line: lines[host].append((host, _line(line))))
    printer.know({line.program for found in lines.values() for _, line in found}, lines)
    for host, line in merge(*(found for _, found in sorted(lines.items())), key=lambda found: found[1].time):
        printer.write(host, line)
    return code


def _line(data: dict[str, Any]) -> core.Line:
    return core.Line(*(data[key] for key in core.Line._fields))


def _remark(what: object) -> None:
    sys.stdout.flush()
    print(f"celeryhost: {plain(what)}", file=sys.stderr)

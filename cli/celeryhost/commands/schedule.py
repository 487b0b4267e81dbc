"""`celeryhost schedule`: what beat sends and when, in words; an expression explained; an entry fired now."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from unicodedata import east_asian_width

import click

from ..errors import OK
from ..hosts.remote import is_remote
from ..hosts.target import Target
from ..plain import plain, plain_lines
from ..project import tasks
from ..schedule import schedules
from ..schedule.words import LANGUAGES
from ..terminal import coloured, cut, paint, width
from .hosts import merged
from .parameters import Parameter

VERSION = 1  # of the JSON, docs/json.md
YEARS = range(1970, 3000)  # that anything can be scheduled in
LIST = "[APP]"  # the command without a name of its own; no app can be called that
HEAD = {
    "en": ("NAME", "WHEN", "TASK", "NEXT", "LAST", "RUNS"),
    "ko": ("이름", "일정", "태스크", "다음 실행", "마지막 실행", "횟수"),
}
SAID = {
    "en": {
        "disabled": "disabled",
        "missed": "missed {count} since beat was away: {first} to {last}",
        "late": "{count} fell due while beat was away, {first} to {last}; one was made up for",
        "none": "no entries",
    },
    "ko": {
        "disabled": "꺼짐",
        "missed": "beat가 멈춘 동안 {count}회 놓침: {first} ~ {last}",
        "late": "beat가 멈춘 동안 {count}회 예정, {first} ~ {last}; 그중 한 번은 뒤늦게 실행됨",
        "none": "항목 없음",
    },
}


class Schedule(click.Group):
    """`schedule explain …` and `schedule run …`; whatever else follows is for the list. `-- run` is an app `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags = [arg for arg in args[:1] if arg == "--json"]  # remote.fan_out puts it first
        rest = args[len(flags) :]
        if rest[:1] not in (["-h"], ["--help"]):
            args = [rest[0], *flags, *rest[1:]] if rest and rest[0] in self.commands else [LIST, *args]
        return super().parse_args(ctx, args)


class Moment(Parameter):
    """A date or a moment, ISO 8601."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            found = None
        if found is None or found.year not in YEARS:
            self.fail(
                f"{value!r} is no time; write 2030-01-31, '2030-01-31 09:00' or 2030-01-31T09:00+09:00", param, ctx
            )
        return found.isoformat()


AT = click.option("--at", type=Moment(), help="Start from this moment instead of now (in the project's time zone).")
LANGUAGE = click.option("--lang", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Of the words.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/json.md).")


def _count(default: int) -> Callable[[Any], Any]:
    return click.option(
        "--next", "count", type=click.IntRange(0, 1000), default=default, show_default=True, help="How many next runs."
    )


@click.group(cls=Schedule)
def schedule() -> None:
    """Show beat's schedule as beat reads it: what is sent, when in words, the next and the last runs, what is wrong.

    APP is an app of this host, or the folder of a project (`.`); an app called explain or run comes after `--`. Runs
    with the project's own Python, as its user, so it needs root's rights or that user's. It changes nothing.
    """


@schedule.command(LIST)
@click.argument("app", required=False)
@_count(1)
@AT
@LANGUAGE
@JSON
@click.pass_obj
def show(target: Target, app: str | None, count: int, at: str | None, lang: str, as_json: bool) -> int:
    """Show the schedule of every beat, or of one app."""
    if is_remote(target):
        words = ["schedule", f"--next={count}", *([f"--at={at}"] if at else []), "--", *([app] if app else [])]
        return _on_hosts(target, words, as_json, lambda data, host: _show(data["apps"], lang, host))
    found = schedules.read(target, app, count, at)
    if as_json:
        print(json.dumps({"version": VERSION, "apps": found}))
    else:
        with tasks.understood("beat"):
            _show(found, lang)
    return OK


@schedule.command()
@click.argument("expression", nargs=-1, required=True)
@_count(5)
@AT
@click.option("--zone", default=schedules.UTC, show_default=True, help="Time zone, such as Asia/Seoul.")
@LANGUAGE
@JSON
@click.pass_obj
def explain(
    target: Target, expression: Sequence[str], count: int, at: str | None, zone: str, lang: str, as_json: bool
) -> int:
    """Explain an EXPRESSION: 'crontab(hour=7, minute=30)', five cron fields, seconds, 'solar(…)', 'schedule(…)'."""
    if is_remote(target):
        words = ["schedule", "explain", f"--next={count}", *([f"--at={at}"] if at else []), f"--zone={zone}"]
        return _on_hosts(target, [*words, "--", *expression], as_json, lambda data, host: _say(data, lang, host))
    found = schedules.explain(target, " ".join(expression), count, at, zone)
    if as_json:
        print(json.dumps({"version": VERSION, **found}))
    else:
        _say(found, lang)
    return OK


@schedule.command()
@click.argument("name")
@click.option("--app", help="The app, where several have an entry of this name.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=30, show_default=True, help="Seconds to wait.")
@JSON
@click.pass_obj
def run(target: Target, name: str, app: str | None, dry_run: bool, timeout: float, as_json: bool) -> int:
    """Send the task of entry NAME now, wait, and print its result. Beat's own next run stays as it is."""
    if is_remote(target):
        words = ["schedule", "run", f"--timeout={timeout}", *([f"--app={app}"] if app else [])]
        words += [*(["--dry-run"] if dry_run else []), "--", name]
        longest = timeout + tasks.START_SECONDS + schedules.READ_SECONDS
        return _on_hosts(target, words, as_json, _result, longest)
    beat, entry = schedules.find(target, name, app)
    with tasks.understood(beat.runner.program.name):
        found = schedules.message(entry) if dry_run else schedules.fire(beat, entry, timeout)
    if as_json:
        print(json.dumps({"version": VERSION, "entry": name, **found}))
    else:
        _result(found)
    return OK


def _on_hosts(
    target: Target,
    words: Sequence[str],
    as_json: bool,
    show: Callable[[dict[str, Any], str], object],
    timeout: float = 2 * schedules.READ_SECONDS,
) -> int:
    return merged(target, words, lambda host, data: show(data, host), as_json, VERSION, timeout)


def _show(apps: list[dict[str, Any]], lang: str, host: str | None = None) -> None:
    for number, app in enumerate(apps):
        if number:
            print()
        title = ", ".join(filter(None, [app["program"], app["state"], app["zone"], app["scheduler"]]))
        print(paint(plain(f"{host}: {title}" if host else title), "bold", coloured()))
        for line in _lines(app, lang):
            print(line)
        sys.stdout.flush()
        if app["remark"]:
            print(f"celeryhost: {plain(app['remark'])}", file=sys.stderr)


def _lines(app: dict[str, Any], lang: str) -> list[str]:
    """A table where it fits, else each entry on lines of its own."""
    entries, columns, colours = app["entries"], width(), coloured()
    if not entries:
        return [SAID[lang]["none"]]
    rows = [_cells(entry, app["zone"], lang) for entry in entries]
    table = [HEAD[lang], *rows]
    sizes = [max(map(_columns, column)) for column in zip(*table, strict=True)]
    fits = columns is None or sum(sizes) + 2 * (len(sizes) - 1) <= columns
    lines = [paint(_padded(HEAD[lang], sizes), "dim", colours)] if fits else []
    for entry, (name, *others) in zip(entries, rows, strict=True):
        if fits:
            lines.append(_padded((name, *others), sizes))
        else:
            lines.append(cut(name, columns))
            pairs = zip(HEAD[lang][1:], others, strict=True)
            lines += [cut(f"    {head}: {text}", columns) for head, text in pairs if text]
        remarks = [mark[lang] for mark in entry["marks"]]
        if entry["missed"]:
            remarks.append(_missed(entry["missed"], lang))
        lines += [paint(plain(f"    ! {remark}"), "red", colours) for remark in remarks]
    return lines


def _cells(entry: dict[str, Any], zone: str, lang: str) -> tuple[str, ...]:
    after = f" {entry['zone']}" if entry["zone"] != zone else ""
    following = ", ".join(_moment(moment) for moment in entry["next"])
    last = entry["last_run_at"]
    cells = (
        entry["name"],
        entry["words"][lang],
        _call(entry),
        f"{following}{after}" if following else "" if entry["enabled"] else SAID[lang]["disabled"],
        _moment(last) if last else "",
        str(entry["total_run_count"] or ""),
    )
    return tuple(map(plain, cells))


def _call(entry: dict[str, Any]) -> str:
    words = [json.dumps(value, ensure_ascii=False) for value in entry["args"]]
    words += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in entry["kwargs"].items()]
    options = ", ".join(f"{name}={value}" for name, value in entry["options"].items() if name != "headers")
    return f"{entry['task']}({', '.join(words)}){f' [{options}]' if options else ''}"


def _moment(moment: list[Any]) -> str:
    """`2030-01-31 09:00`, in the zone where it happens; with seconds where there are some."""
    text = datetime.fromisoformat(moment[1]).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
    return text.removesuffix(":00")


def _missed(missed: dict[str, Any], lang: str) -> str:
    count = f"{missed['count']}{'+' if missed['more'] else ''}"
    text = SAID[lang]["late" if missed["late"] else "missed"]
    return text.format(count=count, first=_moment(missed["first"]), last=_moment(missed["last"]))


def _columns(text: str) -> int:
    """What a text takes on a terminal, where a Korean character is as wide as two Latin ones."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _padded(cells: Sequence[str], sizes: Sequence[int]) -> str:
    return "  ".join(cell + " " * (size - _columns(cell)) for cell, size in zip(cells, sizes, strict=True)).rstrip()


def _say(found: dict[str, Any], lang: str, host: str | None = None) -> None:
    print(plain(f"{host}: {found['words'][lang]}" if host else found["words"][lang]))
    for moment in found["next"]:
        print(f"    {datetime.fromisoformat(moment[1]).isoformat(sep=' ', timespec='seconds')}")
    for mark in found["marks"]:
        print(paint(f"    ! {plain(mark[lang])}", "red", coloured()))
    sys.stdout.flush()


def _result(data: dict[str, Any], host: str | None = None) -> None:
    """What a task gave, or, with `--dry-run`, what would be sent."""
    if "id" not in data:
        headers = data["options"].get("headers")
        text = _call(data) + (f" headers={json.dumps(headers)}" if headers else "")
    elif isinstance(data["result"], str):
        text = data["result"]
    else:
        text = json.dumps(data["result"], ensure_ascii=False)
    print(plain_lines(f"{host}: {text}" if host else text))
    sys.stdout.flush()
    if "id" in data:
        remark = f", {data['remark']}" if data["remark"] else ""
        print(plain(f"{data['task']} in {data['seconds']:.2f} s{remark}"), file=sys.stderr)

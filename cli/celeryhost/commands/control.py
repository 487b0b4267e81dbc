"""`celeryhost start`, `stop` and `restart`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from shlex import join
from typing import Any

import click

from ..errors import FAILED, INTERRUPTED, OK, Failure
from ..hangup import unbroken
from ..hosts.inventory import targets
from ..hosts.remote import AT_ONCE, is_remote
from ..hosts.target import Target
from ..plain import plain
from ..supervisor import lifecycle, locate, programs
from ..supervisor.rpc import Supervisor
from ..terminal import coloured, confirm, cut, paint, width
from . import complete
from .hosts import each
from .noting import noted

VERSION = 1  # of the JSON, docs/json.md
COLOURS = {"running": "green", "waiting": "yellow", "backoff": "yellow"}
UNDER_WAY = ("stopping", "waiting", "starting", "backoff")
SPOKEN = ("waiting", "backoff", "running", "exited", "removed")  # the other good news goes without saying


class Printer:
    """Prints events as they come: for people, with a line of progress on a terminal, or as JSON."""

    def __init__(self, as_json: bool, spoken: Sequence[str] = SPOKEN) -> None:
        self.as_json = as_json
        self.spoken = spoken
        self.last: dict[str, str] = {}  # what happened last, by program
        self.began = time.monotonic()
        self.live = not as_json and sys.stdout.isatty() and sys.stderr.isatty()

    def show(self, event: lifecycle.Event, host: str | None = None) -> None:
        """Print one event. That the reader has gone does not end what was begun: no program stays stopped for it."""
        name = f"{host}  {event.program}" if host else event.program
        self.last[name] = event.kind
        try:
            if self.as_json:
                self._json(event, host)
            else:
                self.clear()
                self._text(event, plain(name))
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _json(self, event: lifecycle.Event, host: str | None) -> None:
        from json import dumps

        print(dumps({"version": VERSION, **({"host": host} if host else {}), **event._asdict()}))

    def _text(self, event: lifecycle.Event, name: str) -> None:
        first, *log = event.text.splitlines() or [""]
        if lifecycle.KINDS[event.kind] != OK:
            sys.stdout.flush()
            print(f"celeryhost: {name}: {event.kind}: {plain(first)}", file=sys.stderr)
            for line in log:
                print(f"    {plain(line)}", file=sys.stderr)
        elif event.kind in self.spoken:
            kind = paint(event.kind, COLOURS.get(event.kind), coloured())
            pid = f"pid {event.pid}" if event.kind == "running" else ""
            print("  ".join(filter(None, (name, kind, pid, plain(first)))))
        pending = [name for name, kind in self.last.items() if kind in UNDER_WAY]
        if self.live and pending:
            text = f"{time.monotonic() - self.began:.0f} s, {len(pending)} under way: {', '.join(pending)}"
            print(cut(plain(text), (width(sys.stderr) or 80) - 1), end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line of progress away."""
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What start, stop and restart share."""
    for decorate in (
        click.argument("names", nargs=-1, required=True, metavar="PROGRAM…", shell_complete=complete.programs),
        click.option("--json", "as_json", is_flag=True, help="A JSON object for each event (docs/json.md)."),
        click.option(
            "--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Wait no longer for all."
        ),
        click.option("--no-wait", is_flag=True, help="Do not wait for the outcome."),
        click.pass_obj,
    ):
        function = decorate(function)
    return function


_graceful = click.option(
    "--graceful/--no-graceful",
    default=True,
    show_default=True,
    help="Let the running tasks of Celery workers end, within their stopwaitsecs; or leave them.",
)


@click.command()
@_options
@noted()
def start(target: Target, names: Sequence[str], as_json: bool, timeout: float | None, no_wait: bool) -> int:
    """Start programs, and wait until they have run for their startsecs.

    PROGRAM is a program, group:process, an app (all its programs), a quoted glob, or all.
    """
    if is_remote(target):
        return _on_hosts(target, "start", names, as_json, timeout, no_wait)
    supervisor, chosen = _choose(target, names)
    return _follow(lifecycle.start(supervisor, chosen, not no_wait, timeout), supervisor, chosen, Printer(as_json))


@click.command()
@_options
@_graceful
@click.option("--yes", is_flag=True, help="Do not ask before stopping everything, or on several hosts.")
@noted()
def stop(
    target: Target, names: Sequence[str], as_json: bool, timeout: float | None, no_wait: bool, graceful: bool, yes: bool
) -> int:
    """Stop programs, and wait until they have.

    PROGRAM is a program, group:process, an app (all its programs), a quoted glob, or all.
    """
    printer = Printer(as_json, (*SPOKEN, "stopped"))
    if is_remote(target):
        hosts = targets(target.inventory, target.hosts)
        if len(hosts) > 1:
            confirm(f"Stop {', '.join(names)} on {len(hosts)} hosts?", yes)
        more = ["--yes", *([] if graceful else ["--no-graceful"])]
        return _on_hosts(target, "stop", names, as_json, timeout, no_wait, more, printer)
    supervisor, chosen = _choose(target, names)
    if 1 < len(chosen) == len(programs.processes(supervisor)) and any(map(programs.is_sweeping, names)):
        confirm(f"Stop all {len(chosen)} programs?", yes)
    events = lifecycle.stop(supervisor, chosen, not no_wait, timeout, graceful)
    return _follow(events, supervisor, chosen, printer, wanted=programs.DEAD)


@click.command()
@_options
@_graceful
@click.option("--rolling", is_flag=True, help="One after the other, each ready before the next; end at a failure.")
@noted()
def restart(
    target: Target,
    names: Sequence[str],
    as_json: bool,
    timeout: float | None,
    no_wait: bool,
    graceful: bool,
    rolling: bool,
) -> int:
    """Restart programs: each is started as soon as it has stopped, and waited for until it runs with a new pid.

    PROGRAM is a program, group:process, an app (all its programs), a quoted glob, or all.
    """
    if is_remote(target):
        more = [*([] if graceful else ["--no-graceful"]), *(["--rolling"] if rolling else [])]
        return _on_hosts(target, "restart", names, as_json, timeout, no_wait, more, rolling=rolling)
    supervisor, chosen = _choose(target, names)
    events = lifecycle.restart(supervisor, chosen, not no_wait, timeout, graceful, rolling)
    return _follow(events, supervisor, chosen, Printer(as_json))


def _choose(target: Target, names: Sequence[str]) -> tuple[Supervisor, list[programs.Process]]:
    supervisor = Supervisor(locate.find(target.config, target.url, target.user))
    return supervisor, programs.select(names, programs.processes(supervisor))


def _follow(
    events: Iterable[lifecycle.Event],
    supervisor: Supervisor,
    chosen: list[programs.Process],
    printer: Printer,
    wanted: Sequence[str] = ("RUNNING",),
) -> int:
    """Print events to their end; returns the exit code. What is cut off in the middle says what it leaves behind."""
    code = OK
    seen = []
    try:
        with unbroken():
            for event in events:
                seen.append(event)
                printer.show(event)
        code = lifecycle.exit_code(seen)
    except KeyboardInterrupt:
        raise _cut_off("interrupted", INTERRUPTED, supervisor, chosen, printer, wanted) from None
    except Failure as failure:
        raise _cut_off(failure.message, failure.code, supervisor, chosen, printer, wanted) from None
    finally:
        printer.clear()
    return code


def _cut_off(
    message: str,
    code: int,
    supervisor: Supervisor,
    chosen: list[programs.Process],
    printer: Printer,
    wanted: Sequence[str],
) -> Failure:
    """The Failure that says where the chosen programs were left: as they are now, or else were last."""
    names = {process.name for process in chosen}
    try:
        now = {p.name: p.state for p in programs.processes(supervisor) if p.name in names and p.state not in wanted}
    except Failure:
        now = {name: f"last {kind}" for name, kind in printer.last.items() if lifecycle.KINDS[kind] == OK}
    states: dict[str, list[str]] = {}
    for name, state in now.items():
        states.setdefault(state, []).append(name)
    left = "; ".join(f"{state}: {', '.join(map(plain, found))}" for state, found in states.items())
    verb = "stop" if wanted == programs.DEAD else "start"
    fix = f"finish with celeryhost {verb} {join(now)}" if now else None
    return Failure(f"{message}; {left}" if left else message, code, fix)


def _on_hosts(
    target: Target,
    command: str,
    names: Sequence[str],
    as_json: bool,
    timeout: float | None,
    no_wait: bool,
    more: Sequence[str] = (),
    printer: Printer | None = None,
    rolling: bool = False,
) -> int:
    printer = printer or Printer(as_json)
    argv = [command, *more, *(["--no-wait"] if no_wait else []), *([f"--timeout={timeout:g}"] if timeout else [])]

    def show(host: str, data: dict[str, Any]) -> None:
        event = lifecycle.event_of(data)
        printer.show(event, host)
        if rolling and lifecycle.KINDS[event.kind] != OK:
            raise Failure(f"{host}: {event.program} did not come back", FAILED, "the hosts after it were left alone")

    try:
        return each(target, [*argv, "--", *names], show, timeout=None, at_once=1 if rolling else AT_ONCE)
    except KeyboardInterrupt:
        fix = "the hosts finish what they began; see celeryhost status"
        raise Failure("interrupted", INTERRUPTED, fix) from None
    finally:
        printer.clear()

"""`celeryhost apply`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from ..errors import INTERRUPTED, Failure
from ..hangup import unbroken
from ..hosts.remote import is_remote
from ..hosts.target import Target
from ..plain import plain
from ..supervisor import apply as engine
from ..supervisor import lifecycle, locate
from ..supervisor.rpc import Supervisor
from ..terminal import coloured, paint
from . import complete
from .control import SPOKEN, Printer
from .hosts import each
from .noting import noted

VERSION = 1  # of the JSON, docs/json.md
COLOURS = {engine.ADD: "green", engine.CHANGE: "yellow", engine.REMOVE: "red", engine.START: "green"}
AGAIN = "celeryhost apply finishes what is left"


@click.command()
@click.argument("names", nargs=-1, metavar="[PROGRAM…]", shell_complete=complete.programs)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="The plan, then each event, a JSON object a line (docs/json.md).")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Wait no longer for all.")
@click.pass_obj
@noted(unless="dry_run")
def apply(target: Target, names: Sequence[str], dry_run: bool, as_json: bool, timeout: float | None) -> int:
    """Bring supervisord to its configuration files: changed programs restart, new ones start, removed ones go.

    Each changed program restarts exactly once and all others run on; supervisord itself does too. PROGRAM is a program,
    an app (all its programs) or a quoted glob: only those are touched. A program stopped by hand stays so unless its
    configuration changed. One that ran half way, or was interrupted, is finished by the next.
    """
    printer = Printer(as_json, (*SPOKEN, "added"))
    try:
        if is_remote(target):
            return _on_hosts(target, names, dry_run, printer, timeout)
        return _here(Supervisor(locate.find(target.config, target.url, target.user)), names, dry_run, printer, timeout)
    except KeyboardInterrupt:
        raise Failure("interrupted", INTERRUPTED, AGAIN) from None
    finally:
        printer.clear()


def _here(supervisor: Supervisor, names: Sequence[str], dry_run: bool, printer: Printer, timeout: float | None) -> int:
    if dry_run:
        _show(engine.as_dict(engine.plan(supervisor, names)), printer)
        return 0
    with engine.exclusive(engine.config_of(supervisor)), unbroken():
        plan = engine.plan(supervisor, names)
        _show(engine.as_dict(plan), printer)
        seen = []
        for event in engine.apply(supervisor, plan, timeout):
            seen.append(event)
            printer.show(event)
    return lifecycle.exit_code(seen)


def _on_hosts(target: Target, names: Sequence[str], dry_run: bool, printer: Printer, timeout: float | None) -> int:
    def show(host: str, data: dict[str, Any]) -> None:
        if "plan" in data:
            _show(data["plan"], printer, host)
        else:
            printer.show(lifecycle.event_of(data), host)

    options = [*(["--dry-run"] if dry_run else []), *([f"--timeout={timeout:g}"] if timeout else [])]
    return each(target, ["apply", *options, "--", *names], show, timeout=None)


def _show(plan: dict[str, Any], printer: Printer, host: str | None = None) -> None:
    if printer.as_json:
        print(json.dumps({"version": VERSION, **({"host": host} if host else {}), "plan": plan}))
    else:
        printer.clear()
        prefix = f"{plain(host)}  " if host else ""
        for line in lines(plan):
            print(f"{prefix}{line}")
    sys.stdout.flush()


def lines(plan: dict[str, Any]) -> Iterator[str]:
    """The plan for people, a line for each program and, below it, each setting that differs."""
    for change in plan["changes"]:
        action = change["action"]
        yield f"{paint(f'{action:6}', COLOURS[action], coloured())}  {plain(change['program'])}"
        if change.get("remark"):
            yield f"          {plain(change['remark'])}"
        if action == engine.CHANGE and not change["options"]:
            yield "          in what, supervisord does not tell"  # environment, umask, or it had read the files already
        for option, (old, new) in change["options"].items():
            yield f"          {plain(option)}: {plain(str(old))} → {plain(str(new))}"
    if not plan["changes"]:
        count = len(plan["unchanged"])
        yield f"nothing to do: {count} program{'s' if count != 1 else ''} as configured"
    if plan["foreign"]:
        yield f"left alone: {', '.join(map(plain, plan['foreign']))}"

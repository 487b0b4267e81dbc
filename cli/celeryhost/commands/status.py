"""`celeryhost status`: the options beyond the plain table, and many hosts at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from ..hosts.remote import is_remote
from ..hosts.target import Target
from ..plain import plain
from ..supervisor import locate
from ..supervisor.rpc import Supervisor
from ..supervisor.status import Row, look
from ..supervisor.table import lines
from . import complete, status_view
from .hosts import each
from .parameters import Parameter

KEYS = ("name", "state", "pid", "uptime", "cpu", "memory", "restarts")
CLEAR = "\033[H\033[J"


class Seconds(Parameter):
    """How long to wait between two looks."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number of seconds; write one such as 5", param, ctx)
        if not 0.1 <= seconds <= 86400:
            self.fail(f"{value} s is not between 0.1 and 86400", param, ctx)
        return seconds


@click.command()
@click.argument("programs", nargs=-1, metavar="[PROGRAM…]", shell_complete=complete.programs)
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/json.md).")
@click.option("--watch", type=Seconds(), is_flag=False, flag_value=2.0, help="Again and again, every SECONDS (2).")
@click.option("--sort", type=click.Choice(KEYS), help="Numbers largest first.")
@click.pass_obj
def status(target: Target, programs: Sequence[str], as_json: bool, watch: float | None, sort: str | None) -> int:
    """Show what runs: state, pid, uptime, CPU, memory, restarts, and for what failed the last line of its log.

    PROGRAM is a program, group:process, an app (all its programs) or a quoted glob; without any, all are shown. Exits
    with 0 if all run, 3 if one does not, 5 if one is starting or in BACKOFF.
    """
    if is_remote(target):
        return _again(lambda: _on_hosts(target, programs, as_json, sort), watch, as_json)
    supervisor = Supervisor(locate.find(target.config, target.url, target.user))
    before = None

    def here() -> int:
        nonlocal before
        before = look(supervisor, programs, before)
        return status_view.write(before, as_json, sort)

    return _again(here, watch, as_json)


def _again(show: Callable[[], int], seconds: float | None, as_json: bool) -> int:
    """`show()` once, or every so many seconds until Ctrl-C, on a terminal in place of what was there."""
    while True:
        if seconds and not as_json and sys.stdout.isatty():
            print(CLEAR, end="")
        code = show()
        if not seconds:
            return code
        sys.stdout.flush()
        time.sleep(seconds)


def _on_hosts(target: Target, programs: Sequence[str], as_json: bool, sort: str | None) -> int:
    found: dict[str, dict[str, Any]] = {}
    code = each(target, ["status", "--", *programs], found.__setitem__)
    if as_json:
        import json

        hosts = [{"host": host, **found[host]} for host in sorted(found)]
        print(json.dumps({"version": status_view.VERSION, "hosts": hosts}))
        return code
    pairs = [(Row(*map(data.get, Row._fields)), host) for host in sorted(found) for data in found[host]["programs"]]
    host_of = {id(row): host for row, host in pairs}
    rows = status_view.ordered([row for row, _ in pairs], sort)
    if found:  # else each host said what is wrong
        print("\n".join(lines(rows, [host_of[id(row)] for row in rows])))
    sys.stdout.flush()
    for host in sorted(found):
        own = [row for row, of in pairs if of == host]
        for hint in filter(None, (status_view.advice(found[host]["changes"]), status_view.outdated(own))):
            print(plain(f"{host}: {hint}"), file=sys.stderr)
    return code

"""`celeryhost lock` and `unlock`: keep runs that change a host away from it for a while."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import click

from .. import lock as core
from ..errors import OK, TIMEOUT, USAGE, Failure
from ..hosts.remote import is_remote
from ..hosts.target import Target
from ..logs.times import duration
from ..plain import plain
from .hosts import each
from .noting import noted

VERSION = 1  # of the JSON, docs/json.md
LONGEST = 30 * 86400
FIELDS = ("user", "account", "address", "command", "time", "until", "reason")

_by = click.option("--by", default="", hidden=True, help="Who asks for it, from another machine.")
_json = click.option("--json", "as_json", is_flag=True, help="JSON objects (docs/json.md).")


@click.command()
@click.option("-m", "--reason", metavar="REASON", help="Why, for those who are refused. Without it: say who has it.")
@click.option("--for", "span", default="1h", show_default=True, metavar="TIME", help="How long: 30m, 2h, 1d.")
@click.option("--wait", is_flag=True, help="Wait for whoever has it.")
@_by
@_json
@click.pass_obj
@noted(only="reason")
def lock(target: Target, reason: str | None, span: str, wait: bool, by: str, as_json: bool) -> int:
    """Lock a host by hand: no provisioning, deploy or rollback until then, or until `celeryhost unlock`.

    One that is under way is let end: 9, unless told to --wait. Restart, stop, start and apply are not refused.
    Without -m nothing is locked: it says who has the lock, and exits with 9 if anybody has.
    """
    seconds = duration(span, "--for")
    if not 0 < seconds <= LONGEST:
        raise Failure(f"--for {span!r} is not within 30 days", USAGE, "write 30m, 2h, 1d")
    if is_remote(target):
        words = [f"--reason={reason}", f"--for={seconds:.0f}s", *(["--wait"] if wait else [])] if reason else []
        return _on_hosts(target, ["lock", f"--by={by or core.person()}", *words], as_json)
    if reason:
        return _show(core.lock(reason, seconds, wait, lambda text: _tell(text, as_json), by), as_json)
    found = core.state()
    _show(found, as_json)
    return TIMEOUT if found else OK


@click.command()
@_by
@_json
@click.pass_obj
@noted()
def unlock(target: Target, by: str, as_json: bool) -> int:
    """Take a lock away that was set by hand. What a run holds ends with that run."""
    if is_remote(target):
        return _on_hosts(target, ["unlock", f"--by={by or core.person()}"], as_json)
    return _show(core.unlock(), as_json, "unlocked")


def _on_hosts(target: Target, argv: list[str], as_json: bool) -> int:
    def show(host: str, data: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps({"version": VERSION, "host": host} | data), flush=True)
        elif "waiting" in data:
            print(plain(f"celeryhost: {host}: {data['waiting']}"), file=sys.stderr, flush=True)
        else:
            print(_text(host, data["lock"], argv[0] == "unlock"), flush=True)

    return each(target, argv, show, root=True, timeout=None)


def _show(found: dict[str, Any] | None, as_json: bool, done: str = "") -> int:
    if as_json:
        known = found and {key: found.get(key) for key in FIELDS}
        print(json.dumps({"version": VERSION, "lock": known}))
    else:
        print(_text(socket.gethostname(), found, bool(done)))
    return OK


def _text(host: str, found: dict[str, Any] | None, unlocked: bool) -> str:
    if not found:
        return plain(f"{host} is not locked")
    if unlocked:
        return plain(f"{host} was unlocked; {core.holds('it', found).replace('it is', 'it was', 1)}")
    return core.holds(host, found)


def _tell(text: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"version": VERSION, "waiting": text}), flush=True)
    else:
        print(f"celeryhost: waiting: {text}", file=sys.stderr, flush=True)

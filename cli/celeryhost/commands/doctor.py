"""`celeryhost doctor`: print what is wrong on a host, or on many."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from .. import checks, errors
from ..checks import doctor as core
from ..checks.host import Host
from ..hosts.remote import MAYBE, is_remote
from ..hosts.target import Target
from ..plain import plain
from ..terminal import coloured, paint
from . import complete
from .hosts import each

VERSION = 1  # of the JSON, docs/json.md
SECONDS = 180  # for a host; each app's Python is started, and its workers are asked
COLOURS = {checks.OK: "green", checks.WARN: "yellow", checks.FAIL: "red", checks.SKIP: "dim"}
FIELDS = ("check", "level", "subject", "symptom", "cause", "fix")


@click.command()
@click.argument("apps", nargs=-1, metavar="[APP…]", shell_complete=complete.programs)
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/json.md).")
@click.pass_obj
def doctor(target: Target, apps: Sequence[str], as_json: bool) -> int:
    """Look for what is wrong: one line a check, ok, warn or FAIL, with the cause and the fix.

    docs/doctor.md lists the checks. Without root's rights those that need them are skipped and say so. Changes nothing.
    Exits with 1 if one says FAIL.
    """
    if is_remote(target):
        return _on_hosts(target, apps, as_json)
    host, found = Host(target, apps), []
    for finding in core.examine(host):
        found.append(finding)
        if not as_json:
            _show(_data(finding))
    data = list(map(_data, found))
    if as_json:
        print(json.dumps({"version": VERSION, "findings": data, "beats": core.beats(host)}))
    else:
        _count(data)
    return core.exit_code(found)


def _on_hosts(target: Target, apps: Sequence[str], as_json: bool) -> int:
    hosts = []

    def show(host: str, data: dict[str, Any]) -> None:
        hosts.append({"host": host, **data})
        if not as_json:
            for finding in data["findings"]:
                _show(finding, host)

    code = each(target, ["doctor", "--", *apps], show, root=MAYBE, timeout=SECONDS)
    found = list(core.rivals({host["host"]: host.get("beats", []) for host in hosts}))
    data = list(map(_data, found))
    if as_json:
        print(json.dumps({"version": VERSION, "hosts": hosts, "findings": data}))
    elif hosts:
        for finding in data:
            _show(finding)
        _count([*(finding for host in hosts for finding in host["findings"]), *data])
    return errors.worst([code, core.exit_code(found)])


def _data(finding: Any) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in FIELDS}


def _show(finding: dict[str, Any], host: str | None = None) -> None:
    level = paint(finding["level"].ljust(4), COLOURS[finding["level"]], coloured())
    text = f"{finding['check']}: {finding['subject']}: {finding['symptom']}"
    if finding["cause"]:
        text += f"; cause: {finding['cause']}; fix: {finding['fix']}"
    print(f"{plain(host) + '  ' if host else ''}{level}  {plain(' '.join(text.split()))}", flush=True)


def _count(found: list[dict[str, Any]]) -> None:
    counts = Counter(finding["level"] for finding in found)
    told = ", ".join(f"{counts[level]} {level}" for level in COLOURS if counts[level])
    print(f"celeryhost: {told}", file=sys.stderr)

"""`celeryhost run`: send a Celery task by name and print its result."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ..hosts.remote import is_remote
from ..hosts.target import Target
from ..plain import plain, plain_lines
from ..project import tasks
from .hosts import merged
from .noting import noted
from .parameters import Parameter

VERSION = 1  # of the JSON, docs/json.md


class JSONObject(Parameter):
    """Keyword arguments."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is no JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"""{value!r} is no JSON object; write '{{"name": 1}}'""", param, ctx)
        return found


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("task", required=False)
@click.argument("args", nargs=-1)
@click.option("--kwargs", type=JSONObject(), default="{}", help="Keyword arguments, a JSON object.")
@click.option("--app", help="The app, where a host has several.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=30, show_default=True, help="Seconds to wait.")
@click.option("--starting", is_flag=True, help="A worker is about to start: give it all of that time to answer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/json.md).")
@click.pass_obj
@noted(hidden=("args", "kwargs"))  # what a task is sent may be anybody's data
def run(
    target: Target,
    task: str | None,
    args: tuple[str, ...],
    kwargs: dict[str, Any],
    app: str | None,
    timeout: float,
    starting: bool,
    as_json: bool,
) -> int:
    """Send a task to the workers by its name, wait, and print its result: proof that all of it works.

    An argument is JSON where it is JSON (1, true, '[1, 2]'), else a string. Without TASK, a task that every worker has
    is sent. Runs with the project's own Python, as its user, so it needs root's rights or that user's.
    """
    if is_remote(target):
        words = ["run", f"--timeout={timeout}", f"--kwargs={json.dumps(kwargs)}", *([f"--app={app}"] if app else [])]
        words += [*(["--starting"] if starting else []), "--", *([task] if task else []), *args]
        longest = timeout + tasks.START_SECONDS + 10
        return merged(target, words, lambda host, data: _show(data, host), as_json, VERSION, longest)
    found = tasks.run(target, task, [tasks.value(arg) for arg in args], kwargs, timeout, app, starting)
    if as_json:
        print(json.dumps({"version": VERSION, **found}))
    else:
        _show(found)
    return 0


def _show(data: dict[str, Any], host: str | None = None) -> None:
    result = data["result"] if isinstance(data["result"], str) else json.dumps(data["result"], ensure_ascii=False)
    print(plain_lines(f"{host}: {result}" if host else result))
    sys.stdout.flush()
    remark = f", {data['remark']}" if data["remark"] else ""
    print(plain(f"{data['task']} in {data['seconds']:.2f} s{remark}"), file=sys.stderr)

"""`celeryhost manage` and `celeryhost celery`: an app's own command lines, where its programs run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ..errors import FAILED, OK, UNREACHABLE, Failure, worst
from ..hosts.inventory import Host, targets
from ..hosts.remote import attended, is_remote, plain_ssh
from ..hosts.target import Target
from ..plain import plain
from ..project import manage as core
from .complete import apps
from .hosts import each

VERSION = 1  # of the JSON, docs/json.md


def _shared(command: Callable[..., int]) -> click.Command:
    for option in reversed(
        (
            click.argument("app", shell_complete=apps),
            click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND..."),
            click.option(
                "--json", "as_json", is_flag=True, help="What it writes, a JSON object a line (docs/json.md)."
            ),
            click.pass_obj,
        )
    ):
        command = option(command)
    return click.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})(command)


@_shared
def manage(target: Target, app: str, words: Sequence[str], as_json: bool) -> int:
    """Run manage.py of APP: shell, createsuperuser, showmigrations, ...

    As the app's user, with the environment, virtual environment and folder of its programs; on the hosts of -i and -H,
    too. The exit code is that of the command.
    """
    return _run("manage", target, app, words, as_json)


@_shared
def celery(target: Target, app: str, words: Sequence[str], as_json: bool) -> int:
    """Run Celery's own command line for APP: inspect active, purge, control cancel_consumer QUEUE, ...

    As the app's user, with the environment, virtual environment and folder of its programs, its app and broker; on the
    hosts of -i and -H, too. The exit code is that of the command.
    """
    return _run("celery", target, app, words, as_json)


def _run(kind: str, target: Target, app: str, words: Sequence[str], as_json: bool) -> int:
    words = words[1:] if words[:1] == ("--",) else words
    argv = [kind, app, "--", *words]
    if is_remote(target):
        hosts = targets(target.inventory, target.hosts)
        return _on(hosts[0], target, argv) if len(hosts) == 1 and not as_json else _on_each(target, argv, as_json)
    command = getattr(core, kind)(target, app, words)
    if not as_json:
        sys.stdout.flush()
        return core.run(command)
    for name, line in core.lines(command):
        print(json.dumps({"version": VERSION, name: line}), flush=True)
    return OK  # the last line has the code


def _on(host: Host, target: Target, argv: list[str]) -> int:
    """On one host: with this terminal where there is one, else with input and output as they are."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    words = attended(host, target, argv, terminal)
    code = subprocess.run(words, check=False).returncode
    if code == 255 and words[0] == "ssh":
        raise Failure(f"{host.name}: ssh could not go on", UNREACHABLE, f"try {plain_ssh(host)}")
    return core.exit_code(code)


def _on_each(target: Target, argv: list[str], as_json: bool) -> int:
    """On several hosts at once, without input: each line with its host."""
    codes = []

    def show(host: str, data: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps({"host": host, **data}), flush=True)
        for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
            if name in data and not as_json:
                print(f"{host}: {plain(str(data[name]))}", file=stream, flush=True)
        if "exit" in data:
            codes.append(data["exit"])

    failed = each(target, argv, show, root=True, timeout=None)
    if failed != OK or not codes:
        return failed
    return codes[0] if len({*codes}) == 1 else worst([FAILED if code else OK for code in codes])

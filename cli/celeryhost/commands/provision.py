"""`celeryhost provision` and `unprovision`: the playbooks of the same names."""

from __future__ import annotations

import sys

import click

from .. import provision as core
from ..errors import OK, USAGE, Failure

_NEXT = """
What to do next:
  celeryhost status            what runs
  celeryhost logs -f           what worker and beat write
  celeryhost run TASK [ARG…]   a task, and its result
  celeryhost open              Supervisor's page
"""


def _shared(command):
    """The options that both commands have; Ansible's names where Ansible has them."""
    for option in reversed(
        (
            click.option("-i", "--inventory", metavar="PATH", help="Ansible inventory; without one: this machine."),
            click.option("-H", "--limit", "--hosts", metavar="PATTERN", help="Only these hosts of the inventory."),
            click.option("--check", is_flag=True, help="Change nothing: say what would change."),
            click.option("--diff", is_flag=True, help="Show what changes inside files."),
            click.option("-e", "--extra-vars", multiple=True, metavar="VAR=VALUE", help="Set a variable."),
            click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the sudo password."),
            click.option("-v", "--verbose", count=True, help="Show results too; -vvv for how hosts are reached."),
            click.pass_obj,
        )
    ):
        command = option(command)
    return command


@click.command()
@_shared
def provision(target, **options):
    """Set up this machine, or the hosts of an inventory: Redis, Supervisor, project, worker and beat.

    Ends with a task's result and a table of what runs. Calling it again changes only what differs.
    """
    code = _play("provision", target, options)
    if code == OK and not options["check"] and core.is_this_machine(_inventory(target, options)):
        _show_status()
        click.echo(_NEXT, nl=False)
    return code


@click.command()
@_shared
@click.option("--data", is_flag=True, help="Take away data and code too: Redis's, the logs, the project.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def unprovision(target, data, yes, **options):
    """Take away what `provision` put there; data and code stay unless told."""
    if not (yes or sys.stdin.isatty()):
        raise Failure("there is no terminal to ask whether to remove", USAGE, "add --yes")
    extra = ["-e", "unprovision_confirm=yes"] if yes else []
    return _play("unprovision", target, options, [*extra, *(["-e", "unprovision_data=true"] if data else [])])


def _inventory(target, options) -> str | None:
    return options["inventory"] or target.inventory


def _play(playbook: str, target, options, extra=()) -> int:
    arguments = [f"--{name}" for name in ("check", "diff") if options[name]]
    arguments += ["-" + "v" * options["verbose"]] if options["verbose"] else []
    for variable in options["extra_vars"]:
        arguments += ["-e", variable]
    limit = options["limit"] or target.hosts
    return core.playbook(playbook, _inventory(target, options), limit, [*arguments, *extra], options["ask_become_pass"])


def _show_status() -> None:
    from .status_view import show

    click.echo()
    try:
        show([], as_json=False)
    except Failure as failure:  # a member of group supervisor since now is one only after the next login
        click.echo(f"celeryhost: {failure}", err=True)

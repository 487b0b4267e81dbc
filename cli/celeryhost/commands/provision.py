"""`celeryhost provision` and `unprovision`: the playbooks of the same names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ..controller import provision as core
from ..errors import USAGE, Failure
from ..hosts.target import Target


def shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that both commands have; Ansible's names where Ansible has them."""
    for option in reversed(
        (
            click.option("-i", "--inventory", metavar="PATH", help="Ansible inventory; without one: this machine."),
            click.option("-H", "--limit", "--hosts", metavar="PATTERN", help="Only these hosts of the inventory."),
            click.option("--check", is_flag=True, help="Change nothing: say what would change."),
            click.option("--diff", is_flag=True, help="Show what changes inside files."),
            click.option("-e", "--extra-vars", multiple=True, metavar="VAR=VALUE", help="Set a variable."),
            click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the sudo password."),
            click.option("--wait", is_flag=True, help="Wait for another run on a host, instead of being refused."),
            click.option("-v", "--verbose", count=True, help="Show results too; -vvv for how hosts are reached."),
            click.pass_obj,
        )
    ):
        command = option(command)
    return command


@click.command()
@shared
def provision(target: Target, **options: Any) -> int:
    """Set up this machine, or the hosts of an inventory: Redis, Supervisor, project, worker and beat.

    Ends with a task's result, a table of what runs and what to do next. Calling it again changes only what differs.
    """
    return _play("provision", target, options)


@click.command()
@shared
@click.option("--data", is_flag=True, help="Take away data and code too: Redis's, the logs, the project.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def unprovision(target: Target, data: bool, yes: bool, **options: Any) -> int:
    """Take away what `provision` put there; data and code stay unless told."""
    if not (yes or sys.stdin.isatty()):
        raise Failure("there is no terminal to ask whether to remove", USAGE, "add --yes")
    extra = ["-e", "unprovision_confirm=yes"] if yes else []
    return _play("unprovision", target, options, [*extra, *(["-e", "unprovision_data=true"] if data else [])])


def _play(playbook: str, target: Target, options: dict[str, Any], extra: Sequence[str] = ()) -> int:
    limit = options["limit"] or target.hosts
    inventory = options["inventory"] or target.inventory
    return core.playbook(playbook, inventory, limit, [*arguments(options), *extra], options["ask_become_pass"])


def arguments(options: dict[str, Any]) -> list[str]:
    """What ansible-playbook is given for the options of `shared`."""
    found = [f"--{name}" for name in ("check", "diff") if options[name]]
    found += ["-" + "v" * options["verbose"]] if options["verbose"] else []
    found += ["-e", "lock_wait=true"] if options["wait"] else []
    return [*found, *(word for variable in options["extra_vars"] for word in ("-e", variable))]

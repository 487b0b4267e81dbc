"""The command line: the options that every command shares, and where each command lives.

A command is imported when it is called, so that none pays for another's imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from . import __version__
from .hosts.target import Target

# What a person wants: {command: (the module in commands/ that holds a click command of that name, `open_` for `open`;
# its line in `celeryhost --help`)}.
SECTIONS = {
    "Every day": {
        "status": ("status", "What runs: state, pid, uptime, CPU, memory, restarts."),
        "start": ("control", "Start programs, and wait until they run."),
        "stop": ("control", "Stop programs, and wait until they have."),
        "restart": ("control", "Restart programs, each as soon as it has stopped."),
        "logs": ("logs", "The last lines of logs, merged by time; -f follows."),
        "run": ("run", "Send a task, wait, print its result."),
        "manage": ("manage", "manage.py of an app: shell, createsuperuser and so on."),
        "celery": ("manage", "Celery's own command line of an app."),
    },
    "Look": {
        "top": ("top", "Watch programs, queues, tasks, beat and logs."),
        "doctor": ("doctor", "What is wrong, each with its cause and fix."),
        "schedule": ("schedule", "What beat sends, and when."),
        "audit": ("audit", "Who did what on a host, and what came of it."),
        "open": ("open", "The page of Supervisor, or of Flower."),
    },
    "Deploy": {
        "provision": ("provision", "Bring this machine, or hosts, to an inventory."),
        "deploy": ("releases", "Bring new code, and what follows from it."),
        "releases": ("releases", "The releases of apps: what runs, ran and failed."),
        "rollback": ("releases", "Go back to a release that worked."),
        "apply": ("apply", "Bring supervisord to its configuration files."),
        "lock": ("lock", "Keep provisioning and deploys off a host for a while."),
        "unlock": ("lock", "Take such a lock away."),
    },
    "Set up": {
        "init": ("init", "Write the inventory for a Django project."),
        "dev": ("dev", "Run worker, beat and a private Redis here."),
        "unprovision": ("provision", "Take away what `provision` put there."),
        "completion": ("completion", "The completion script for bash, zsh or fish."),
    },
}
COMMANDS = {name: module for section in SECTIONS.values() for name, (module, _) in section.items()}


class Commands(click.Group):
    """A group that imports a command's module only when that command is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = import_module(f".commands.{COMMANDS[name]}", __package__)
        command: click.Command = getattr(module, name, None) or getattr(module, f"{name}_")
        return command


def _hosts(*args: Any) -> list[str]:
    from .commands.complete import hosts

    return hosts(*args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-i", "--inventory", metavar="PATH", type=click.Path(), help="Ansible inventory of hosts to reach by ssh."
)
@click.option(
    "-H",
    "--hosts",
    metavar="PATTERN",
    shell_complete=_hosts,
    help="Only these of its hosts (Ansible's patterns).",
)
@click.option(
    "-c", "--configuration", "config", metavar="FILE", type=click.Path(), help="supervisord.conf of this machine."
)
@click.option("-s", "--serverurl", "url", metavar="URL", help="supervisord's unix:// or http:// address.")
@click.option("-u", "--username", "user", help="User for that address; the password is read from SUPERVISOR_PASSWORD.")
@click.version_option(__version__, prog_name="celeryhost", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context, inventory: str | None, hosts: str | None, config: str | None, url: str | None, user: str | None
) -> None:
    """Provision a host for Django's Celery worker and beat, manage its daemons, read their logs."""
    ctx.obj = Target(inventory, hosts, config, url, user)

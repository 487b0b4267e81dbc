"""The command line: the options that every command shares, and where each command lives.

A command is imported when it is called, so that none pays for another's imports.
"""

from __future__ import annotations

from importlib import import_module

import click

from . import __version__
from .hosts.target import Target

# command: module in commands/ that holds a click command of the same name (`open_` for `open`, and so on)
COMMANDS = {
    "status": "status",
    "start": "control",
    "stop": "control",
    "restart": "control",
    "logs": "logs",
    "top": "top",
    "apply": "apply",
    "run": "run",
    "manage": "manage",
    "celery": "manage",
    "schedule": "schedule",
    "doctor": "doctor",
    "open": "open",
    "provision": "provision",
    "unprovision": "provision",
    "init": "init",
    "dev": "dev",
    "completion": "completion",
}


class Commands(click.Group):
    """A group that imports a command's module only when that command is wanted."""

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        module = import_module(f".commands.{COMMANDS[name]}", __package__)
        return getattr(module, name, None) or getattr(module, f"{name}_")


def _hosts(*args):
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
def cli(ctx, inventory, hosts, config, url, user) -> None:
    """Provision a host for Django's Celery worker and beat, manage its daemons, read their logs."""
    ctx.obj = Target(inventory, hosts, config, url, user)

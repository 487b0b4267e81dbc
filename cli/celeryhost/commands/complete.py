"""The names that a shell completes: programs and hosts. Whatever goes wrong, there is just nothing to offer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click

from ..errors import Failure
from ..hosts.target import Target

ANSWER_SECONDS = 2  # nobody waits longer for a Tab


def programs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Programs, groups and apps of the supervisord, or of the hosts, that the line so far means."""
    from ..supervisor.programs import apps

    known = _known(ctx)
    words = {word for process in known for word in (process.name, process.group)} | apps(known)
    if "bash" in os.environ.get("_CELERYHOST_COMPLETE", ""):
        words = {word for word in words if ":" not in word}  # a colon ends a word there (COMP_WORDBREAKS)
    return sorted(word for word in words if word.startswith(incomplete))


def apps(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Apps of the supervisord, or of the hosts, that the line so far means."""
    from ..supervisor.programs import apps

    return sorted(word for word in apps(_known(ctx)) if word.startswith(incomplete))


def hosts(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Hosts and groups of the inventory, also as the last part of a pattern."""
    from ..hosts.inventory import default_sources, load

    inventory = ctx.find_root().params.get("inventory")
    start = max(map(incomplete.rfind, ",:!&")) + 1
    try:
        known = load(default_sources() if inventory is None else [inventory])
    except Failure:
        return []
    names = ["all", *(group for group, members in known.groups.items() if members), *known.hosts]
    return [incomplete[:start] + name for name in names if name.startswith(incomplete[start:])]


def _known(ctx: click.Context) -> list[Any]:
    from ..hosts.remote import is_remote

    given = ctx.find_root().params
    target = Target(*map(given.get, Target._fields))
    try:
        return list(_on_hosts(target) if is_remote(target) else _here(target))
    except Failure:
        return []


def _here(target: Target) -> Iterable[Any]:
    from ..supervisor import locate
    from ..supervisor.programs import processes
    from ..supervisor.rpc import Supervisor

    return processes(Supervisor(locate.find(target.config, target.url, target.user), ANSWER_SECONDS))


def _on_hosts(target: Target) -> Iterable[Any]:
    from types import SimpleNamespace

    from ..hosts.remote import DATA, fan_out

    for _, kind, value in fan_out(target, ["status"], timeout=ANSWER_SECONDS):
        if kind == DATA:
            for program in value["programs"]:
                yield SimpleNamespace(name=program["name"], group=program["name"].partition(":")[0])

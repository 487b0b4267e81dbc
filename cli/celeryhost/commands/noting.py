"""Having a command noted on the host on which it acts (audit.py)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click

from .. import audit
from ..hosts.remote import is_remote
from ..hosts.target import Target

UNTOLD = ("as_json", "by", "yes")  # parameters that say nothing of what was done


def noted(
    only: str = "", unless: str = "", hidden: Sequence[str] = ()
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Have a command noted on the host on which it acts: `only` where that parameter is set, not where `unless` is.

    Of parameters `hidden` no value is noted. It stands below the decorators of click.
    """

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def run(target: Target, *args: Any, **given: Any) -> int:
            if is_remote(target) or (unless and given[unless]) or (only and not given[only]):
                return function(target, *args, **given)
            context = click.get_current_context()
            name = context.command.name or function.__name__
            with audit.entry(name, words(context, hidden), str(given.get("by") or "")) as entry:
                entry.exit_code = function(target, *args, **given)
            return entry.exit_code

        return run

    return decorate


def words(context: click.Context, hidden: Sequence[str] = ()) -> list[str]:
    """What a person has asked a command for, in the words of the command line, without what is `hidden`."""
    said = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name in UNTOLD or value in (None, (), "", False, {}) or value == parameter.get_default(context):
            continue
        if parameter.name in hidden:
            said.append("…" if isinstance(parameter, click.Argument) else f"{parameter.opts[-1]}=…")
        elif isinstance(parameter, click.Argument):
            said += map(str, value) if isinstance(value, tuple) else [str(value)]
        elif value is True:
            said.append(parameter.opts[-1])
        else:
            said += [f"{parameter.opts[-1]}={each}" for each in (value if isinstance(value, tuple) else (value,))]
    return said

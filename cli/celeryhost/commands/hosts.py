"""What the commands share when they work on many hosts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from .. import errors
from ..hosts.remote import AT_ONCE, DATA, ENDED, FAILURE, SAID, fan_out
from ..hosts.target import Target
from ..plain import plain

UPDATE = "provision it with this celeryhost"


Show = Callable[[str, dict[str, Any]], object]  # is called with a host and what it says


def each(
    target: Target,
    argv: Sequence[str],
    show: Show,
    root: bool | str = False,
    timeout: float | None = 60,
    at_once: int | None = AT_ONCE,
) -> int:
    """Run `celeryhost ARGV` on the hosts of `target`, call `show(host, data)` for each JSON object that comes.

    Errors and remarks go to stderr with the host's name as they arrive. Returns the exit code that stands for all.
    """
    codes = []
    with closing(fan_out(target, argv, root, timeout, at_once)) as answers:
        for host, kind, value in answers:
            if kind == DATA:
                try:
                    show(host, value)
                except (LookupError, TypeError, ValueError, AttributeError):
                    said = errors.Failure(f"{host}: what answers there speaks otherwise", errors.FAILED, UPDATE)
                    print(f"celeryhost: {plain(said)}", file=sys.stderr)
                    codes.append(said.code)
            elif kind == ENDED:
                codes.append(value)
            else:
                sys.stdout.flush()
                print(plain(f"{host}: {value}" if kind == SAID else f"celeryhost: {value}"), file=sys.stderr)
                if kind == FAILURE:
                    codes.append(value.code)
    return errors.worst(codes)


def merged(target: Target, argv: Sequence[str], show: Show, as_json: bool, version: int, timeout: float) -> int:
    """`each` as root for one object of a host: `show(host, data)` as they come, or one JSON object of all hosts."""
    found = []

    def keep(host: str, data: dict[str, Any]) -> None:
        found.append({"host": host, **data})

    code = each(target, argv, keep if as_json else show, root=True, timeout=timeout)
    if as_json:
        print(json.dumps({"version": version, "hosts": found}))
    return code

"""What a person's hooks are told of a deploy: by the command that starts it, and from within, with the locks held."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from .. import hooks, lock
from ..errors import HOOK, INTERRUPTED, OK, TIMEOUT
from .locking import REPORT

ABOUT = "CELERYHOST_ABOUT"  # for what runs within: what is known at the start, JSON
TOLD = "about "  # begins the line that tells the command what was learnt of it
COMMANDS = ("provision", "deploy", "rollback")


def about(command: str, sources: Sequence[str]) -> dict[str, str]:
    """What is known at the start; nothing for a command without hooks. Raises Failure (USAGE) for a hook that is unfit.

    Tells it before anything has begun, for the hooks that come last, too.
    """
    if command not in COMMANDS:
        return {}
    where = hooks.folder(sources)
    found = [name for name in (hooks.PRE, hooks.POST, hooks.FAILED) if hooks.find(where, name)]
    if not found:
        return {}
    hooks.seconds()
    return {"folder": where, "command": command, "inventory": ",".join(sources), "user": lock.person()}


def begin(command: str, hosts: list[str], apps: list[dict[str, Any]]) -> str:
    """Run pre-deploy within the run, with the locks held: what it says. Raises Failure (HOOK) when it forbids it."""
    known = json.loads(os.environ[ABOUT])
    versions = {str(app.get("name")): str(app.get("version") or "") for app in apps}
    known |= {
        "command": command,
        "hosts": " ".join(hosts),
        "apps": " ".join(versions),
        "version": " ".join(f"{name}={version}" for name, version in versions.items() if version),
    }
    if REPORT in os.environ:
        os.write(int(os.environ[REPORT]), f"{TOLD}{json.dumps(known)}\n".encode())
    return _run(hooks.PRE, known)


def end(known: dict[str, str], told: list[str], code: int, seconds: float, changed: bool) -> str:
    """Run post-deploy or failed-deploy: what it says. Raises Failure (HOOK), which changes nothing of what was done.

    A run that was refused by a lock has begun nothing, and failed-deploy might undo what is the other run's.
    """
    within = [json.loads(line.removeprefix(TOLD)) for line in told if line.startswith(TOLD)]
    if not known or (code == TIMEOUT and not within):
        return ""
    outcome = {OK: "ok", HOOK: "refused", INTERRUPTED: "interrupted"}.get(code, "failed")
    more = {"outcome": outcome, "exit_code": str(code), "seconds": f"{seconds:.0f}", "changed": "1" if changed else "0"}
    return _run(hooks.POST if code == OK else hooks.FAILED, (within[0] if within else known) | more)


def _run(name: str, known: dict[str, str]) -> str:
    return hooks.run(known["folder"], name, {key: value for key, value in known.items() if key != "folder"})

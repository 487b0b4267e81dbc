"""What outlives a release: SQLite's databases and uploads, which lie inside the code, moved beside the releases."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ..errors import FAILED, OK, Failure
from ..project import releases
from ..supervisor import lifecycle, locate, programs
from ..supervisor.rpc import Supervisor
from .project_release import share

ARGUMENTS = {
    "app": {"type": "str", "required": True},
    "base": {"type": "path", "required": True},
    "code": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "found": {"type": "list", "elements": "path", "default": []},
    "named": {"type": "list", "elements": "str", "default": []},
    "config": {"type": "path"},
}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """`shared`: the paths, as seen from the code. The app's programs stand while something of theirs is moved."""
    code, shared = params["code"], os.path.join(params["base"], "shared")
    paths = list(dict.fromkeys([*params["named"], *within(code, params["found"])]))
    if not paths or not os.path.isdir(code):
        return {"changed": False, "shared": []}
    record = releases.load(params["app"])
    before = "" if record.current else params["base"]  # a host whose code was changed in place until now
    links, moved = share(params["owner"], code, before, shared, paths, do=False)
    changed = bool(links) or set(paths) - set(record.shared)
    if changed and not check:
        with standing(params["config"], params["app"] if moved else ""):
            share(params["owner"], code, before, shared, paths)
        record.shared = sorted({*record.shared, *paths})
        releases.save(record)
    return {"changed": bool(changed), "shared": paths}


def within(code: str, found: list[str]) -> list[str]:
    """Those of whole paths that lie in the code, as seen from there."""
    real = os.path.realpath(code)
    paths = [os.path.relpath(path, place) for path in found for place in {code, real} if path.startswith(f"{place}/")]
    return [path for path in paths if path and not path.startswith("..")]


@contextlib.contextmanager
def standing(config: str | None, app: str) -> Iterator[None]:
    """Around what must not be written to: the programs of an app are stopped, and those that ran started again."""
    alive: list[programs.Process] = []
    if app and config and os.path.exists(config):
        with contextlib.suppress(Failure):  # nothing runs
            supervisor = Supervisor(locate.find(config))
            known = programs.select([app], programs.processes(supervisor))
            alive = [each for each in known if each.state in programs.ALIVE]
    try:
        if alive and lifecycle.exit_code(lifecycle.stop(supervisor, alive)) != OK:
            raise Failure(f"programs of app {app} did not stop, so that nothing was moved", FAILED, "run again")
        yield
    finally:
        if alive:
            for _event in lifecycle.start(supervisor, alive):
                pass

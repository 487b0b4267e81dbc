"""Which releases were seen to work: noted, with what it takes to go back to them, and the older ones removed."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from ..account import last_line, run
from ..errors import UNPROVEN, Failure
from ..project import releases
from ..supervisor import locate, programs
from ..supervisor.rpc import Supervisor
from .environment import in_use
from .install_files import read, replace

APP = {
    "name": {"type": "str", "required": True},
    "id": {"type": "str", "required": True},
    "base": {"type": "path", "required": True},
    "virtualenv": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "keep": {"type": "int", "required": True},
    "entry": {"type": "path", "required": True},
    "environment": {"type": "path", "required": True},
    "migrated": {"type": "list", "elements": "str", "default": []},
    "verify": {"type": "list", "elements": "str", "default": []},
}
ARGUMENTS = {
    "apps": {"type": "list", "elements": "dict", "options": APP, "required": True},
    "config": {"type": "path"},
}
UNASKED = ("migrated",)
KEPT = ("entry", "environment")


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    changed = False
    for app in params["apps"]:
        record = releases.load(app["name"])
        release = record.of_id(app["id"])
        if release is None:
            if check:
                return {"changed": True}
            raise Failure(f"app {app['name']} has no release {app['id']}", fix="deploy it again")
        differs = record.current != release.id or release.state != releases.PROVEN or not is_kept(app)
        differs = differs or not leads(app["base"], release.code)
        changed = changed or differs
        if differs and not check:
            if elsewhere := running_elsewhere(params["config"], app, release.code):
                raise Failure(f"app {app['name']}: not of release {release.id}: {', '.join(elsewhere)}", UNPROVEN)
            prove(record, release, app)
    return {"changed": changed}


def running_elsewhere(config: str | None, app: dict[str, Any], code: str) -> list[str]:
    """The programs of an app whose processes run in another release, by what the kernel says of them."""
    if not (config and os.path.exists(config)):
        return []
    known = programs.processes(Supervisor(locate.find(config)))
    found = []
    for program in known:
        with contextlib.suppress(OSError):  # ended meanwhile
            place = os.readlink(f"/proc/{program.pid}/cwd") if program.pid else ""
            if f"{place}/".startswith(f"{app['base']}/releases/") and not f"{place}/".startswith(f"{code}/"):
                found.append(f"{program.name} runs in {place}")
    return found


def is_kept(app: dict[str, Any]) -> bool:
    """Whether the entry and the environment file are kept as they are now."""
    kept = releases.kept_files(app["name"], app["id"])
    return all(read(kept[what]) == read(app[what]) for what in KEPT)


def leads(base: str, code: str) -> bool:
    """Whether the link for people leads there."""
    return os.path.realpath(f"{base}/current") == os.path.realpath(code)


def prove(record: releases.Record, release: releases.Release, app: dict[str, Any]) -> None:
    """Note that the release was seen to work, keep what it takes to go back to it, and lead people to it."""
    kept = releases.kept_files(record.app, release.id)
    for what in KEPT:
        replace(kept[what], read(app[what]) or "", (os.geteuid(), os.getegid(), "0600"))
    release.state, release.proven, release.reason = releases.PROVEN, time.time(), ""
    release.virtualenv, release.verify = app["virtualenv"], app["verify"]
    release.entry, release.owner = app["entry"], app["owner"]
    release.migrated = list(dict.fromkeys([*release.migrated, *app["migrated"]]))
    record.current = release.id
    releases.save(record)
    lead(app["base"], "current", release.code, app["owner"])
    prune(record, app["base"], app["owner"], app["keep"])


def lead(base: str, name: str, path: str, owner: str) -> None:
    """Have a link for people, cron and web servers name `path`, from one moment to the next."""
    words = 'ln -sfn "$3" "$1/$2.new" && mv -T "$1/$2.new" "$1/$2"'
    status, output = run(owner, "sh", "-c", words, "sh", base, name, os.path.relpath(path, base), cwd="/")
    if status:
        raise Failure(f"{base}/{name}: {last_line(output)}", fix=f"let {owner} write in {base}")


def prune(record: releases.Record, base: str, owner: str, keep: int) -> None:
    """Remove what is neither kept nor runs; what is left of a run that was cut off goes, too."""
    stay = record.kept(keep)
    gone = [each for each in record.releases if each not in stay and not in_use(each.virtualenv or each.code)]
    record.releases = [each for each in record.releases if each not in gone]
    releases.save(record)
    for each in gone:
        run(owner, "rm", "-rf", "--", each.code, f"{each.code}.part", cwd="/")
        for path in releases.kept_files(record.app, each.id).values():
            if os.path.exists(path):
                os.unlink(path)
    environments = {each.virtualenv for each in record.releases} | {os.path.realpath(f"{base}/venv")}
    for each in gone:
        if each.virtualenv and each.virtualenv not in environments and not in_use(each.virtualenv):
            run(owner, "rm", "-rf", "--", each.virtualenv, cwd="/")

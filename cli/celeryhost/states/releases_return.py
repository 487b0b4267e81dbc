"""Going back: the entry and environment of a release that was seen to work, put in their places and proven again.

It needs no network, no git, no package index and nothing that describes the app.
"""

from __future__ import annotations

import os
import time
from typing import Any

from ..errors import FAILED, UNKNOWN, Failure, near
from ..paths import noted
from ..project import releases
from . import supervisor_programs
from .install_files import access, read, replace
from .releases_proven import APP as PROVEN_APP
from .releases_proven import lead

APP = {key: PROVEN_APP[key] for key in ("name", "id", "entry")}
ARGUMENTS = {
    "apps": {"type": "list", "elements": "dict", "options": APP, "required": True},
    "config": {"type": "path", "required": True},
    "why": {"type": "str", "default": ""},
}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """After a switch that failed: each app whose entry is not that of its last proven release goes back to it.

    `said` has a line for each, `lost` says whether one could not.
    """
    said, lost, changed = [], False, False
    for app in params["apps"]:
        record = releases.load(app["name"])
        running, failed = record.running(), record.of_id(app["id"])
        if failed and failed is not running:
            failed.state, failed.reason = releases.FAILED_STATE, params["why"][: releases.LONGEST]
            releases.save(record)
        if running is None:
            said.append(f"{app['name']}: there is no release before {app['id']} to go back to")
            lost = True
            continue
        kept = releases.kept_files(app["name"], running.id)
        if read(kept["entry"]) == read(app["entry"]):
            continue
        changed = True
        try:
            put_back(record, running, params["config"])
            said.append(f"{app['name']}: went back to release {running.id}, which runs again")
        except Failure as failure:
            said.append(f"{app['name']}: release {running.id} does not run again either: {failure}")
            lost = True
    return {"changed": changed, "said": said, "lost": lost}


def put_back(record: releases.Record, release: releases.Release, config: str) -> None:
    """Bring Supervisor to the release's own entry, and see that it works; raises Failure where it does not."""
    kept, place = releases.kept_files(record.app, release.id), noted(record.app, "env")
    entry, environment = read(kept["entry"]), read(kept["environment"])
    if not entry or not os.path.isdir(release.code):
        raise Failure(f"release {release.id} of app {record.app} is not whole any more", FAILED, "name another")
    if not os.access(f"{release.virtualenv}/bin/python", os.X_OK):
        fix = f"deploy commit {release.commit} again, which makes it anew"
        raise Failure(f"release {release.id}: its virtual environment {release.virtualenv} is gone", FAILED, fix)
    if environment is not None and read(place) != environment:
        replace(place, environment, access(place) or ("root", "root", "0640"))
    given: dict[str, Any] = {key: known.get("default") for key, known in supervisor_programs.ARGUMENTS.items()}
    given |= {"path": release.entry, "content": entry, "config": config, "mode": 0o600}
    given |= {"meanwhile": {record.app: release.verify} if release.verify else {}}
    done = supervisor_programs.bring(given, False)
    for outcome in done.get("meanwhile", {}).values():
        if outcome["rc"]:
            raise Failure(outcome["stderr"].strip() or "the task that proves it did not come back", FAILED)
    base = releases.base_of(release)
    lead(base, "current", release.code, release.owner)
    if os.path.islink(f"{base}/venv"):
        lead(base, "venv", release.virtualenv, release.owner)


def go_back(app: str, name: str | None, config: str, across: bool = False) -> tuple[str, str]:
    """Take an app back to a release, or to the one that worked before this one: (its id, the id that was left).

    `across`: also where migrations have been applied since. Raises Failure: UNKNOWN for no such app or release; what
    can't be gone back to; a release that does not work any more, when the one of before runs again.
    """
    record = releases.load(app)
    running = record.running()
    if running is None:
        fix = near(app, releases.apps()) or "write keep: 5 for it in celery_apps, and provision"
        raise Failure(f"app {app!r} has no releases here", UNKNOWN, fix)
    target = record.chosen(name) if name else record.before()
    if target is None:
        raise Failure(f"app {app}: there is no release before {running.id} to go back to", FAILED, "deploy another")
    if target is running:
        raise Failure(f"app {app} runs release {target.id} already", FAILED, f"celeryhost releases {app} lists others")
    if target.state != releases.PROVEN:
        fix = "name one that is proven, or deploy its commit with --again"
        raise Failure(f"release {target.id} of app {app} is {target.state}", FAILED, fix)
    if (applied := record.since(target)) and not across:
        fix = (
            "write the migrations that take them back and deploy those, or go on with --across-migrations if the code "
            "of before runs with them"
        )
        raise Failure(f"app {app}: since {target.id} was applied: {', '.join(applied)}", FAILED, fix)
    try:
        put_back(record, target, config)
    except Failure as failure:
        put_back(record, running, config)
        raise Failure(f"{failure.message}; {running.id} runs again", FAILED, failure.fix) from None
    running.state = releases.ROLLED_BACK
    target.proven, record.current = time.time(), target.id
    releases.save(record)
    return target.id, running.id

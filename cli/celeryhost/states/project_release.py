"""A release of an app: its code in a folder of its own, made beside what runs, and never changed from then on."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from .. import cache
from ..account import converse, last_line, named, run
from ..errors import Failure
from ..project import releases
from ..project.preflight import sources
from ..scripts import shared as shared_script
from ..scripts import source

ARGUMENTS = {
    "app": {"type": "str", "required": True},
    "base": {"type": "path", "required": True},
    "source": {"type": "path", "required": True},
    "commit": {"type": "str", "default": ""},
    "version": {"type": "str", "default": ""},
    "owner": {"type": "str", "required": True},
    "again": {"type": "bool", "default": False},
    "by": {"type": "str", "default": ""},
    "origin": {"type": "str", "default": ""},
}
UNASKED = ("by", "origin")

# As the app's user, who alone writes there. The last step is a rename, so that a killed run leaves no half release.
COPY = """
set -e
rm -rf "$1.part"
mkdir -p "$1.part"
cp -a --reflink=auto "$2/." "$1.part/"
rm -rf "$1.part/.git"
mv -T "$1.part" "$1"
"""


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """`id` and `code` of the release to run, `remark` where that is not the one of this commit: a person has gone back
    from that."""
    record = releases.load(params["app"])
    running, found = record.running(), record.of_commit(params["commit"][:12])
    if not params["commit"]:
        if running is None and not check:
            raise Failure(f"app {params['app']} has no release yet", fix="deploy it, too")
        return _told(running, running is None)
    if found and found.state == releases.ROLLED_BACK and running and not params["again"]:
        said = f"{found.id} of app {params['app']} was rolled back: {running.id} stays, until another commit or --again"
        return _told(running, False) | {"remark": said}
    edited = changed_by_hand(params["app"], found, record.shared) if found else []
    if found and not edited:
        return _told(found, False)
    why = f"{', '.join(edited[:3])} of release {found.id} was changed by hand" if found else ""
    if check:
        return _told(running, True) | ({"why": why} if why else {})
    if found:
        found.state, found.reason = releases.FAILED_STATE, why
    moment = max([time.time(), *(each.made + 1 for each in record.releases)])  # for its name
    name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(moment))}-{params['commit'][:12]}"
    code = os.path.join(params["base"], "releases", name)
    status, output = run(params["owner"], "sh", "-c", COPY, "sh", code, params["source"], cwd="/")
    if status:
        fix = f"see that there is room, and that {params['owner']} may write in {params['base']}"
        raise Failure(f"release {code} could not be made: {last_line(output)}", fix=fix)
    if record.shared:
        share(params["owner"], code, "", os.path.join(params["base"], "shared"), record.shared)
    made = releases.Release(
        name, params["commit"][:12], code, moment, params["version"], params["by"], params["origin"]
    )
    record.releases.append(made)
    releases.save(record)
    cache.write(releases.kept_files(params["app"], name)["code"], json.dumps(listed(code)).encode())
    return _told(made, True)


def listed(code: str) -> dict[str, list[int]]:
    """Size and time of each Python file of a release: what a process may import, as it was made."""
    found = {}
    for path in sources(code):
        status = os.lstat(path)
        found[os.path.relpath(path, code)] = [status.st_size, status.st_mtime_ns]
    return found


def changed_by_hand(app: str, release: releases.Release, shared: list[str]) -> list[str]:
    """Those of these files that are other ones now, but for what outlives releases."""
    try:
        made = json.loads(cache.read(releases.kept_files(app, release.id)["code"]))
    except ValueError:
        return []
    now = listed(release.code)
    kept = tuple(f"{path}/" for path in shared)
    return [path for path, state in made.items() if now.get(path) != state and not f"{path}/".startswith(kept)]


def share(owner: str, code: str, before: str, shared: str, paths: list[str], do: bool = True) -> list[list[str]]:
    """What scripts/shared.py says: [paths that are no links yet, paths to be moved from the code of before]."""
    asked = json.dumps({"code": code, "before": before, "shared": shared, "paths": paths, "do": do}).encode()
    try:
        status, said, why = converse(
            ["/usr/bin/python3", "-IS", "-c", source(shared_script)], named(owner), asked, 3600
        )
        found: list[list[str]] = json.loads(said) if status == 0 else []
    except (TimeoutError, ValueError) as error:
        status, found, why = 1, [], str(error).encode()
    if status:
        raise Failure(f"{shared}: {last_line(why.decode(errors='replace'))}", fix=f"let {owner} write there")
    return found


def _told(release: releases.Release | None, changed: bool) -> dict[str, Any]:
    code, name = (release.code, release.id) if release else ("", "")
    return {"changed": changed, "id": name, "code": code, "remark": ""}

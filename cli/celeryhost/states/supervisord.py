"""supervisord on this machine: whose it is, what it runs, and a restart for a new configuration when it may be."""

from __future__ import annotations

import glob
import grp
import hashlib
import os
import pwd
import re
import subprocess
import time
from typing import Any

from ..celery import command_line
from ..errors import Failure
from ..paths import SUPERVISOR, SUPERVISOR_LOGS
from ..supervisor import locate
from ..supervisor.rpc import Fault, Supervisor

ARGUMENTS = {
    "config": {"type": "path", "required": True},
    "programs": {"type": "path", "required": True},
    "group": {"type": "str", "required": True},
    "members": {"type": "list", "elements": "str", "default": []},
    "restart": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 360},
}

MARK = "celeryhost"
STARTS = 30  # seconds supervisord may take to start
ALIVE = (10, 20, 30, 40)  # STARTING, RUNNING, BACKOFF, STOPPING


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def origin(config: str) -> str:
    """Who wrote the configuration: `absent`, the `package`, `celeryhost`, or somebody else (`foreign`)."""
    text = read(config)
    if not text:
        return "absent"
    if MARK in text.partition("\n")[0]:
        return "celeryhost"
    query = ["dpkg-query", "-W", "-f=${Conffiles}", "supervisor"]
    known = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    digest = hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return "package" if f" {config} {digest}" in known else "foreign"


def own_programs(folder: str) -> set[str]:
    """Names of the groups that celeryhost's files define."""
    texts = filter(lambda text: MARK in text[:200], map(read, glob.glob(f"{folder}/*.conf")))
    return {name for text in texts for name in re.findall(r"^\[[a-z-]+:([^\]]+)\]", text, re.MULTILINE)}


def look(params: dict[str, Any]) -> tuple[dict[str, Any], Supervisor | None]:
    """What RETURN says, and the connection (None when there is no supervisord)."""
    config, programs = params["config"], params["programs"]
    found: dict[str, Any] = {
        "origin": origin(config),
        "includes": True,
        "running": False,
        "foreign": [],
        "beats": [],
        "stale": False,
    }
    if found["origin"] == "absent":
        return found, None
    include = locate.read_section(config, "include", "files").get("files", "")
    places = [os.path.join(os.path.dirname(config), pattern) for pattern in include.split()]
    found["includes"] = any(os.path.dirname(place) == programs and place.endswith("*.conf") for place in places)
    supervisor = Supervisor(locate.find(config))
    try:
        processes = supervisor.call("getAllProcessInfo")
        configs = {(each["group"], each["name"]): each for each in supervisor.call("getAllConfigInfo")}
    except (Failure, Fault):
        return found, None
    # What a restart of supervisord would touch: it starts what a person has stopped, too.
    running = {
        each["group"]
        for each in processes
        if each["state"] in ALIVE or configs.get((each["group"], each["name"]), {}).get("autostart", True)
    }
    socket = supervisor.server.url.removeprefix("unix://")
    if os.path.exists(socket):  # made anew at each start
        found["stale"] = os.stat(config).st_mtime_ns > os.stat(socket).st_mtime_ns
    own = own_programs(programs)
    commands = {group: command_line.read(each.get("command", "")) for (group, _), each in configs.items()}
    beats = sorted(
        group for group, read in commands.items() if read and command_line.is_beat(read) and group not in own
    )
    found.update(running=True, foreign=sorted(running - own), beats=beats)
    return found, supervisor


def await_new(params: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What `look` finds once supervisord runs with the file as it is; raises Failure when that does not come."""
    end = time.monotonic() + seconds
    while True:
        found, _ = look(params)
        if found["running"] and not found["stale"]:
            return found
        if time.monotonic() > end:
            where = f"journalctl -u supervisor and {SUPERVISOR_LOGS}/supervisord.log"
            raise Failure(f"supervisord does not run with {params['config']}", fix=f"see {where}")
        time.sleep(0.2)


def outside(group: str, members: list[str]) -> tuple[list[str], list[str]]:
    """(members not in the group yet, members who do not exist)."""
    unknown = []
    for name in members:
        try:
            pwd.getpwnam(name)
        except KeyError:
            unknown.append(name)
    try:
        inside = grp.getgrnam(group).gr_mem
    except KeyError:
        inside = []
    return [name for name in members if name not in inside], unknown


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    found, supervisor = look(params)
    wanted = params["restart"] and not check
    if wanted and not found["running"]:
        found = await_new(params, STARTS)
    due = params["restart"] and found["stale"] and not found["foreign"]
    if due and wanted and supervisor:
        supervisor.call("restart")
        found = await_new(params, params["timeout"])
    user = os.environ.get("SUDO_USER", "root")
    members = [user if name == "$SUDO_USER" else name for name in params["members"]]
    outsiders, unknown = outside(params["group"], [name for name in members if name != "root"])
    complete = os.path.exists(f"{SUPERVISOR}/installed")
    grouped = params["group"] in (group.gr_name for group in grp.getgrall())
    people = {"grouped": grouped, "outsiders": outsiders, "unknown": unknown}
    return {"changed": bool(due), **found, "pip": complete, **people}

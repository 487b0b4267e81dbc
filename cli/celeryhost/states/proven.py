"""That what was brought was seen to work, noted on the host: no other state than that is as it is to be."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from .. import cache, others
from ..celery.log_lines import entry_sent
from ..errors import UNPROVEN, Failure
from ..hosts.target import Target
from ..supervisor import locate, programs
from ..supervisor.rpc import Supervisor

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "key": {"type": "str", "required": True, "no_log": False},
    "config": {"type": "path", "required": True},
    "pids": {"type": "dict", "default": {}},
    "tasks": {"type": "dict", "default": {}},
    "logs": {"type": "dict", "default": {}},
    "seconds": {"type": "int", "default": 0},
}
PAUSE = 0.5  # seconds between two looks
LOG_END = 8 << 20  # bytes of beat's log that are looked through


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """`fired`: {app: the last line by which its beat has sent a task}, once each beat of `logs` has or after so many
    `seconds`; raises Failure where a task has not come back, a program has ended meanwhile, or a beat has let an entry
    fall due without sending it.
    """
    unproven = [done["stderr"].strip() for done in params["tasks"].values() if done["rc"]]
    if unproven:
        raise Failure("\n".join(unproven), UNPROVEN)
    supervisor = Supervisor(locate.find(params["config"])) if params["pids"] else None
    until = time.monotonic() + params["seconds"]
    while True:
        alive(supervisor, params["pids"])
        fired = {app: line for app, log in params["logs"].items() if (line := last_sending(log))}
        if len(fired) == len(params["logs"]) or time.monotonic() >= until:
            break
        time.sleep(PAUSE)
    punctual(params["config"], [app for app in params["logs"] if app not in fired])
    cache.write(params["path"], params["key"].encode())
    return {"changed": False, "fired": fired}


def alive(supervisor: Supervisor | None, pids: dict[str, int]) -> None:
    """Raises Failure for a program that no longer runs as the process that it was."""
    now = {process.name: process for process in programs.processes(supervisor)} if supervisor else {}
    for name, pid in pids.items():
        process = now.get(name)
        if process and process.pid != pid:
            said = "\n".join(filter(None, [process.spawnerr, *programs.tail(process, 10, supervisor)]))
            raise Failure(f"{name}: ended soon after it was RUNNING:\n{said or 'it said nothing'}", UNPROVEN)


def punctual(config: str, names: list[str]) -> None:
    """Raises Failure for a beat of these apps that is late, as check `ticking` of doctor sees it."""
    if not names:
        return
    from ..checks import FAIL, Skip, beat
    from ..checks.host import Host

    host = Host(Target(config=config), names)
    try:
        apps = host.apps
    except Skip:
        return
    for app in apps:
        with contextlib.suppress(Skip):
            for finding in beat.ticking(host, app):
                if finding.level == FAIL:
                    raise Failure(f"{finding.subject}: {finding.symptom}; {finding.cause}", UNPROVEN, finding.fix)


def last_sending(path: str) -> str:
    """The last line about a task, of those since beat was started; "" when there is none."""
    sending = ""
    try:
        lines = others.end(path, LOG_END).decode(errors="replace").split("\n")
    except OSError:  # not there yet, or no log
        lines = []
    for line in lines:
        if "beat: Starting" in line:
            sending = ""
        elif entry_sent(line):
            sending = line
    return sending


def noted(path: str) -> str:
    """The key of what was seen to work; empty where that was not, or something was done since."""
    return cache.read(path).decode(errors="replace")


def forget(path: str) -> None:
    """Before something is done."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)

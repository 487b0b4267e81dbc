"""Debian packages, installed or removed in one transaction, after all that apt and dpkg are still at.

Ansible's module for apt would install python3-apt first and read all lists twice, as long again as the packages take.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from ..account import last_line
from ..errors import Failure
from . import running_service
from .machine_facts import installed, interrupted

ARGUMENTS = {
    "names": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "purged"], "default": "present"},
    "quiet": {"type": "list", "elements": "str", "default": []},
}

# One provisioning after another, and what one has begun in the background before what it does next.
LOCK = "/run/celeryhost/apt.lock"
LOCK_SECONDS = 1800
# apt waits for one of its three locks by itself, and not for these.
APTS_LOCKS = ("/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock")
APTS_LOCK_SECONDS = 900
LISTS = "/var/lib/apt/lists"
LISTS_SECONDS = 3600  # that they are fresh
ATTEMPTS, PAUSE = 3, 10  # seconds; a mirror or the network may be away for a moment
KEEP = ("--force-confdef", "--force-confold")  # of a configuration file that was changed, as it is
APT = [
    *("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=900"),
    *(word for option in KEEP for word in ("-o", f"Dpkg::Options::={option}")),
]
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    # Else Ubuntu's needrestart would restart Supervisor and Redis behind our back; the next apt makes up for it
    # (https://discourse.ubuntu.com/t/needrestart-changes-in-ubuntu-24-04-service-restarts/44671).
    "NEEDRESTART_SUSPEND": "1",
}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """`missing`: those of `names` that are to come, or are there and are to go."""
    names, present = params["names"], params["state"] == "present"
    missing = _missing(names, present)
    halfway = bool(missing or present) and os.path.isdir("/var/lib/dpkg/updates") and interrupted()
    result = {"changed": bool(missing) or halfway, "missing": missing, "diff": _diff(missing, present)}
    if check or not result["changed"]:
        return result
    before = installed()
    with _turn(names, present) as ours:
        if ours:
            if interrupted():
                _run(["dpkg", *KEEP, "--configure", "-a"])
                _run([*APT, "--fix-broken", "install"])
            if missing := _missing(names, present):
                verb = {"present": "install", "absent": "remove", "purged": "purge"}[params["state"]]
                _attempt(present, [*APT, verb, *(["--no-install-recommends"] if present else []), *missing])
    for name in set(params["quiet"]) & set(names) - set(before):
        running_service.stop(name)
    return result


def _missing(names: list[str], present: bool) -> list[str]:
    there = set(installed())
    return [name for name in names if (name not in there) == present]


def _diff(missing: list[str], present: bool) -> dict[str, Any]:
    text = "".join(f"package {name}\n" for name in missing)
    return {"before": "" if present else text, "after": text if present else ""} if missing else {}


@contextlib.contextmanager
def _turn(names: list[str], present: bool) -> Iterator[bool]:
    """Whether apt is ours now; not, once another has done what is to be done."""
    os.makedirs(os.path.dirname(LOCK), 0o700, exist_ok=True)
    until = time.monotonic() + LOCK_SECONDS
    with open(LOCK, "a", encoding="ascii") as lock:
        while not _taken(fcntl.flock, lock):
            if not _missing(names, present):
                yield False
                return
            if time.monotonic() > until:
                raise Failure(
                    "apt of another provisioning has been at work for half an hour: see ps ax, then run again"
                )
            time.sleep(0.3)
        _await_apt()
        yield True


def _await_apt() -> None:
    until = time.monotonic() + APTS_LOCK_SECONDS
    for path in APTS_LOCKS:
        with contextlib.suppress(OSError), open(path, "a", encoding="ascii") as lock:
            while not _taken(fcntl.lockf, lock) and time.monotonic() < until:
                time.sleep(0.5)


def _taken(locking: Any, file: Any) -> bool:
    try:
        locking(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _attempt(fetches: bool, command: list[str]) -> None:
    for left in reversed(range(ATTEMPTS)):
        try:
            if fetches and _old_lists():
                _run(["apt-get", "-q", "update"])
            return _run(command)
        except Failure:
            if not left or not fetches:
                raise
            time.sleep(PAUSE)
    return None


def _old_lists() -> bool:
    """A fresh image has no lists, though the date of their folder says otherwise."""
    return not glob.glob(f"{LISTS}/*_Packages*") or os.stat(LISTS).st_mtime < time.time() - LISTS_SECONDS


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        failure = Failure(f"{command[0]}: {last_line(done.stderr or done.stdout)}")
        failure.result = {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        raise failure

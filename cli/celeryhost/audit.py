"""Who did what on this host: a line as a command begins and one as it ends, in a file that only root can write.

What a member of group `supervisor` does without root goes into a file of their own, in a folder where each may make
files and nobody may touch another's: so the kernel says whose it is, whatever is in it. Its owner may change it.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pwd
import re
import stat
import time
from collections.abc import Iterable, Iterator
from typing import Any

from . import others
from .errors import DENIED, FAILED, INTERRUPTED, OK, TIMEOUT, UNKNOWN, Failure
from .masking import hide_passwords
from .scripts import hold

MEMBERS = ".members"  # the folder beside the log; no app has such a name
MOST = 8 << 20  # bytes that are read of a file, its end
MEMBERS_MOST = 1 << 20  # bytes of a member's own before it is begun anew
REFUSED = (DENIED, UNKNOWN)
FIELDS = ("time", "user", "account", "address", "command", "arguments", "outcome", "seconds", "exit_code", "changed")
_OWN = re.compile(r"(\d+)\.log")


class Entry:
    """What is under way. `exit_code` and `outcome` are to be set where it ends without an exception."""

    exit_code = OK
    outcome = ""
    changed: bool | None = None


@contextlib.contextmanager
def entry(command: str, arguments: Iterable[str] = (), user: str = "") -> Iterator[Entry]:
    """Note what happens within. `user`: who it is for, where that is another than who runs this, in their own words.

    Where nothing was provisioned, nothing is noted; a full disk stops nobody.
    """
    found, path = Entry(), _path()
    if path is None:
        yield found
        return
    told = hold.begun({"command": command, "arguments": list(map(hide_passwords, arguments))})
    told |= {"user": user} if user else {}
    _append(path, told)
    code, outcome = FAILED, "failed"
    try:
        yield found
        code = found.exit_code
        outcome = found.outcome or ("ok" if code == OK else "failed")
    except KeyboardInterrupt:
        code, outcome = INTERRUPTED, "interrupted"
        raise
    except Failure as failure:
        code, outcome = failure.code, _outcome(failure, command)
        raise
    finally:
        changed = {} if found.changed is None else {"changed": found.changed}
        _append(path, hold.ended(told, {"outcome": outcome, "exit_code": code} | changed))


def _outcome(failure: Failure, command: str) -> str:
    if failure.code == INTERRUPTED:
        return "interrupted"
    locked = failure.code == TIMEOUT and command in ("lock", "unlock", "deploy", "rollback")
    return "refused" if failure.code in REFUSED or locked else "failed"


def _path() -> str | None:
    folder = os.path.dirname(hold.LOG)
    if os.geteuid() == 0:
        return hold.LOG if os.path.isdir(folder) else None
    own = os.path.join(folder, MEMBERS)
    return os.path.join(own, f"{os.getuid()}.log") if os.access(own, os.W_OK | os.X_OK) else None


def _append(path: str, told: dict[str, Any]) -> None:
    if path != hold.LOG:
        with contextlib.suppress(OSError):
            if os.lstat(path).st_size > MEMBERS_MOST:
                os.replace(path, f"{path}.1")
    hold.record(told, path)


def read(since: float | None = None, until: float | None = None, count: int | None = None) -> list[dict[str, Any]]:
    """The last `count` entries, oldest first: FIELDS, `witness` (`root`, or `self` for what its own account notes).

    Raises Failure (DENIED).
    """
    paths = sorted(glob.glob(f"{hold.LOG}*"))
    if not paths and not os.access(os.path.dirname(hold.LOG), os.X_OK) and os.path.exists(os.path.dirname(hold.LOG)):
        raise Failure(f"{hold.LOG}: permission denied", DENIED, "join group supervisor and log in again, or use sudo")
    lines: list[dict[str, Any]] = []
    for path in paths:
        lines += _objects(path)
    found = _merged(lines, "root")
    for path in sorted(glob.glob(os.path.join(os.path.dirname(hold.LOG), MEMBERS, "*.log"))):
        found += _of_member(path)
    wanted = [
        one for one in found if (since is None or one["time"] >= since) and (until is None or one["time"] <= until)
    ]
    wanted.sort(key=lambda one: float(one["time"]))
    return wanted if count is None else wanted[len(wanted) - min(count, len(wanted)) :]


def _objects(path: str) -> list[dict[str, Any]]:
    """The lines of a file of root's."""
    try:
        if path.endswith(".gz"):
            import gzip

            with gzip.open(path) as file:
                return _parsed(file.read(MOST))
        return _parsed(others.end(path, MOST))
    except PermissionError:
        fix = "join group supervisor and log in again, or use sudo"
        raise Failure(f"{path}: permission denied", DENIED, fix) from None
    except (OSError, EOFError):
        return []


def _parsed(text: bytes) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict) and isinstance(value.get("time"), (int, float)):
                clock(value["time"])
                found.append(value)
    return found


def _of_member(path: str) -> list[dict[str, Any]]:
    """What an account has noted of itself: whose file it is says the kernel."""
    named = _OWN.fullmatch(os.path.basename(path))
    if not named:
        return []
    owner, lines = int(named[1]), []
    for each in (f"{path}.1", path):
        with contextlib.suppress(OSError):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            with open(os.open(each, flags), "rb") as file:
                state = os.fstat(file.fileno())
                if stat.S_ISREG(state.st_mode) and state.st_uid == owner:
                    lines += _parsed(file.read(2 * MEMBERS_MOST))
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return [one | {"account": name, "user": None} for one in _merged(lines, "self")]


def _merged(lines: list[dict[str, Any]], witness: str) -> list[dict[str, Any]]:
    """Of each two lines with one id an entry; what has no end is under way, or was interrupted."""
    ends = {str(line.get("id")): line for line in lines if line.get("event") == "end"}
    found = []
    for line in lines:
        if line.get("event") != "begin":
            continue
        end = ends.get(str(line.get("id")))
        if end is None:
            end = {"outcome": "running"} if hold.lives(line.get("process")) else {"outcome": "interrupted"}
        whole = line | {key: end.get(key) for key in ("outcome", "seconds", "exit_code", "changed")}
        found.append({key: whole.get(key) for key in FIELDS} | {"witness": witness})
    return found


def clock(moment: float) -> str:
    """A moment as a person has it; raises ValueError for none."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    except (OverflowError, OSError):
        raise ValueError(f"{moment} is no time") from None

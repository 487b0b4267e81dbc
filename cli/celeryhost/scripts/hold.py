"""The lock of a host: one run that changes it at a time. Sent to any host as text, so that a bare one has it too.

The kernel holds it, by flock on a file in a folder of root's, as long as the process lives that has it; so nobody can
leave it behind. That process is `main`, which a provisioning starts on the host through a connection of its own. It
lets go as soon as that connection is at its end, or has been silent for SILENCE: a machine that has lost its network
or its power says no goodbye, and sshd would wait for it for hours.

Beside it a person may lock the host by hand, by a file that says until when. What a run does is noted in LOG, a line as
it begins and one as it ends; audit.py reads it.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOCK = "/run/celeryhost/run.lock"
BY_HAND = "/etc/celeryhost/lock"
LOG = "/var/log/celeryhost/audit.log"
SILENCE = 20.0  # seconds; the other side says something every fifth of it
LOOK = 0.5  # seconds between two looks of one that waits
LONGEST = 1 << 16  # bytes of a line, and of what is noted


class Ended(Exception):
    """The other side has closed the connection."""


def opened() -> int:
    """A descriptor of the lock's file, made where it is missing; raises OSError, also for one that others may open."""
    folder = os.path.dirname(LOCK)
    os.makedirs(folder, 0o700, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(1, "is not root's alone", folder)
    return os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def attempt(handle: int, entry: dict[str, Any]) -> dict[str, Any] | None:
    """None when the lock is ours from now on; else who has it: the entry of theirs, `until` in it if by hand."""
    other = look(handle, keep=True)
    if other is None:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(entry).encode(), 0)
    return other


def look(handle: int, keep: bool = False) -> dict[str, Any] | None:
    """Who has the lock; None when nobody has, and then it is ours, if we want to `keep` it."""
    for _ in range(20):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _noted(handle)
            if other:
                return other
            time.sleep(0.05)  # who has it will say so at once, or only looks, too
        else:
            standing = by_hand()
            if standing or not keep:
                fcntl.flock(handle, fcntl.LOCK_UN)
            return standing
    return {}


def let_go(handle: int) -> None:
    """Forget who held it, and let the next one have it."""
    os.ftruncate(handle, 0)
    os.close(handle)


def by_hand() -> dict[str, Any] | None:
    """What a person has said who locked the host and whose time is not over."""
    try:
        with open(os.open(BY_HAND, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = json.loads(file.read(LONGEST))
        return found if found["until"] > time.time() else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _noted(handle: int) -> dict[str, Any]:
    """What the one who has it has noted; nothing where that is of one who was killed."""
    try:
        found = json.loads(os.pread(handle, LONGEST, 0))
        return found if lives(found["process"]) else {}
    except (ValueError, LookupError, TypeError):
        return {}


def begun(entry: dict[str, Any]) -> dict[str, Any]:
    """The line that says that something begins: who is at it, from where, and with which process."""
    head = {"event": "begin", "id": os.urandom(8).hex(), "time": time.time(), "process": _process(os.getpid())}
    return {**head, "account": account(), "address": origin(), **entry}


def ended(begin: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """The line that says how it ended. What it was is in it, too, for those who have not seen it begin."""
    now = time.time()
    known = {"command": begin.get("command"), "user": begin.get("user") or begin.get("account")}
    took = round(max(0.0, now - begin["time"]), 2)
    return {"event": "end", "id": begin["id"], "time": now, "seconds": took, **known, **how}


def record(told: dict[str, Any], path: str = "") -> None:
    """Add a line; a disk that is full holds nobody up."""
    path = path or LOG
    try:
        os.makedirs(os.path.dirname(path), 0o750, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640)
        try:
            os.write(handle, json.dumps(told).encode() + b"\n")
        finally:
            os.close(handle)
    except OSError:
        pass


def lives(process: Any) -> bool:
    """Whether the process of a line is still there."""
    words = str(process).split()
    return len(words) == 3 and words[0].isdecimal() and _process(int(words[0])) == process


def _process(pid: int) -> str:
    """What no other process has in common with that one, since the machine was made."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            start = file.read().rpartition(b")")[2].split()[19].decode()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{pid} {start} {file.read().strip()}"
    except (OSError, LookupError):
        return ""


def origin() -> str:
    """The address that this process, or one that has started it, was reached from by ssh; "" where it was not."""
    pid = "self"
    for _ in range(30):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                words = [word for word in file.read().split(b"\0") if word.startswith(b"SSH_CONNECTION=")]
            if words:
                address = words[0].partition(b"=")[2].split()[0].decode("ascii")
                return address if address.strip("0123456789abcdefABCDEF.:%") == "" else ""
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = file.read().rpartition(b")")[2].split()[1].decode()
        except (OSError, LookupError, ValueError):
            return ""
    return ""


def account() -> str:
    """The account that a person has logged in with: sudo's word where root runs this, else whose process it is."""
    import pwd

    number = os.getuid()
    if number == 0:
        if os.environ.get("SUDO_USER"):
            return os.environ["SUDO_USER"]
        try:
            with open("/proc/self/loginuid", encoding="ascii") as file:
                told = int(file.read())
            number = told if told != 0xFFFFFFFF else 0
        except (OSError, ValueError):
            pass
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


class Lines:
    """Lines that come through a descriptor."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.rest = b""

    def next(self, seconds: float) -> str | None:
        """The next one, None when none is whole within so many seconds. Raises Ended."""
        until = time.monotonic() + seconds
        while b"\n" not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.handle], [], [], left)[0]:
                return None
            data = os.read(self.handle, 4096)
            if not data or len(self.rest) > LONGEST:
                raise Ended
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode(errors="replace")


def say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def main() -> None:
    """Hold the lock for whoever is at the other end of stdin and stdout.

    First comes a line with `entry`, what the others are told, and `wait`; then an empty one every now and then, which
    is answered, and at the end one that says how it went.
    """
    lines = Lines(0)
    try:
        asked = json.loads(lines.next(SILENCE) or "{}")
        entry = begun(asked["entry"])
        handle = opened()
        if _taken(handle, entry, lines, asked["wait"]):
            record(entry)
            say(held=True)
            record(ended(entry, _hold(lines)))
            let_go(handle)
    except (Ended, BrokenPipeError):
        pass


def _taken(handle: int, entry: dict[str, Any], lines: Lines, wait: bool) -> bool:
    told, heard = None, time.monotonic()
    while (other := attempt(handle, entry)) is not None:
        if not wait:
            for line in (entry, ended(entry, {"outcome": "refused", "exit_code": 9, "changed": False})):
                record(line)
            say(refused=other)
            return False
        if other != told:
            say(waiting=other)
            told = other
        if lines.next(LOOK) is not None:
            heard = time.monotonic()
            say()
        if time.monotonic() - heard > SILENCE:
            return False
        entry["time"] = time.time()
    return True


def _hold(lines: Lines) -> dict[str, Any]:
    """Until the other side says the end: how it went; when it is gone, that it was cut off."""
    try:
        while (line := lines.next(SILENCE)) is not None:
            if line:
                told = json.loads(line)
                if isinstance(told, dict):
                    return told
            say()
    except (Ended, BrokenPipeError, ValueError):
        pass
    return {"outcome": "interrupted", "exit_code": 130}


if __name__ == "__main__":
    main()

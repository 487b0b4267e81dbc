"""The lock of this host, and what is said of one that another run, or a person, has (scripts/hold.py)."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from .errors import DENIED, TIMEOUT, Failure
from .plain import plain
from .scripts import hold

ROOT_ONLY = "only root may lock a host; use sudo"


def person() -> str:
    """Who works on this machine, and its name: `min@laptop`."""
    try:
        name = hold.account() or getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def described(host: str, holder: dict[str, Any], now: float | None = None) -> str:
    """As `holds`, with what to do about it."""
    by_hand = "wait with --wait, or have it unlocked: celeryhost unlock"
    return f"{holds(host, holder, now)}; {by_hand if 'until' in holder else 'wait for it with --wait'}"


def holds(host: str, holder: dict[str, Any], now: float | None = None) -> str:
    """One line on who has the lock of a host, from where, for what and since when."""
    who = str(holder.get("user") or holder.get("account") or "somebody")
    address = str(holder.get("address") or "")
    who += f" from {address}" if address else ""
    since = holder.get("time")
    when = f" since {_clock(since, now)}" if isinstance(since, (int, float)) else ""
    until = holder.get("until")
    if isinstance(until, (int, float)):
        reason = f": {holder['reason']}" if holder.get("reason") else ""
        return plain(f"{host} is locked by {who}{when} until {_clock(until, now)}{reason}")
    return plain(f"{host} is held by {holder.get('command') or 'a change'} of {who}{when}")


def _clock(moment: float, now: float | None = None) -> str:
    """A moment as a person has it: the time of day, and the day where it is not this one."""
    try:
        there, here = time.localtime(moment), time.localtime(time.time() if now is None else now)
    except (OverflowError, ValueError, OSError):  # from a host that says anything
        return "?"
    return time.strftime("%H:%M:%S" if there[:3] == here[:3] else "%Y-%m-%d %H:%M:%S", there)


@contextlib.contextmanager
def held(
    command: str, wait: bool = False, tell: Callable[[str], object] = lambda text: None, user: str = ""
) -> Iterator[None]:
    """Have the lock of this host within. `user`: who it is for, where that is another than who runs this.

    Raises Failure: TIMEOUT when somebody else has it (not if `wait`: then `tell` is told once), DENIED.
    """
    handle = _taken(_entry(command, user), wait, tell)
    try:
        yield
    finally:
        hold.let_go(handle)


def lock(reason: str, seconds: float, wait: bool, tell: Callable[[str], object], user: str = "") -> dict[str, Any]:
    """Lock this host by hand for so many seconds; returns what others are told. Raises Failure as `held` does."""
    entry = _entry("lock", user) | {"reason": reason}
    handle = _taken(entry, wait, tell)
    try:
        entry = entry | {"time": time.time(), "until": time.time() + seconds}
        _write(hold.BY_HAND, json.dumps(entry))
    except OSError as error:
        raise Failure(f"{hold.BY_HAND}: {error.strerror}", DENIED, ROOT_ONLY) from None
    finally:
        hold.let_go(handle)
    return entry


def unlock() -> dict[str, Any] | None:
    """Take away what a person has locked this host with; returns that. Raises Failure: TIMEOUT where a run has it."""
    handle = _opened()
    try:
        found = hold.by_hand()
        if found is None:
            other = hold.look(handle)
            if other is not None:
                raise Failure(described(socket.gethostname(), other), TIMEOUT)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(hold.BY_HAND)
    except OSError as error:
        raise Failure(f"{hold.BY_HAND}: {error.strerror}", DENIED, ROOT_ONLY) from None
    finally:
        os.close(handle)
    return found


def state() -> dict[str, Any] | None:
    """Who has the lock of this host now. Raises Failure (DENIED)."""
    handle = _opened()
    try:
        return hold.look(handle)
    finally:
        os.close(handle)


def _entry(command: str, user: str) -> dict[str, Any]:
    return hold.begun({"command": command} | ({"user": user} if user else {}))


def _taken(entry: dict[str, Any], wait: bool, tell: Callable[[str], object]) -> int:
    handle = _opened()
    told = None
    try:
        while (other := hold.attempt(handle, entry)) is not None:
            if not wait:
                raise Failure(described(socket.gethostname(), other), TIMEOUT)
            if other != told:
                tell(holds(socket.gethostname(), other))
                told = other
            time.sleep(hold.LOOK)
            entry["time"] = time.time()
    except BaseException:
        os.close(handle)
        raise
    return handle


def _opened() -> int:
    try:
        return hold.opened()
    except OSError as error:
        raise Failure(f"{error.filename or hold.LOCK}: {error.strerror}", DENIED, ROOT_ONLY) from None


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(new, path)

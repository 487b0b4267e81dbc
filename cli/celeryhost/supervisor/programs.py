"""The programs of a supervisord, and what a person may call them."""

from __future__ import annotations

import os
from collections import namedtuple

from ..errors import UNKNOWN, Failure, near
from ..plain import plain

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .rpc import Supervisor


# http://supervisord.org/subprocess.html#process-states
ALIVE = ("STARTING", "RUNNING", "BACKOFF")  # what can be stopped
DEAD = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")  # what can be started

Process = namedtuple(
    "Process",
    "name group process state pid start stop now spawnerr exitstatus stdout_logfile stderr_logfile description",
)
Process.__doc__ = """One process as getProcessInfo describes it: `name` as Supervisor shows it (`group:process`, or one
word when both are equal), `state` as a word, times in seconds since the epoch (0: never), `pid` 0 without one."""


def processes(supervisor: Supervisor) -> list[Process]:
    """Every process, sorted by name; raises Failure (DOWN, DENIED)."""
    return [from_info(info) for info in supervisor.call("getAllProcessInfo")]


def full_name(group: str, process: str) -> str:
    """A process's name as Supervisor shows it."""
    return process if group == process else f"{group}:{process}"


def from_info(info: dict[str, Any]) -> Process:
    """The Process that a struct of getProcessInfo stands for."""
    group, process = info["group"], info["name"]
    return Process(
        full_name(group, process),
        group,
        process,
        info["statename"],
        info["pid"],
        info["start"],
        info["stop"],
        info["now"],
        info["spawnerr"],
        info["exitstatus"],
        info["stdout_logfile"],
        info["stderr_logfile"],
        info["description"],
    )


def select(patterns: Sequence[str], known: list[Process]) -> list[Process]:
    """The processes that `patterns` name, in their order, each once; all of them when there is no pattern.

    A pattern is a program or group, `group:process`, `group:*`, an app (all programs of `mysite`), a glob, or `all`.
    What is some program's very name means that program alone. Raises Failure (UNKNOWN) with the near matches.
    """
    chosen: dict[str, Process] = {}
    for pattern in patterns or ("all",):
        found = _named(pattern, known)
        if not found and (patterns or known):
            words = {word for process in known for word in (process.name, process.group)} | apps(known)
            fix = near(pattern, words) or "see celeryhost status"
            raise Failure(f"no program, group or app {pattern!r} here", UNKNOWN, fix)
        chosen.update((process.name, process) for process in found)
    return list(chosen.values())


def is_sweeping(pattern: str) -> bool:
    """Whether a pattern could take in more than the person who wrote it has in mind."""
    return pattern == "all" or any(character in pattern for character in "*?[")


def _named(pattern: str, known: list[Process]) -> list[Process]:
    group, _, process = pattern.partition(":")
    every = ("*", "") if ":" in pattern else ("*",)  # supervisorctl's own `GROUP:`
    exact = [p for p in known if pattern in (p.name, p.group) or (p.group == group and process in (p.process, *every))]
    if exact:
        return exact
    if pattern == "all":
        return known
    names = apps(known)
    if pattern in names:
        return [p for p in known if _owner(p.group, names) == pattern]
    if is_sweeping(pattern):
        from fnmatch import fnmatchcase

        return [p for p in known if fnmatchcase(p.name, pattern) or fnmatchcase(p.group, pattern)]
    return [p for p in known if p.group.startswith(f"{pattern}-")]


def apps(known: list[Process]) -> set[str]:
    """The apps that the program names speak of: `mysite` where there is a `mysite-worker` or `mysite-beat`."""
    groups = {process.group for process in known}
    stems = {group[: -len(end)] for group in groups for end in ("-worker", "-beat") if group.endswith(end)}
    return stems - groups


def _owner(group: str, names: set[str]) -> str:
    """The longest app name that `group` begins with: `mysite-two-worker` is not a program of `mysite`."""
    return max((name for name in names if group.startswith(f"{name}-")), key=len, default="")


def is_stream(path: str) -> bool:
    """Whether a log's path leads to something that each process has its own of, such as its stdout (/dev/stdout,
    /proc/self/fd/1, a link to them): opened here it would be the reader's own output."""
    for _ in range(40):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        if f"{folder}/".startswith(("/proc/", "/dev/")) and not f"{folder}/".startswith("/dev/shm/"):
            return True
        path = os.path.join(folder, name)
        if not os.path.islink(path):
            return False
        path = os.path.join(folder, os.readlink(path))
    return True


def is_own_output(state: os.stat_result) -> bool:
    """Whether a file is where this process writes to: what it reads from there would be its own words."""
    for stream in (1, 2):
        try:
            own = os.fstat(stream)
        except OSError:
            continue
        if (own.st_dev, own.st_ino) == (state.st_dev, state.st_ino):
            return True
    return False


def tail(process: Process, lines: int, supervisor: Supervisor | None = None) -> list[str]:
    """The last `lines` lines of the log that `process` wrote to last, without blank lines and control characters.

    Read from the file; through `supervisor`, when given, if this user may not. Empty when nothing is there.
    """
    written = []
    streams = {stream: getattr(process, f"{stream}_logfile") for stream in ("stdout", "stderr")}
    for stream, path in (streams | {"celery": _celery_log(process, supervisor)}).items():
        if path:
            try:
                state = os.stat(path)
            except OSError:
                continue
            if state.st_size and not is_stream(path) and not is_own_output(state):
                written.append((state.st_mtime, stream, path))
    if not written:
        return []
    _, stream, path = max(written)
    data = _file_end(path, lines * 200) or _remote_end(supervisor, process, stream, lines * 200)
    return [line for line in (plain(line).strip() for line in data.splitlines()) if line][-lines:]


def _celery_log(process: Process, supervisor: Supervisor | None) -> str | None:
    """The file that the process logs to itself, if it is Celery's and supervisord can be asked."""
    from ..celery.command_line import own_log
    from .rpc import Fault

    try:
        infos = supervisor.call("getAllConfigInfo") if supervisor else []
    except (Fault, Failure):
        return None
    place = process.group, process.process
    return next((own_log(str(each.get("command"))) for each in infos if (each["group"], each["name"]) == place), None)


def _file_end(path: str, size: int) -> str:
    from .. import others

    try:
        return others.end(path, size).decode(errors="replace")
    except OSError:
        return ""


def _remote_end(supervisor: Supervisor | None, process: Process, stream: str, size: int) -> str:
    from .rpc import Fault

    try:
        streams = ("stdout", "stderr")
        return (
            supervisor.call(f"readProcess{stream.title()}Log", process.name, -size, 0)
            if supervisor and stream in streams
            else ""
        )
    except (Fault, Failure):
        return ""

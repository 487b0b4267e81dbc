"""What runs: the programs of one supervisord with what they use, and whether the configuration on disk is newer."""

from __future__ import annotations

import os
from collections import namedtuple

from ..errors import USAGE, Failure
from ..proc import code_moments, is_older, since_boot, usage
from .locate import read_section
from .programs import Process, from_info, is_stream, select, tail
from .rpc import CANT_REREAD, Fault

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ..proc import Usage
    from .rpc import Supervisor


LOG_END = 1 << 18  # bytes of supervisord's log that are looked through for restarts

Row = namedtuple(
    "Row",
    "name group process state pid started stopped uptime cpu memory measure restarts exitstatus error last_line "
    "stdout_logfile stderr_logfile outdated",
)
Row.__doc__ = """One program; docs/json.md describes the fields. None is what is not known or does not apply."""

Report = namedtuple("Report", "url version pid rows changes used")
Report.__doc__ = """One look at a supervisord: its address, version and pid, Rows, `changes` (see `changes`), and `used`
for the next look."""


def look(
    supervisor: Supervisor, names: Sequence[str] = (), before: Report | None = None, compare: bool = True
) -> Report:
    """The programs that `names` mean (programs.select), in the order of their names.

    CPU is the mean over the life of each tree, or since `before`, an earlier Report. Not to `compare` with the
    configuration on disk leaves out `changes`. Raises Failure (UNKNOWN, DOWN, …).
    """
    infos, pid, version = supervisor.multicall([("getAllProcessInfo",), ("getPID",), ("getSupervisorVersion",)])
    known = [from_info(info) for info in infos]
    chosen = select(names, known)
    used = usage([process.pid for process in chosen if process.pid], parent=pid)
    restarts = _restarts(supervisor.server.config, known, pid)
    moments = code_moments()
    rows = [_row(supervisor, process, used, before.used if before else {}, restarts, moments) for process in chosen]
    newer = changes(supervisor, known) if compare else None
    return Report(supervisor.server.url, version, pid, rows, newer, used)


def _row(
    supervisor: Supervisor,
    process: Process,
    used: dict[int, Usage],
    before: dict[int, Usage],
    restarts: dict[str, int],
    moments: dict[str, float],
) -> Row:
    here = used.get(process.pid)
    there = before.get(process.pid)
    cpu = None
    if here:
        seconds, age = (here.seconds - there.seconds, here.age - there.age) if there else here[:2]
        cpu = round(100 * seconds / age, 1) if age > 0 else 0.0
    failed = process.state in ("FATAL", "BACKOFF") or (process.state == "EXITED" and bool(process.spawnerr))
    last = tail(process, 1, supervisor) if failed else []
    if last:
        from ..masking import hide_passwords

        last = [hide_passwords(last[0])]
    return Row(
        name=process.name,
        group=process.group,
        process=process.process,
        state=process.state,
        pid=process.pid or None,
        started=process.start or None,
        stopped=process.stop or None,
        uptime=max(0, process.now - process.start) if process.pid else None,
        cpu=cpu,
        memory=here.memory if here else None,
        measure=here.measure if here else None,
        restarts=restarts.get(process.name),
        exitstatus=process.exitstatus if process.state == "EXITED" else None,
        error=process.spawnerr or None if failed else None,
        last_line=last[0] if last else None,
        stdout_logfile=process.stdout_logfile or None,
        stderr_logfile=process.stderr_logfile or None,
        outdated=is_older(process.group, since_boot() - here.age, moments) if here else None,
    )


def _restarts(config: str | None, known: list[Process], pid: int) -> dict[str, int]:
    """How often each program was started again since supervisord began, as its log says.

    Empty where the log is not readable or its last LOG_END bytes do not reach back that far. The log gives no groups,
    so of two processes with one name in two groups nothing is known.
    """
    _, found, text = journal(config).rpartition(b"supervisord started with pid %d\n" % pid)
    if not found:
        return {}
    starts: dict[bytes, int] = {}
    for line in text.split(b"spawned: '")[1:]:
        name = line.partition(b"' with pid ")[0]
        starts[name] = starts.get(name, 0) + 1
    names = [process.process for process in known]
    return {
        process.name: max(0, starts.get(os.fsencode(process.process), 0) - 1)
        for process in known
        if names.count(process.process) == 1
    }


def journal(config: str | None) -> bytes:
    """The last LOG_END bytes of supervisord's log; nothing where that is not readable."""
    try:
        path = read_section(config, "supervisord", "logfile").get("logfile") if config else None
        if path and is_stream(path):
            return b""
        with open(path or "", "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_END))
            return log.read()
    except (OSError, Failure):
        return b""


def changes(supervisor: Supervisor, known: list[Process]) -> dict[str, Any] | None:
    """What a configuration newer than all that runs would change: lists of groups by `added`, `changed`, `removed`, or
    `error`, why supervisord cannot read it. None when nothing would, or the files are not here.

    Looks at the files' times first, to a second, and asks supervisord (`reloadConfig`, http://supervisord.org/api.html)
    only then.
    """
    config = supervisor.server.config
    newest = max((process.start for process in known), default=0)
    if not config or not any(_changed(path) > newest for path in _files(config)):
        return None
    return pending(supervisor)


def pending(supervisor: Supervisor) -> dict[str, Any] | None:
    """`changes`, whatever the files' times say."""
    try:
        added, changed, removed = reread(supervisor, supervisor.server.config)
    except Failure as failure:
        if failure.code != USAGE:
            raise
        return {"error": str(failure)}
    found = {"added": added, "changed": changed, "removed": removed}
    return found if any(found.values()) else None


def reread(supervisor: Supervisor, config: str | None) -> list[list[str]]:
    """The groups that supervisord finds added, changed and removed in its files, which it reads anew.

    Raises Failure: USAGE where it cannot, without the values that its own words hold.
    """
    try:
        ((added, changed, removed),) = supervisor.call("reloadConfig")
    except Fault as fault:
        if fault.code != CANT_REREAD:
            raise
        from .conffile import refused

        raise refused(fault.text, config) from None
    return [added, changed, removed]


def _files(config: str) -> Iterator[str]:
    """The configuration file, the files it includes, and their folders, which tell of a deleted one."""
    yield config
    folder = os.path.dirname(config)
    try:
        patterns = read_section(config, "include", "files").get("files", "").split()
    except Failure:
        return
    for pattern in patterns:
        place, name = os.path.split(os.path.join(folder, pattern))
        if "*" not in place and "?" not in pattern and "[" not in pattern and name.count("*") <= 1:
            yield place
            start, _, end = name.partition("*")
            yield from (
                f"{place}/{entry}" for entry in _entries(place) if entry.startswith(start) and entry.endswith(end)
            )
        else:
            from glob import glob

            yield from glob(os.path.join(folder, pattern))


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _changed(path: str) -> int:
    try:
        return int(os.stat(path).st_mtime)
    except OSError:
        return 0

"""The logs of programs: which files they are, their lines merged by time, and following them.

Files are read rather than asked for over RPC: supervisord's tail loses lines when a log rotates, sends old ones again
(Supervisor issue 583) and fails on an escape character (issue 85).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from time import sleep
from typing import NamedTuple

from .. import others
from ..celery.command_line import own_log
from ..errors import DENIED, DOWN, FAILED, USAGE, Failure
from ..paths import redis_here
from ..supervisor import locate
from ..supervisor.programs import Process, is_own_output, is_stream, processes, select
from ..supervisor.rpc import Fault, Supervisor
from .file import Dated, LogFile

BUSY = 0.02  # seconds between two looks while lines come
IDLE = 0.25
BATCH = 1000  # lines

NO_LOG = (None, "", "NONE", "syslog", "/dev/null")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Log(NamedTuple):
    """A log file: `stream` is stdout (which stderr may be part of) or stderr."""

    program: str
    stream: str
    path: str


class Line(NamedTuple):
    """A line. `time`, in seconds since the epoch, is its own, or that of the line before it that has one, or
    else of the file's last change; in `text`, bytes that are no UTF-8 are replaced."""

    time: float
    program: str
    stream: str
    text: str


Opened = tuple[Log, LogFile]


def find(
    patterns: Sequence[str],
    config: str | None = None,
    url: str | None = None,
    user: str | None = None,
    only_stderr: bool = False,
) -> tuple[list[Log], list[Failure]]:
    """The logs of the programs that `patterns` mean, and a Failure for each that is not there or not for this user.

    `supervisord` and `redis` are names too. A log that is not there yet is among both. The rest is as for locate.find;
    where supervisord does not answer, its configuration tells the files. Raises Failure: UNKNOWN for a name, DOWN,
    DENIED, USAGE for a server on another machine.
    """
    writers: dict[str, tuple[str, list[str]]] = {}
    failures = []
    for program, paths in _named(patterns, config, url, user):
        kept = {path: stream for stream, path in paths if path not in NO_LOG}
        there = any(os.path.exists(path) for path in kept)
        wanted = {path: stream for path, stream in kept.items() if stream == "stderr" or not only_stderr}
        if kept and not wanted:
            failures.append(Failure(f"{program} has no log of its own for stderr", FAILED, "leave out --err"))
        elif not wanted:
            failures.append(
                Failure(f"{program} keeps no log (NONE, syslog or /dev/null)", FAILED, "set stdout_logfile to a file")
            )
        for path, stream in wanted.items():
            if len(paths) < 3 or not there or os.path.lexists(path):  # of Celery's own and Supervisor's one will do
                writers.setdefault(path, (stream, []))[1].append(program)
    logs = []
    for path, (stream, programs) in writers.items():
        # Processes of one group may share a file.
        log = Log(programs[0] if len(programs) == 1 else programs[0].partition(":")[0], stream, path)
        try:
            _check(log)
        except FileNotFoundError:
            failures.append(
                Failure(f"{log.program}: {path} is not there", FAILED, "it is made when the program starts")
            )
        except Failure as failure:
            failures.append(failure)
            continue
        logs.append(log)
    return logs, failures


def _named(
    patterns: Sequence[str], config: str | None, url: str | None, user: str | None
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """`(program, [(stream, path)…])` of each program, and of supervisord and redis where they are named."""
    wanted = [pattern for pattern in patterns if pattern != "supervisord"]
    known: list[Process] = []
    own: dict[str, str] = {}
    if wanted or not patterns:
        try:
            known, own = _known(locate.find(config, url, user))
        except Failure:
            if set(wanted) != {"redis"}:
                raise
    if "redis" in wanted and not any("redis" in (process.name, process.group) for process in known):
        yield "redis", [("stdout", redis_here()["log"])]
        wanted = [pattern for pattern in wanted if pattern != "redis"]
    if "supervisord" in patterns:
        yield "supervisord", [("stdout", _log_of_supervisord(config or locate.default_config()))]
    if wanted or not patterns:
        for process in select(wanted, known):
            paths = [("stderr", process.stderr_logfile), ("stdout", process.stdout_logfile)]
            log = own.get(process.name)
            yield process.name, [*paths, ("stdout", log)] if log not in (None, process.stdout_logfile) else paths


def _known(server: locate.Server) -> tuple[list[Process], dict[str, str]]:
    """The processes, and the log that Celery keeps itself of those that are Celery's: {name: path}."""
    if server.url.startswith("http://"):
        host = server.url.removeprefix("http://").partition("/")[0].rpartition(":")[0].strip("[]")
        if host not in ("localhost", "::1", os.uname().nodename) and not host.startswith("127."):
            raise Failure(f"the logs of {server.url} are on that machine", USAGE, "read them over ssh, with -i and -H")
    try:
        supervisor = Supervisor(server)
        known = processes(supervisor)
        try:
            infos = supervisor.call("getAllConfigInfo")
        except Fault:  # Supervisor 3 tells no commands
            infos = []
        commands = {(info["group"], info["name"]): str(info.get("command", "")) for info in infos}
        own = {each.name: own_log(commands.get((each.group, each.process), "")) for each in known}
        return known, {name: path for name, path in own.items() if path}
    except Failure as failure:
        if failure.code != DOWN or not server.config:
            raise
        from ..supervisor import conffile

        try:
            programs = conffile.load(server.config).values()
        except Failure:
            raise failure from None
        nothing = dict.fromkeys(Process._fields)
        logs = {name: path for program in programs if (path := own_log(program.command)) for name in program.logs}
        return [
            Process(
                **nothing | {"name": name, "group": name.partition(":")[0], "process": name.rpartition(":")[2]}
            )._replace(stdout_logfile=stdout, stderr_logfile=stderr)
            for program in programs
            for name, (stdout, stderr) in program.logs.items()
        ], logs


def _log_of_supervisord(config: str) -> str:
    """supervisord's own log; a relative name counts from where it was started, most likely beside its file."""
    name = locate.read_section(config, "supervisord", "logfile").get("logfile", "supervisord.log")
    return os.path.join(os.path.dirname(os.path.abspath(config)), os.path.expanduser(name))


def _check(log: Log) -> None:
    """Raises Failure when a log cannot be read, FileNotFoundError when it is not there (yet)."""
    if log.path == "AUTO":
        raise Failure(f"{log.program}: only a running supervisord knows its log (AUTO)", DOWN, "start supervisord")
    what = f"{log.program}: {log.path}"
    fix = f"set its {log.stream}_logfile to a file, or see what collects supervisord's output: docker logs, journalctl"
    if is_stream(log.path):
        raise Failure(f"{what} is no file but what supervisord itself writes to", FAILED, fix)
    try:
        handle = others.opened(log.path)
        try:
            if is_own_output(os.fstat(handle)):
                raise Failure(f"{what} is what this command writes to", FAILED, "write to another file")
        finally:
            os.close(handle)
    except PermissionError:
        raise Failure(f"{what} is not readable for you", DENIED, _remedy(log.path)) from None
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO):
            raise Failure(f"{what} is no file", FAILED, f"set its {log.stream}_logfile to one") from None
        raise Failure(f"{what}: {error.strerror}", FAILED) from None


def _remedy(path: str) -> str:
    """Which group may read what this user may not: of the file, or of the first folder above it that can be seen."""
    from grp import getgrgid

    while path != os.path.dirname(path):
        try:
            state = os.stat(path)
            if state.st_gid and state.st_mode & stat.S_IRGRP:
                return f"join group `{getgrgid(state.st_gid).gr_name}` and log in again, or use sudo"
        except (OSError, KeyError):
            pass
        path = os.path.dirname(path)
    return "use sudo"


def opened(
    logs: list[Log], following: bool = False, warn: Callable[[str], object] = lambda text: None
) -> list[tuple[Log, LogFile]]:
    """The logs, opened as they are now, for `read` and then `follow`; `warn(text)` is told of what cannot be read."""
    files = []
    for log in logs:
        try:
            files.append((log, LogFile(log.path, following, warn)))
        except OSError as error:
            warn(f"{log.program}: {log.path}: {error.strerror}")
    return files


def read(
    files: Iterable[Opened],
    since: float | None = None,
    until: float | None = None,
    last: int | None = None,
    pattern: re.Pattern[str] | None = None,
) -> Iterator[Line]:
    """Yield the Lines written until now, merged by time: those between two times (seconds since the epoch), the `last`
    so many of each program's, those that `pattern` matches (colours do not count)."""
    keep = (lambda line: pattern.search(_plain(_text(line)))) if pattern else None
    parts: dict[tuple[str, str], list[Iterator[Line]]] = {}
    for log, file in files:
        parts.setdefault((log.program, log.stream), []).append(_lines(log, file.history(since, until, last, keep)))
    whole: list[Iterable[Line]] = [merge(*them, key=_time) for them in parts.values()]
    return merge(*(whole if last is None else (deque(lines, maxlen=last) for lines in whole)), key=_time)


def poll(files: Iterable[Opened]) -> Iterator[Line]:
    """Yield the Lines written since the last call, or since the files were opened, merged by time."""
    return merge(*(_lines(log, file.poll()) for log, file in files), key=_time)


def follow(
    files: Sequence[Opened], pattern: re.Pattern[str] | None = None, wait: Callable[[float], object] = sleep
) -> Iterator[list[Line]]:
    """Yield lists of new Lines, as they come, for ever. `wait(seconds)` is called between two looks."""
    pause = BUSY
    while True:
        new = poll(files)
        pause = min(pause * 1.2, IDLE)
        while batch := list(islice(new, BATCH)):
            pause = BUSY
            if batch := [line for line in batch if not pattern or pattern.search(_plain(line.text))]:
                yield batch
        wait(pause)


def _time(line: Line) -> float:
    return line.time


def _lines(log: Log, lines: Iterable[Dated]) -> Iterator[Line]:
    for time, line in lines:
        yield Line(time, log.program, log.stream, _text(line))


def _text(line: bytes) -> str:
    return line.decode(errors="replace")


def _plain(text: str) -> str:
    return COLOUR.sub("", text) if "\x1b" in text else text

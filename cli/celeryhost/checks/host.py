"""The machine that is looked at: each fact is found when a check first asks for it, and once."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from shlex import split
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from .. import others, proc
from ..celery import command_line
from ..celery.command_line import option
from ..celery.log_lines import entry_sent
from ..errors import DENIED, UNKNOWN, Failure, near
from ..hosts.target import Target
from ..logs import times
from ..paths import REDIS_PACKAGES, REDIS_PASSWORD, redis_paths
from ..project import tasks
from ..scripts import doctor as doctor_script
from ..scripts import mysql as mysql_script
from ..scripts import redis as redis_script
from ..scripts import task as task_script
from ..supervisor import conffile, locate
from ..supervisor.programs import is_stream
from ..supervisor.rpc import Supervisor
from ..supervisor.status import Report, Row, look
from ..watchdog.decisions import LONGEST_SLEEP
from . import ROOT, Skip
from .redis import Redis

LOCAL = ("localhost", "127.0.0.1", "::1")
REDIS_USERS = {redis_paths(package)["account"] for package in REDIS_PACKAGES}
LISTENING = "0A"  # include/net/tcp_states.h
LOG_END = 1 << 18  # bytes of beat's log that are looked through
PROBE_SECONDS = 40  # a broker and workers that do not answer, asked one after another


class Part(NamedTuple):
    """A `celery worker` or `celery beat`: its name in Supervisor, its conffile.Program, Celery's own words of its
    command line, which of the two it is, its status.Row (None without one), and what tasks.read_command reads."""

    name: str
    program: conffile.Program
    words: list[str]
    command: str
    row: Row | None
    read: tasks.Worker


# Options of a worker that take the place of settings: https://docs.celeryq.dev/en/stable/reference/cli.html.
# --time-limit is none: a task_time_limit of the project wins over it.
INSTEAD = (
    ("-c", "--concurrency", "worker_concurrency"),
    ("-P", "--pool", "worker_pool"),
    ("--prefetch-multiplier", "--prefetch-multiplier", "worker_prefetch_multiplier"),
    ("--max-tasks-per-child", "--max-tasks-per-child", "worker_max_tasks_per_child"),
    ("--max-memory-per-child", "--max-memory-per-child", "worker_max_memory_per_child"),
)

AT_MOST = {"beat_max_loop_interval": LONGEST_SLEEP}  # with module celeryhost_beat


_Value = TypeVar("_Value")


class fact(Generic[_Value]):  # noqa: N801
    """A property that is found once; also a Skip or Failure in its place."""

    def __init__(self, find: Callable[[Any], _Value]) -> None:
        self.find = find
        self.name = find.__name__

    def __get__(self, owner: Any, _: object) -> _Value:
        kept: dict[str, Any] = owner.__dict__.setdefault("kept", {})
        if self.name not in kept:
            try:
                kept[self.name] = self.find(owner), None
            except (Skip, Failure) as error:
                kept[self.name] = None, error
        value: _Value
        value, raised = kept[self.name]
        if raised:
            raise raised
        return value


class App:
    """A Celery app of this host: its workers and beats, and what its own Python says of it."""

    def __init__(self, host: Host, name: str, parts: list[Part], others: list[Any]) -> None:
        self.host = host
        self.name = name
        self.workers = [part for part in parts if part.command == "worker"]
        self.beats = [part for part in parts if part.command == "beat" or is_embedded(part)]
        self.parts = parts
        self.others = others  # conffile.Programs beside worker and beat

    @fact
    def answer(self) -> dict[str, Any]:
        """What scripts/doctor.py answers, also its `error`; raises Failure where it cannot run."""
        part = self.parts[0]
        given = {setting: option(part.words, short, long) for short, long, setting in INSTEAD}
        request = {
            "nodes": [option(worker.words, "-n", "--hostname") for worker in self.workers],
            "time_limit": time_limit(part.words),
            "instead": {setting: tasks.value(text) for setting, text in given.items() if text},
            "at_most": AT_MOST if any("celeryhost_beat" in modules(part) for part in self.beats) else {},
            "beat": self._beat() if self.beats else None,
        }
        scripts = (task_script, mysql_script, redis_script, doctor_script)
        return tasks.ask(part.read, request, PROBE_SECONDS + tasks.START_SECONDS, *scripts)

    @property
    def probe(self) -> dict[str, Any]:
        """The answer of a project that loads; raises Skip for one that does not."""
        try:
            answer = self.answer
        except Failure as failure:
            raise Skip(ROOT if failure.code == DENIED else "the project does not load") from None
        if "error" in answer:
            raise Skip("the project does not load")
        return answer

    def _beat(self) -> dict[str, Any]:
        part = self.beats[0]
        scheduler = option(part.words, "-S", "--scheduler")
        return {"scheduler": scheduler, **sent(part)}


def section(app: App, name: str) -> dict[str, Any]:
    """A section of scripts/doctor.py's answer; raises Skip where its question could not be asked."""
    found: dict[str, Any] = app.probe[name]
    if "error" in found:
        raise Skip(found["error"])
    return found


class Host:
    """`target`: the shared options (hosts.target.Target); `names`: the apps to look at, none for all."""

    def __init__(self, target: Target, names: Sequence[str] = ()) -> None:
        self.target = target
        self.names = names

    @fact
    def supervisor(self) -> Supervisor:
        """Raises Failure: no configuration file, or one that makes no sense."""
        return Supervisor(locate.find(self.target.config, self.target.url, self.target.user))

    @fact
    def report(self) -> Report:
        """status.look; raises Skip where supervisord does not answer, which check `supervisord` says."""
        try:
            return look(self.supervisor)
        except Failure as failure:
            raise Skip(ROOT if failure.code == DENIED else "supervisord does not answer") from None

    @fact
    def live(self) -> Supervisor:
        """The supervisord, as one that answers; raises Skip."""
        assert self.report  # which raises Skip
        return self.supervisor

    @fact
    def pid(self) -> int:
        """supervisord's; raises Skip where it is not on this machine."""
        pid = self.report.pid
        if not os.path.isdir(f"/proc/{pid}") or not conffile.is_supervisord(pid):
            raise Skip("supervisord is on another machine")
        return int(pid)

    @fact
    def programs(self) -> dict[str, conffile.Program]:
        """conffile.load; raises Skip where the files are not readable, by this user or at all."""
        try:
            config = self.supervisor.server.config
            if not config:
                raise Skip("the configuration is not known: name it with -c FILE")
            return conffile.load(config)
        except Failure as failure:
            if failure.code == DENIED or os.geteuid():
                raise Skip(ROOT) from None
            raise Skip("the configuration cannot be read") from None

    @fact
    def apps(self) -> list[App]:
        """The apps that were asked for; raises Failure (UNKNOWN) for one that is not here, and Skip."""
        rows = {row.name: row for row in self.rows}
        parts: dict[str, list[Part]] = {}
        for program in self.programs.values():
            command = command_line.read(program.command)
            if command:
                name, group = program.name, program.group
                read = tasks.read_command(program, command_line.NAMES)
                assert read, "what `celery` is to do is among NAMES"
                app = name.partition("-worker")[0] if command.name == "worker" else name.removesuffix("-beat")
                row = next((rows[shown] for shown in program.logs if shown in rows), None)
                shown = group if group == name else next(iter(program.logs))  # as a person names it to celeryhost
                part = Part(shown, read.program, command.words, command.name, row, read)
                parts.setdefault(app, []).append(part)
        found = {
            name: App(self, name, sorted(them, key=lambda part: part.command != "worker"), self._beside(name, parts))
            for name, them in parts.items()
        }
        for name in self.names:
            if name not in found:
                known = f"there is {', '.join(found)}" if found else "see celeryhost status"
                raise Failure(f"no app {name!r} with a Celery worker or beat here", UNKNOWN, near(name, found) or known)
        return [found[name] for name in self.names or found]

    def _beside(self, app: str, parts: dict[str, list[Part]]) -> list[Any]:
        """Programs named after an app, and after no longer name of one, that are no worker and no beat of any."""
        celery = {part.program.name for them in parts.values() for part in them}
        longer = tuple(f"{name}-" for name in parts if name.startswith(f"{app}-"))
        return [
            program
            for name, program in self.programs.items()
            if name.startswith(f"{app}-") and name not in celery and not name.startswith(longer)
        ]

    @property
    def rows(self) -> list[Row]:
        try:
            return list(self.report.rows)
        except Skip:
            return []

    @fact
    def redises(self) -> list[Redis]:
        """The Redis servers that the apps' brokers are, else this machine's own; raises Skip where there is none."""
        found: dict[str, Redis] = {}
        for url, kombu in self._redis_urls():
            redis = Redis(url)
            found.setdefault(redis.place, redis).kombus.append(kombu)
        return list(found.values()) or self._own_redis()

    def _redis_urls(self) -> Iterator[tuple[str, str]]:
        try:
            apps = self.apps
        except Skip:
            return
        for app in apps:
            try:
                url, kombu = app.probe["broker"]["url"], app.probe["broker"]["kombu"]
                urlsplit(url).port  # noqa: B018 - raises ValueError, for what is no text AttributeError
                kombu = str(kombu)
            except (Skip, *tasks.MISREAD):
                url, kombu = app.parts[0].program.environment.get("CELERY_BROKER_URL", ""), ""
            if url.partition(":")[0] in ("redis", "rediss", "redis+socket"):
                yield url, kombu

    def _own_redis(self) -> list[Redis]:
        trusted = {0, *(each.pw_uid for each in pwd.getpwall() if each.pw_name in REDIS_USERS)}
        ports = (_redis_port(words) for words in processes(trusted).values())
        # Any process may call itself a redis-server: the password is for who has the port.
        port = next((port for port in ports if port and listener(port) in trusted), None)
        if not port:
            raise Skip("no Redis is used here")
        try:
            with open(REDIS_PASSWORD) as file:
                password = file.read().strip()
        except FileNotFoundError:
            raise Skip("no Redis of celeryhost's is here") from None
        except PermissionError:
            raise Skip(ROOT) from None
        from urllib.parse import quote

        return [Redis(f"redis://:{quote(password, safe='')}@127.0.0.1:{port}/0")]


def modules(part: Part) -> list[str]:
    """The modules that are loaded into it beside the project's: with -I, or by the script that starts Celery."""
    scripts = [os.path.basename(word)[:-3] for word in split(part.program.command) if word.endswith(".py")]
    return [*filter(None, option(part.words, "-I", "--include").split(",")), *scripts]


def is_embedded(part: Part) -> bool:
    """Whether a worker is a beat too."""
    return part.command == "worker" and bool({"-B", "--beat"} & set(part.words))


def time_limit(words: list[str]) -> float | None:
    """A worker's --time-limit in seconds."""
    value = option(words, "--time-limit", "--time-limit")
    try:
        return float(value) or None
    except ValueError:
        return None


def log_of(part: Part) -> str | None:
    """The file that Celery writes (`-f`), else the one that Supervisor does; None where neither is a file."""
    path = option(part.words, "-f", "--logfile") or part.program.stdout_logfile
    return None if path and is_stream(path) else path


def sent(part: Part) -> dict[str, Any]:
    """What beat's log tells: `sent`, {entry: when it was last sent}, and `since`, when telling begins, or None."""
    found: dict[str, float] = {}
    since = None
    level = option(part.words, "-l", "--loglevel").upper()
    started = part.row.started if part.row and part.row.pid else None
    path = log_of(part)
    if path and level in ("INFO", "DEBUG"):
        try:
            with open(others.opened(path), "rb") as log:
                state = os.fstat(log.fileno())
                log.seek(max(0, state.st_size - LOG_END))
                lines = log.read(LOG_END).splitlines()
        except OSError:
            return {"sent": {}, "since": None}
        made = state.st_mtime  # of a file just rotated, which has no line yet
        shift = times.zone_shift(lines[-1], made) if lines else 0
        for line in lines:
            if (entry := entry_sent(os.fsdecode(line))) and (moment := times.stamp(line, shift)):
                found[entry] = moment
        told = next((moment for line in lines if (moment := times.stamp(line, shift))), None)
        since = max(filter(None, (started, told or made)), default=None)
    return {"sent": found, "since": since}


def _redis_port(words: list[str]) -> int | None:
    """The port of a Redis by the title of its process, `redis-server 127.0.0.1:6379`; None for anything else."""
    port = words[1].rpartition(":")[2] if words[1:] else "6379"
    return int(port) if words[0].endswith(REDIS_PACKAGES) and port.isdecimal() and len(port) < 6 else None


def listener(port: int) -> int | None:
    """The uid of who listens on a TCP port of this machine, None where nobody does, or several (proc(5), net/tcp)."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError), open(f"/proc/net/{table}") as rows:
            for words in map(str.split, rows):
                if words[3] == LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                    found.add(int(words[7]))
    return found.pop() if len(found) == 1 else None


def processes(uids: Collection[int] | None = None) -> dict[int, list[str]]:
    """The command lines of this machine's processes, by pid; of those accounts alone, where they are given."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                if (uids is None or os.stat(f"/proc/{name}").st_uid in uids) and (command := proc.words(name)):
                    found[int(name)] = command
    return found

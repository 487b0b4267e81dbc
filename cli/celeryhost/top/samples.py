"""What `top` shows of one host, sampled again and again: programs, queues, tasks, beat and new lines of logs.

Nothing of it needs worker events, which would have to be switched on and cost the broker a message for each step of a
task: tasks are counted in the workers' logs (parts.py), how many wait is asked of Redis, what beat has sent is
in its log, and what it will send is read in the background (schedule.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from ..celery import resp
from ..celery.remote_control import lengths, speaks
from ..errors import Failure
from ..hosts.target import Target
from ..logs import reader
from ..supervisor import locate
from ..supervisor.rpc import Fault, Supervisor
from ..supervisor.status import Report, Row, look
from . import parts as celery_parts
from .schedule import Schedule

VERSION = 1  # of the JSON, docs/json.md
FIELDS = ("name", "state", "pid", "uptime", "cpu", "memory", "restarts", "stopped", "exitstatus", "error", "last_line")
PAST = 2000  # lines of each log that are looked through at the start
LINES = 20  # of all logs that a sample holds
LONGEST = 240  # characters of each
RETRY = 15  # seconds until a broker that did not answer is asked again


def samples(target: Target, names: Sequence[str], interval: float) -> Iterator[dict[str, Any]]:
    """Yield a sample, the object of docs/json.md, at once and then every `interval` seconds, for ever.

    `names` as for programs.select. Raises Failure: UNKNOWN, DENIED, and DOWN, also when supervisord goes away.
    """
    probe = Probe(target, names)
    due = time.monotonic()
    while True:
        yield probe.look()
        due += interval
        rest = due - time.monotonic()
        time.sleep(max(0.0, rest))
        due -= min(0.0, rest)  # what is late is not made up for


class Probe:
    """What is remembered between two looks at this machine."""

    def __init__(self, target: Target, names: Sequence[str] = ()) -> None:
        self.names = names
        server = locate.find(target.config, target.url, target.user)
        self.supervisor = Supervisor(server)
        self.of = (server.config, target.url, target.user)
        self.before: Report | None = None
        self.pids: dict[str, int | None] = {}
        self.files: dict[reader.Log, reader.Opened] = {}
        self.parts: dict[str, celery_parts.Part] = {}
        self.schedule = Schedule(target._replace(config=server.config))
        self.away: dict[str, float] = {}  # broker: when it is asked again
        self.looked = time.time()

    def look(self) -> dict[str, Any]:
        """One sample; raises Failure."""
        report = self.before = look(self.supervisor, self.names, self.before, compare=False)
        told: deque[Any] = deque(maxlen=LINES)
        pids = {row.name: row.pid for row in report.rows}
        if pids != self.pids:
            self.pids = pids
            self.meet(report.rows)
            told.extend(self.opened())
        now = time.time()
        new = [self.noted(line, self.looked, now) for line in reader.poll(self.files.values())]
        told.extend(new)
        self.looked = now
        self.schedule.refresh({name: part.pid for name, part in self.parts.items() if part.is_beat})
        apps: dict[str, list[celery_parts.Part]] = {}
        for part in self.parts.values():
            apps.setdefault(part.app, []).append(part)
        return {
            "version": VERSION,
            "time": round(now, 2),
            "programs": [{field: getattr(row, field) for field in FIELDS} for row in report.rows],
            "apps": [self.app(name, parts, now) for name, parts in sorted(apps.items())],
            "log": [line._asdict() | {"time": round(line.time, 2), "text": line.text[:LONGEST]} for line in told],
            "left_out": max(0, len(new) - LINES),
        }

    def meet(self, rows: Sequence[Row]) -> None:
        """Learn what each program is, once more for each that is another process now."""
        try:
            infos = self.supervisor.call("getAllConfigInfo")
        except Fault:  # Supervisor 3: no commands, so nothing is known of Celery
            infos = []
        commands = {(info["group"], info["name"]): info.get("command", "") for info in infos}
        known = {}
        for row in rows:
            command = commands.get((row.group, row.process), "")
            if part := celery_parts.part(row, command, self.parts.get(row.name)):
                known[row.name] = part
        self.parts = known

    def opened(self) -> list[reader.Line]:
        """Open the logs that are not open yet, and return the last lines of what was in them."""
        try:
            found, _ = reader.find(self.names, *self.of)
        except Failure:  # the logs of a supervisord on another machine are there
            return []
        new = reader.opened([log for log in found if log not in self.files], following=True)
        told = deque((self.noted(line, 0, self.looked) for line in reader.read(new, last=PAST)), maxlen=LINES)
        self.files |= {pair[0]: pair for pair in new}
        for log in self.files:
            if log.program in self.parts:
                self.parts[log.program].is_logged = True
        return list(told)

    def noted(self, line: reader.Line, since: float, until: float) -> reader.Line:
        """Take in a line that was written between two moments, whatever it says itself."""
        line = line._replace(time=min(max(line.time, since), until))
        if line.program in self.parts:
            self.parts[line.program].note(line)
        return line

    def app(self, name: str, parts: list[celery_parts.Part], now: float) -> dict[str, Any]:
        """What there is to say of one app on this host."""
        workers = [part for part in parts if part.is_worker]
        queues, remark = self.queues(workers, now)
        done, failed = celery_parts.count(workers, now)
        beat = next((self.beat(part, now) for part in parts if part.is_beat), None)
        return {
            "app": name,
            "programs": [part.program for part in parts],
            "queues": queues,
            "remark": remark,
            "done": done,
            "failed": failed,
            "beat": beat,
        }

    def beat(self, part: celery_parts.Part, now: float) -> dict[str, Any]:
        entry, moment = max(part.sent.items(), key=lambda sent: sent[1], default=("", 0.0))
        last = [round(moment, 2), entry] if entry else None
        following, remark = self.schedule.next(part, now) if part.pid else (None, None)
        return {"program": part.program, "last": last, "next": following, "remark": remark}

    def queues(self, workers: list[celery_parts.Part], now: float) -> tuple[dict[str, Any] | None, str | None]:
        """How many tasks wait in each queue that these workers read, or None and why that is not known."""
        asked: dict[tuple[str, str], set[str]] = {}  # by address and names
        try:
            for worker in workers:
                if url := worker.broker():
                    asked.setdefault((url, worker.transport()), set()).update(worker.queues)
            if not all(speaks(url) for url, _ in asked):
                return None, "the broker is no Redis"
        except PermissionError:
            return None, "only root may read the broker's address"
        except ValueError:
            return None, "the broker's address makes no sense"
        found: dict[str, int] = {}
        for (url, transport), queues in asked.items():
            if now < self.away.get(url, 0):
                return None, "Redis does not answer"
            try:
                found |= lengths(url, sorted(queues), transport)
            except resp.Refused as refusal:
                return None, f"Redis says {refusal}"
            except (OSError, ValueError):
                self.away[url] = now + RETRY
                return None, "Redis does not answer"
        if found or not any(worker.pid for worker in workers):
            return found or None, None
        return None, "no CELERY_BROKER_URL in the worker's environment"

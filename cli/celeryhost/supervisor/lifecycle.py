"""Starting, stopping, restarting and replacing many programs at once.

supervisorctl does named programs one after the other and starts none of `restart all` before the last has stopped.
Here no program waits for another, and each is started as soon as it has stopped: the floor is the slowest stop plus
`startsecs` (bench/restart).

What is done to one program is a *course*: a generator that yields Events to report and calls to make, and is sent the
calls' results; a float is a rest, in seconds. `_drive` runs many courses side by side, with one round trip for all.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from .. import proc
from ..errors import FAILED, OK, TIMEOUT, worst
from .programs import ALIVE, DEAD, Process, from_info, processes, tail
from .rpc import ALREADY_ADDED, ALREADY_STARTED, BAD_NAME, NOT_RUNNING, SPAWN_ERROR, Fault, Supervisor


class Event(NamedTuple):
    """What happened to a program (or group): `time` in seconds since the epoch, `kind` a key of KINDS, `text` for a
    person (with lines of its log for what failed), `pid` 0 when there is none."""

    time: float
    program: str
    kind: str
    text: str = ""
    pid: int = 0


_Result = TypeVar("_Result")
# A course yields Events, seconds to rest, and calls (method, *params), for whose results or Faults it waits.
Course = Generator[Any, Any, _Result]

# kind: the exit code it stands for when it is the last of its program
KINDS = {
    "stopping": OK,
    "waiting": OK,  # progress, after a second and then every PROGRESS seconds
    "stopped": OK,
    "removed": OK,
    "added": OK,
    "starting": OK,
    "backoff": OK,  # it exited too soon; supervisord tries again
    "running": OK,
    "exited": OK,  # it ended by itself, with an exit code that its configuration expects
    "unchanged": OK,  # nothing was to be done
    "skipped": FAILED,  # nothing was done, because another program failed
    "failed": FAILED,
    "fatal": FAILED,  # supervisord gave up
    "timeout": TIMEOUT,
}

PROGRESS = 5  # seconds between two `waiting` events of a program
TAIL = 10  # lines of the log of what failed
STOP_MARGIN = 10  # seconds that supervisord may take to kill what outlived its stopwaitsecs
START_MARGIN = 30  # seconds beyond startsecs, for what starts at its second or third try
# Where supervisord does not tell its settings: 3.x knows no more than the priorities.
UNTOLD = {"stopwaitsecs": 600, "startsecs": 60, "command": "", "group_prio": 999, "process_prio": 999}
LONGEST_REST = 0.25  # seconds; supervisord has one thread, and other things to do than to tell how they go
TOGETHER = 0.005  # seconds that a look is put off to share its round trip with others
# Programs stopped in one round. Stopping 100 at once would leave the last of them down until 99 others are started.
AT_ONCE = 8
# A process that supervisord has just forked, and that is not its program yet, has supervisord's signal handlers and so
# loses the signal that is to stop it. No Celery listens so soon, so that what lives on has not heard; the second TERM
# that a worker hears would be its cold shutdown.
DEAF = 0.2  # seconds from the fork
SAID_AGAIN = 0.5  # seconds after the first time
COLD = "QUIT"  # Celery's cold shutdown: running tasks are left, and run again if they acknowledge late


def event_of(data: dict[str, Any]) -> Event:
    """The Event that its JSON object stands for (docs/json.md)."""
    fields: dict[str, Any] = {field: data.get(field) for field in Event._fields}
    return Event(**fields)


def exit_code(events: Iterable[Event]) -> int:
    """What the last event of each program amounts to."""
    return worst(KINDS[event.kind] for event in {event.program: event for event in events}.values())


def start(
    supervisor: Supervisor, chosen: list[Process], wait: bool = True, timeout: float | None = None
) -> Iterator[Event]:
    """Start programs, all at once; yields Events until each is RUNNING (its `startsecs` over), FATAL or late.

    `timeout` bounds the whole in seconds; without it each program has its `startsecs` plus START_MARGIN. `wait=False`
    ends as soon as all are sent. Raises Failure (DOWN, DENIED) when supervisord goes away.
    """
    plan = _Plan(supervisor, wait, timeout)
    return _drive(supervisor, [plan.start(process) for process in sorted(chosen, key=plan.priority)])


def settle(supervisor: Supervisor, chosen: list[Process], timeout: float | None = None) -> Iterator[Event]:
    """Wait, as `start` does, for programs that were told to start; yields Events."""
    plan = _Plan(supervisor, True, timeout)
    return _drive(supervisor, [plan.await_start(process) for process in chosen])


def stop(
    supervisor: Supervisor,
    chosen: list[Process],
    wait: bool = True,
    timeout: float | None = None,
    graceful: bool = True,
) -> Iterator[Event]:
    """Stop programs, all at once; yields Events until each has stopped or is late.

    Without `timeout` each has its `stopwaitsecs` plus STOP_MARGIN. A Celery worker lets its running tasks end within
    `stopwaitsecs`; not `graceful`, it is told to leave them.
    """
    plan = _Plan(supervisor, wait, timeout, graceful)
    plan.ask_for_tasks(chosen)
    return _drive(supervisor, [plan.stop(p) for p in sorted(chosen, key=plan.priority, reverse=True)])


def restart(
    supervisor: Supervisor,
    chosen: list[Process],
    wait: bool = True,
    timeout: float | None = None,
    graceful: bool = True,
    rolling: bool = False,
) -> Iterator[Event]:
    """Stop and start programs, each as soon as it has stopped; yields Events until each is RUNNING with a new pid.

    `rolling` takes one after the other and goes no further once one fails. `wait=False` does not wait for RUNNING, but
    does for the stop, since supervisord starts nothing that still runs. Otherwise as `stop` and `start`.
    """
    plan = _Plan(supervisor, wait, timeout, graceful)
    ordered = sorted(chosen, key=plan.priority)
    if not rolling:
        plan.ask_for_tasks(ordered)
        yield from _drive(supervisor, [plan.restart(process) for process in reversed(ordered)], AT_ONCE)
        return
    for at, process in enumerate(ordered):
        plan.ask_for_tasks([process])
        last = _event(process, "unchanged")
        for last in _drive(supervisor, [plan.restart(process)]):
            yield last
        if KINDS[last.kind] != OK:
            for other in ordered[at + 1 :]:
                yield _event(other, "skipped", f"not restarted, because {process.name} did not come back")
            return


def replace(
    supervisor: Supervisor,
    changed: Iterable[str] = (),
    added: Iterable[str] = (),
    removed: Iterable[str] = (),
    wait: bool = True,
    timeout: float | None = None,
    grace: dict[str, int] | None = None,
) -> Iterator[Event]:
    """Bring groups to the configuration that `reloadConfig` has read; arguments are group names, as it gives them.

    A changed group is stopped, removed and added again, a new one added, and each is waited for as in `start`; a
    removed one is stopped and removed. All groups go side by side; yields Events. `grace` is {group: its stopwaitsecs
    as it was started with}, where that differs from the new one: no less is waited.
    """
    plan = _Plan(supervisor, wait, timeout)
    plan.grace = grace or {}
    now = processes(supervisor)
    plan.ask_for_tasks([process for process in now if process.group in (*changed, *removed)])
    members = {name: [process for process in now if process.group == name] for name in (*changed, *added, *removed)}
    courses = [plan.replace(name, members[name], name in (*changed, *removed), name not in removed) for name in members]
    yield from _drive(supervisor, courses, AT_ONCE)


def _event(process: Process, kind: str, text: str = "", pid: int = 0) -> Event:
    return Event(time.time(), process.name, kind, text, pid)


class _Plan:
    """The courses, and what they share: how long each program may take and which tasks its worker runs."""

    def __init__(self, supervisor: Supervisor, wait: bool, timeout: float | None, graceful: bool = True) -> None:
        self.supervisor = supervisor
        self.wait = wait
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.graceful = graceful
        self.grace: dict[str, int] = {}
        self.tasks: dict[str, list[str]] = {}  # program: its running tasks, where they could be asked for
        try:
            infos = supervisor.call("getAllConfigInfo")
        except Fault:
            infos = []
        self.settings = {(info["group"], info["name"]): UNTOLD | info for info in infos}

    def setting(self, process: Process, key: str) -> Any:
        return self.settings.get((process.group, process.process), UNTOLD).get(key)

    def priority(self, process: Process) -> tuple[Any, Any]:
        return self.setting(process, "group_prio"), self.setting(process, "process_prio")

    def ask_for_tasks(self, chosen: list[Process]) -> None:
        alive = [process for process in chosen if process.state in ALIVE and self.is_worker(process)]
        if alive and self.graceful and self.wait and self.supervisor.believed:
            from ..celery.active import Running, tasks

            told = [(self.setting(process, "command"), self.setting(process, "uid")) for process in alive]
            self.tasks.update(tasks([Running(one.name, one.pid, *how) for one, how in zip(alive, told, strict=True)]))

    def is_worker(self, process: Process) -> bool:
        from ..celery.command_line import read

        command = read(self.setting(process, "command"))
        return command is not None and command.name == "worker"

    def limit(self, seconds: float) -> float:
        """The moment (monotonic) until which a step that may take `seconds` from now is waited for."""
        return time.monotonic() + seconds if self.deadline is None else self.deadline

    def start(self, process: Process) -> Course[None]:
        """Course: start one program; a RUNNING one is `unchanged`."""
        if process.state == "RUNNING":
            yield _event(process, "unchanged", "is RUNNING", process.pid)
        elif process.state != "STOPPING" or (yield from self.await_stop(process)):
            yield from self.launch(process)

    def restart(self, process: Process) -> Course[None]:
        """Course: stop one program if it is not, and start it."""
        if process.state in DEAD or ((yield from self.send_stop(process)) and (yield from self.await_stop(process))):
            yield from self.launch(process)

    def stop(self, process: Process) -> Course[None]:
        """Course: stop one program; a stopped one is `unchanged`."""
        if process.state in DEAD:
            yield _event(process, "unchanged", f"is {process.state}")
        elif (yield from self.send_stop(process)) and self.wait:
            yield from self.await_stop(process)

    def replace(self, group: str, members: list[Process], remove: bool, add: bool) -> Course[None]:
        """Course: stop a group and take it out (`remove`), put it in as configured and wait until it runs (`add`)."""
        if remove and not (yield from self.remove(group, members)):
            return
        if not add:
            return
        result = yield "addProcessGroup", group
        if isinstance(result, Fault) and result.code != ALREADY_ADDED:
            yield Event(time.time(), group, "failed", _reason(result))
            return
        yield Event(time.time(), group, "added")
        for member in [name for owner, name in self.settings if owner == group and self.wait]:
            info = yield "getProcessInfo", f"{group}:{member}"
            if not isinstance(info, Fault):
                yield from self.await_start(from_info(info))

    def remove(self, group: str, members: list[Process]) -> Course[bool]:
        """Course: stop all members, then remove the group; returns whether it is gone."""
        for process in members:
            if process.state not in DEAD and not (yield from self.send_stop(process)):
                return False
        for process in members:
            if process.state not in DEAD and not (yield from self.await_stop(process)):
                return False
        result = yield "removeProcessGroup", group
        if isinstance(result, Fault) and result.code != BAD_NAME:
            yield Event(time.time(), group, "failed", _reason(result))
            return False
        yield Event(time.time(), group, "removed")
        return True

    def send_stop(self, process: Process) -> Course[bool]:
        """Course: send a program its stop signal; returns False when supervisord would not."""
        result = yield "stopProcess", process.name, False
        if isinstance(result, Fault) and result.code != NOT_RUNNING:  # not running: it has ended, or is STOPPING
            yield _event(process, "failed", _reason(result))
            return False
        if not self.graceful and self.is_worker(process):
            yield "signalProcess", process.name, COLD
        yield _event(process, "stopping", pid=process.pid)
        return True

    def await_stop(self, process: Process) -> Course[bool]:
        """Course: wait until a program has stopped; returns whether it has."""
        grace = max(self.setting(process, "stopwaitsecs"), self.grace.get(process.group, 0))
        bound = f" of at most {grace}" if self.setting(process, "command") else ""
        tasks = self.tasks.get(process.name)
        began = time.monotonic()
        limit = self.limit(grace + STOP_MARGIN)
        progress = began if tasks else began + 1
        again = began + SAID_AGAIN
        rest = 0.01
        while True:
            info = yield "getProcessInfo", process.name
            if isinstance(info, Fault):
                yield _event(process, "failed", _reason(info))
                return False
            state, now = info["statename"], time.monotonic()
            if state in DEAD:
                yield _event(process, "stopped")
                return True
            if state in ALIVE:  # it was EXITED when the stop came, and autorestart was quicker
                yield "stopProcess", process.name, False
            if now >= limit:
                yield _event(process, "timeout", f"still {state} after {now - began:.1f} s", info["pid"])
                return False
            if now >= again:
                again = limit
                if 0 <= (proc.age(info["pid"]) or 0) - (now - began) < DEAF:
                    yield "signalProcess", process.name, str(self.setting(process, "stopsignal") or "TERM")
            if now >= progress:
                progress = now + PROGRESS
                what = f"lets {', '.join(tasks)} end" if tasks else "is stopping"
                yield _event(process, "waiting", f"{what}, {now - began:.0f}{bound} s", info["pid"])
            yield rest
            rest = min(LONGEST_REST, rest * 2)

    def launch(self, process: Process) -> Course[None]:
        """Course: start a program that has stopped, and wait for it."""
        result = yield "startProcess", process.name, False
        if isinstance(result, Fault) and result.code not in (ALREADY_STARTED, SPAWN_ERROR):
            yield _event(process, "failed", _reason(result))
            return
        yield _event(process, "starting")
        if self.wait:
            yield from self.await_start(process)

    def await_start(self, process: Process) -> Course[None]:
        """Course: wait until a started program is RUNNING, has failed or has ended."""
        began = time.monotonic()
        seconds = self.setting(process, "startsecs")
        limit, settled = self.limit(seconds + START_MARGIN), began + seconds
        progress = began + PROGRESS
        before, failing = "", False
        if seconds:  # nothing is to be seen yet, and supervisord is at work starting others
            yield min(LONGEST_REST, seconds)
        while True:
            info = yield "getProcessInfo", process.name
            if isinstance(info, Fault):
                yield _event(process, "failed", _reason(info))
                return
            seen, now = from_info(info), time.monotonic()
            if seen.state == "RUNNING":
                yield _event(process, "running", pid=seen.pid)
                return
            if seen.state == "FATAL":
                yield _event(process, "fatal", self.obituary(seen))
                return
            if seen.state == before == "EXITED":  # where autorestart is on, it is EXITED for one look only
                yield _event(process, "failed", self.obituary(seen)) if seen.spawnerr else _event(process, "exited")
                return
            if seen.state == before == "STOPPED":
                stopped = _event(process, "failed", "someone else stopped it")
                yield stopped if seen.start else _event(process, "stopped", "autostart is off")
                return
            failing = failing or seen.state == "BACKOFF"
            if seen.state == "BACKOFF" != before:
                yield _event(process, "backoff", seen.spawnerr)
            if now >= limit:
                said = [f"still {seen.state} after {now - began:.1f} s"]
                said += tail(process, TAIL, self.supervisor) if failing else []
                yield _event(process, "timeout", "\n".join(said), seen.pid)
                return
            if now >= progress:
                progress = now + PROGRESS
                yield _event(process, "waiting", f"{seen.state}, {now - began:.0f} s", seen.pid)
            before = seen.state
            yield min(LONGEST_REST, settled - now) if now < settled else 0.03

    def obituary(self, process: Process) -> str:
        return "\n".join([process.spawnerr or process.state, *tail(process, TAIL, self.supervisor)])


def _reason(fault: Fault) -> str:
    return "supervisord knows it no more" if fault.code == BAD_NAME else f"supervisord says {fault.text}"


def _drive(supervisor: Supervisor, courses: Iterable[Course[Any]], at_once: int = 1 << 30) -> Iterator[Event]:
    """Run courses side by side to their ends, `at_once` new ones a round; yields their events."""
    waiting = [*courses][::-1]
    ready: dict[Course[Any], Any] = {}  # course: the result of its last call
    resting: dict[Course[Any], float] = {}  # course: when to go on
    while waiting or ready or resting:
        ready |= {waiting.pop(): None for _ in range(min(at_once, len(waiting)))}
        if not ready:
            time.sleep(max(0.0, min(resting.values()) - time.monotonic()) + TOGETHER)
        now = time.monotonic()
        ready |= {course: None for course, moment in resting.items() if moment <= now}
        calls = {}
        for course, result in ready.items():
            resting.pop(course, None)
            try:
                step = course.send(result)
                while isinstance(step, Event):
                    yield step
                    step = next(course)
            except StopIteration:
                continue
            if isinstance(step, float):
                resting[course] = now + step
            else:
                calls[course] = step
        ready = dict(zip(calls, supervisor.multicall(calls.values()), strict=True))

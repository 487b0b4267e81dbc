"""What the watchdog of a host decides. What it sees and does is in listener.py.

One process watches all apps of a host: a supervisor event listener, told at once of a program that became FATAL, which
otherwise looks every `period` seconds. The signals are the cheapest that are honest, and ask nothing of the project:

- A process that is stopped (SIGSTOP) says so in /proc: its state is T, be it a worker's main process, one of its
  children or beat.
- A worker whose main process hangs does not answer Celery's own broadcast `ping`, which is one PUBLISH for all workers
  of a broker and one list to read; `celery inspect ping` would start a Python of 25 MB for 0.4 s each time. Children
  answer nothing, so one that is busy with long tasks answers as ever. A pool that answers only between two tasks (solo,
  gevent) is not judged by its silence.
- A worker that answers but does not consume leaves its queue to grow, while no task is delivered (`unacked` is
  empty) and none begins (its `stats`).
- What ends by itself MANY times, each time before it has lived for a minute, is in a loop that supervisord goes on
  with; that is told, and left to it. supervisord tells what was stopped, so that a restart by a person is none.
- Beat sleeps no longer than its longest interval, 30 s by our module celeryhost_beat, which has /proc show each tick. A
  beat without it is one that does not tick when it has not once been woken for longer.

A worker or beat is restarted by TERM (and CONT, so that a stopped one can end its tasks) and, after its stopwaitsecs,
KILL; supervisord's autorestart brings it back. So nothing is ever stopped that a watchdog killed half way would
have to start again, and what a person has stopped is nobody's to start. Silence is no fault of a program while its
broker does not answer, nor of any when the watchdog itself was asleep.
"""

from __future__ import annotations

from collections import namedtuple

from ..celery.remote_control import Broker

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


LONGEST_SLEEP = 30  # seconds of beat, as scripts/inside/celeryhost_beat.py has it

Rules = namedtuple(
    "Rules",
    "period frozen silent unread start margin backoff per_hour away lives",
    defaults=(15, 30, 45, 60, 90, 30, 60, 4, 60, 60),
)
Rules.__doc__ = """In seconds: between two looks; a process may be stopped, a worker silent, a queue untouched; a worker
may take to start; beat may be late; from one restart of a program to its next, doubled each time (and until a FATAL
one is started); a broker may be away before a person is told; what `lives` so long is no loop. `per_hour` bounds the
restarts of one program."""

Program = namedtuple(
    "Program", "name kind broker grace tick threads transport", defaults=(None, 10, LONGEST_SLEEP, False, "")
)
Program.__doc__ = """A program to look after: `kind` is worker, beat, other, or foreign (which is never started),
`broker` its URL, `grace` the seconds that it may take to end, `tick` the longest that a beat sleeps, `threads` whether
a worker's pool is of threads, `transport` how its broker's keys are named (remote_control.Keys)."""

Sight = namedtuple("Sight", "state pid spawnerr frozen forked wakeups", defaults=(0, "", "", False, None))
Sight.__doc__ = """A process now: `frozen` says which of its processes is stopped, if any; `forked`, whether it has
children; `wakeups` changes when it has ticked, or slept and woken (None: not to be judged by that)."""

Action = namedtuple("Action", "kind program text", defaults=("",))
Action.__doc__ = """What is done (start, end, kill), or an event to tell of (frozen, silent, unread, late, fatal, loop,
bound, away, recovered; `note` is for the log), in the words `text`."""

SIGNALS = {"end": ("TERM", "CONT"), "kill": ("KILL",)}
KILL_AGAIN = 10  # seconds
MANY = 3  # ends that make a loop
HOUR = 3600


class Watch:
    """What is remembered from look to look. Times are those of one monotonic clock, in seconds."""

    def __init__(self, programs: Iterable[Program], rules: Rules = Rules()) -> None:  # noqa: B008 - immutable
        self.rules = rules
        self.programs = {program.name: _Watched(program, rules) for program in programs}
        self.away: dict[str, _Away] = {}
        self.last: float | None = None

    def decide(self, now: float, sights: dict[str, Sight], brokers: dict[str, Broker | None]) -> list[Action]:
        """What is to be done about all programs (name: Sight) and brokers (URL: None when it does not answer)."""
        slept = self.last is not None and now - self.last > 3 * self.rules.period
        self.last = now
        actions: list[Action] = []
        for url, broker in brokers.items():
            actions += self.away.setdefault(url, _Away(url)).look(now, broker, self.rules)
        for name, sight in sights.items():
            watched = self.programs.setdefault(name, _Watched(Program(name, "foreign"), self.rules))
            url = watched.program.broker
            answers = url not in brokers or brokers[url] is not None
            actions += watched.look(now, sight, brokers.get(url), answers, slept)
        return actions

    def stopped(self, name: str, now: float) -> None:
        """Somebody has had supervisord stop a program; it may run again by the next look."""
        if name in self.programs:
            self.programs[name].stopped(now)

    def doubtful(self, now: float) -> set[str]:
        """The workers that should be asked what they have done, since their queue seems untouched."""
        return {name for name, watched in self.programs.items() if watched.doubtful(now)}


class _Away:
    """A broker that does not answer."""

    def __init__(self, url: str) -> None:
        self.name = url.partition("//")[2].rpartition("@")[2]
        self.since: float | None = None
        self.told = False

    def look(self, now: float, broker: Broker | None, rules: Rules) -> Iterator[Action]:
        if broker is not None:
            if self.told:
                yield Action("recovered", "", f"Redis at {self.name} answers again")
            self.since, self.told = None, False
        elif self.since is None:
            self.since = now
        elif not self.told and now - self.since >= rules.away:
            self.told = True
            yield Action("away", "", f"Redis at {self.name} does not answer; no program is restarted for that")


class _Watched:
    """One program."""

    def __init__(self, program: Program, rules: Rules) -> None:
        self.program = program
        self.rules = rules
        self.pid = 0
        self.trouble = ""  # what a person was told and is not over
        self.due = 0.0  # when a FATAL one may be started
        self.spent: list[float] = []  # when it was restarted, in the last hour
        self.heard = False  # whether it has ever answered
        self.noted = False  # that it never has
        self.deadline: float | None = None  # when one that was told to end is killed
        self.life = 0, 0.0  # its last pid, and when that was first seen
        self.ends = 0  # how many short lives it has had since

    def look(self, now: float, sight: Sight, broker: Broker | None, answers: bool, slept: bool) -> Iterator[Action]:
        if self.program.kind != "foreign":
            yield from self.loop(now, sight)
        if sight.state == "FATAL":
            yield from self.fatal(now, sight, answers)
        elif sight.state == "RUNNING" and self.program.kind != "foreign":
            yield from self.running(now, sight, broker, answers, slept)
        elif sight.state == "RUNNING" and self.trouble:
            yield self.recovered()
        elif sight.state == "STOPPED":
            self.trouble = ""
        if sight.state != "RUNNING":
            self.pid = 0

    def stopped(self, now: float) -> None:
        """What ended because it was told to is no loop."""
        self.ends, self.life = 0, (0, now)
        if self.trouble == "loop":
            self.trouble = ""

    def loop(self, now: float, sight: Sight) -> Iterator[Action]:
        """What ends by itself and is started anew, over and over."""
        pid, since = self.life
        if sight.state in ("STOPPED", "FATAL"):
            self.ends, self.life = 0, (0, now)
        elif sight.pid and sight.pid != pid:
            self.ends += bool(pid) and self.deadline is None
            self.life = sight.pid, now
        elif sight.state == "BACKOFF":
            self.ends += 1
            self.life = 0, now
        elif sight.state == "RUNNING" and now - since >= self.rules.lives:
            self.ends = 0
        if self.ends >= MANY and self.trouble != "loop":
            self.trouble = "loop"
            yield Action("loop", self.program.name, f"ends over and over: {sight.spawnerr or 'see its log'}")

    def fatal(self, now: float, sight: Sight, answers: bool) -> Iterator[Action]:
        if self.trouble != "fatal":
            self.trouble, self.due = "fatal", now + self.rules.backoff
            yield Action("fatal", self.program.name, f"is FATAL: {sight.spawnerr or 'supervisord gave up'}")
        elif self.program.kind != "foreign" and now >= self.due and answers and self.may(now):
            self.spent.append(now)
            yield Action("start", self.program.name, f"started again, {self.count()}")

    def running(self, now: float, sight: Sight, broker: Broker | None, answers: bool, slept: bool) -> Iterator[Action]:
        if sight.pid != self.pid:
            self.begin(now, sight)
        if self.deadline is not None:
            if now >= self.deadline:
                self.deadline = now + KILL_AGAIN
                yield Action("kill", self.program.name, "did not end in time; killed")
            return
        if slept or not answers:
            self.forgive(now)
            return
        self.note(now, sight, broker)
        kind, text = self.reason(now)
        if not kind:
            yield from self.fine(now)
        elif self.may(now):
            self.spent.append(now)
            self.trouble, self.deadline = kind, now + self.program.grace
            yield Action(kind, self.program.name, f"{text}; restarted, {self.count()}")
            yield Action("end", self.program.name)
        elif self.trouble != "bound":
            self.trouble = "bound"
            yield Action("bound", self.program.name, f"{text}, and was restarted a short time ago; it has to wait")

    def begin(self, now: float, sight: Sight) -> None:
        """A process that was not there before."""
        self.pid, self.since, self.deadline = sight.pid, now, None
        self.answered: float | None = None
        self.frozen: tuple[float, str] | None = None
        self.total: int | None = None
        self.forked, self.same, self.waiting = False, 0, 0
        self.wakeups = sight.wakeups
        self.woke = self.stalled = self.untouched = now

    def forgive(self, now: float) -> None:
        """Nothing that lasts is to be laid at its door before now."""
        self.woke = self.stalled = self.untouched = self.since = now
        self.answered = self.answered and now
        self.frozen, self.same = None, 0

    def note(self, now: float, sight: Sight, broker: Broker | None) -> None:
        """Remember since when what lasts."""
        self.frozen = (self.frozen or (now, sight.frozen)) if sight.frozen else None
        if sight.wakeups is None or sight.wakeups != self.wakeups:
            self.wakeups, self.woke = sight.wakeups, now
        if broker is None or self.program.kind != "worker":
            return
        self.forked = self.forked or sight.forked or self.program.threads
        name = self.program.name
        if name in broker.answered:
            self.answered, self.heard = now, True
        waiting = broker.waiting.get(name, 0)
        shrinking = not waiting or waiting < self.waiting
        if shrinking:
            self.stalled = now
        total = broker.totals.get(name, self.total)
        if shrinking or broker.unacked or total != self.total:
            self.untouched, self.same = now, 0
        self.same += name in broker.totals
        self.waiting, self.total = waiting, total

    def reason(self, now: float) -> tuple[str, str]:
        """Why it should be restarted: event and text, both empty when it should not."""
        rules = self.rules
        if self.frozen and now - self.frozen[0] >= rules.frozen:
            return "frozen", f"{self.frozen[1]} has been stopped (SIGSTOP) for {now - self.frozen[0]:.0f} s"
        if self.program.kind == "beat" and now - self.woke >= self.program.tick + rules.margin:
            return "late", f"has not ticked for {now - self.woke:.0f} s"
        if self.program.kind != "worker" or not self.heard or not self.forked:
            return "", ""
        silence = now - (self.since + rules.start if self.answered is None else self.answered)
        if silence >= rules.silent and now - self.stalled >= rules.frozen:
            return "silent", f"does not answer, and {self.waiting} tasks wait in its queues"
        if silence < rules.silent and now - self.untouched >= rules.unread and self.same > 1:
            return "unread", f"answers but takes none of the {self.waiting} tasks in its queues"
        return "", ""

    def fine(self, now: float) -> Iterator[Action]:
        """It runs, and nothing is wrong that one can see: say so where something was."""
        worker = self.program.kind == "worker" and self.program.broker
        settled = now - self.since >= self.rules.silent
        if self.trouble == "loop":
            if not self.ends:
                yield self.recovered()
        elif self.trouble and (self.answered is not None if self.heard and worker else settled):
            yield self.recovered()
        if worker and not self.heard and not self.noted and now - self.since >= self.rules.start + self.rules.silent:
            self.noted = True
            text = "answers no ping (no remote control? a global_keyprefix?): it is only seen when it is stopped"
            yield Action("note", self.program.name, text)

    def recovered(self) -> Action:
        self.trouble = ""
        return Action("recovered", self.program.name, "is well again")

    def doubtful(self, now: float) -> bool:
        return bool(self.pid and self.heard and now - self.untouched >= self.rules.unread / 2)

    def may(self, now: float) -> bool:
        """Whether a restart is within the bounds."""
        self.spent = [moment for moment in self.spent if now - moment < HOUR]
        if not self.spent:
            return True
        rest = self.rules.backoff * 2 ** (len(self.spent) - 1)
        return bool(len(self.spent) < self.rules.per_hour and now - self.spent[-1] >= rest)

    def count(self) -> str:
        return f"{len(self.spent)} of at most {self.rules.per_hour} times in an hour"

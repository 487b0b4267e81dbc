"""A Celery worker or beat as its command, its environment and its log tell of it."""

from __future__ import annotations

from collections import Counter

from ..celery import command_line
from ..celery.active import broker, transport
from ..celery.command_line import option
from ..celery.log_lines import entry_sent, has_succeeded
from ..logs.reader import Line
from ..supervisor.status import Row

WINDOW = 60  # seconds in which tasks are counted
# https://docs.celeryq.dev/en/stable/reference/cli.html#celery-worker: what is written at which --loglevel
DEFAULT_LEVEL = "WARNING"
TELLING_DONE = ("DEBUG", "INFO")
TELLING_FAILED = ("DEBUG", "INFO", "WARNING", "ERROR")


def part(row: Row, command: str, before: Part | None) -> Part | None:
    """The Part that a program (a status.Row) is, None when it is neither worker nor beat.

    `before` is what it was at the last look; what was counted then counts on.
    """
    read = command_line.read(command)
    if read is None:
        return None
    # Several programs may be in one [group:], and several processes of one program are a group.
    name = row.process if f"-{read.name}" in (row.process or "") else row.group
    made = Part(row.name, name.partition(f"-{read.name}")[0], row.pid, read)
    if before:
        made.done, made.failed, made.sent, made.is_logged = before.done, before.failed, before.sent, before.is_logged
    return made


class Part:
    """A worker, a beat, or a worker that is beat too (`-B`)."""

    def __init__(self, program: str, app: str, pid: int | None, command: command_line.Command) -> None:
        words = command.words
        self.program, self.app, self.pid, self.words = program, app, pid, words
        self.is_worker = command.name == "worker"
        self.is_beat = command_line.is_beat(command)
        self.queues = (option(words, "-Q", "--queues") or "celery").split(",")
        level = option(words, "-l", "--loglevel").upper() or DEFAULT_LEVEL
        self.tells_done, self.tells_failed = level in TELLING_DONE, level in TELLING_FAILED
        self.is_logged = False  # its log is there and may be read
        self.done: Counter[int] = Counter()  # second: how many
        self.failed: Counter[int] = Counter()
        self.sent: dict[str, float] = {}  # entry of the schedule: when beat sent it last

    def note(self, line: Line) -> None:
        """Take in a line (logs.Line) of its log."""
        if self.is_beat and (entry := entry_sent(line.text)):
            self.sent[entry] = line.time
        if self.is_worker and (succeeded := has_succeeded(line.text)) is not None:
            (self.done if succeeded else self.failed)[int(line.time)] += 1

    def broker(self) -> str | None:
        """Its broker's address, as active.broker."""
        return broker(self.words, self.pid)

    def transport(self) -> str:
        """How its broker's keys are named, as active.transport."""
        return transport(self.pid)


def count(workers: list[Part], now: float) -> tuple[int | None, int | None]:
    """How many tasks the workers have done, and failed, in the last WINDOW seconds; None where the logs do not tell.

    Of a log that is longer than top.samples.PAST lines a minute, the first minute of looking tells too few.
    """
    totals = []
    for name, tells in (("done", "tells_done"), ("failed", "tells_failed")):
        total = 0
        for worker in workers:
            counts = getattr(worker, name)
            for second in [second for second in counts if second <= now - WINDOW]:
                del counts[second]
            total += sum(counts.values())
        known = workers and all(worker.is_logged and getattr(worker, tells) for worker in workers)
        totals.append(total if known else None)
    return totals[0], totals[1]

"""The faults that need no host: what is killed, restarted, broken or rotated in a Stack, and what came of it."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import time
from collections import namedtuple
from pathlib import Path

from celeryhost.project.rendering import render

from tests.integration.conftest import wait_for

from .disk import Disk
from .stack import NAIVE, OURS, TEMPLATES, Count, Ledger, Stack

Row = namedtuple("Row", "name run kills", defaults=(False,))
Row.__doc__ = """`run(side)` does it to a Stack of its own, or `run(machine)` to a host, and returns a Result.
`kills`: it cuts off running tasks whatever the configuration."""
Result = namedtuple("Result", "sent count again remark", defaults=("",))
Result.__doc__ = "Tasks sent, what became of them (stack.Count), seconds until a task started again, and a remark."

READY = 180  # seconds for the first task to start, on a busy machine
FROZEN = 120  # seconds in which someone has seen it, or nobody looks
# Seconds beyond a task's length without any event that mean: nothing more will come. Of ours all comes, and a worker
# may take a minute to start on a busy machine; the blogs' leaves tasks behind.
QUIET = {OURS: 180, NAIVE: 40}


def under_load(fault, tasks: int, seconds: float, fresh: str | None = None, **options):
    """The run of a row: see `measure`. `options` are the Stack's."""

    def run(side: str) -> Result:
        with Stack(side, **options) as stack:
            return measure(stack, fault, tasks, seconds, fresh)

    return run


def measure(stack: Ledger, fault, tasks: int, seconds: float, fresh: str | None = None, quiet=QUIET) -> Result:
    """Send, wait for the first tasks, `fault(stack)`, wait for the last, or until nothing has happened for `quiet`.

    `fresh` is what tells a task's start after the fault from one before it: another "pid", another "parent", or nothing
    but the time. `fault` returns the time to count from, None: when it began.
    """
    sent = stack.send(tasks, seconds)
    wait_for(lambda: len({note.id for note in stack.notes("started")} & set(sent)) > 3, READY)
    before = {getattr(note, fresh) for note in stack.notes()} if fresh else set()
    begun = time.time()
    since = fault(stack) or begun
    stack.settle(sent, seconds + quiet[stack.side])
    after = [
        note.time
        for note in stack.notes("started")
        if note.time > since and not (fresh and getattr(note, fresh) in before)
    ]
    return Result(len(sent), stack.count(sent), min(after) - since if after else None)


def restart(stack: Stack):
    stack.restart()


def kill_main(stack: Stack):
    os.kill(stack.notes("started")[-1].parent, signal.SIGKILL)


def kill_one_of_two(stack: Stack):
    wait_for(lambda: len({note.parent for note in stack.notes("started")}) == 2, READY)
    kill_main(stack)


def kill_child(stack: Stack):
    os.kill(stack.notes("started")[-1].pid, signal.SIGKILL)


def kill_frozen(tasks: int):
    """A row: an idle worker freezes, tasks are sent, and it is killed."""

    def run(side: str) -> Result:
        with Stack(side) as stack:
            main = idle(stack)
            os.kill(main, signal.SIGSTOP)
            sent = stack.send(tasks, 0)
            begun = time.time()
            os.kill(main, signal.SIGKILL)
            stack.settle(sent, QUIET[side])
            after = [note.time for note in stack.notes("started") if note.id in sent]
            return Result(tasks, stack.count(sent), min(after) - begun if after else None)

    return run


def idle(stack: Stack) -> int:
    """Wait until the worker has nothing to do and waits for Redis to have something; its main process."""
    stack.settle(stack.send(1, 0), READY)
    wait_for(lambda: listens(stack) and not stack.broker.exists("unacked"), READY)
    return stack.notes()[-1].parent


def listens(stack: Stack) -> bool:
    """Whether the worker has taken all that there was and waits for more."""
    return blocked(stack) == (["blmove"] * 4 if stack.side == OURS else ["brpop"])


def blocked(stack: Stack) -> list[str]:
    """The commands that Redis holds back until it has an answer."""
    return [client["cmd"] for client in stack.broker.client_list() if "b" in client["flags"]]


def take_descriptors(stack: Stack):
    """The worker's main process may open nothing more, and then needs a new child."""
    main = stack.daemon.pid("ledger-worker")
    highest = max(int(name) for name in os.listdir(f"/proc/{main}/fd"))
    resource.prlimit(main, resource.RLIMIT_NOFILE, (highest + 1, highest + 1))
    kill_child(stack)


def kill_supervisord(stack: Stack):
    """As where no systemd cleans up behind it."""
    stack.daemon.process.kill()
    stack.daemon.process.wait()
    stack.start_supervisord()


def end_redis(how: signal.Signals, away: float = 0):
    """A fault: end Redis, and start it again after so many seconds."""

    def fault(stack: Stack) -> float:
        stack.redis.send_signal(how)
        stack.redis.wait(60)
        time.sleep(away)
        stack.start_redis()
        return time.time()

    return fault


def beat_row(fault, seconds: float, patience: float = READY, **options):
    """The run of a row: see `measure_beat`. `options` are the Stack's."""

    def run(side: str) -> Result:
        with Stack(side, beat=True, **options) as stack:
            return measure_beat(stack, fault, seconds, patience)

    return run


def measure_beat(stack: Ledger, fault, seconds: float, patience: float = READY) -> Result:
    """Let beat tick each second, `fault(stack)`, wait at most `patience` s for a tick, then so many seconds for more.

    Executed twice are the ticks beyond one a second.
    """
    begun = time.time()
    wait_for(lambda: len(_ticks(stack, begun)) > 4, READY)
    faulted = time.time()
    fault(stack)
    settled = time.time() + 1
    end = time.monotonic() + patience
    while not _ticks(stack, settled) and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(seconds)
    after = _ticks(stack, settled)
    surplus = max(0, len(after) - int(after[-1] - after[0]) - 2) if after else 0
    count = Count(0, 0, surplus, 0, len(stack.orphans()))
    sent = len(_ticks(stack, begun))
    return Result(sent, count, *([after[0] - faulted] if after else [None, f"no tick for {patience} s"]))


def _ticks(stack: Ledger, since: float) -> list[float]:
    return [note.time for note in stack.notes("tick") if note.time > since]


def turn_clock(seconds: int):
    """A fault: beat's clock is set forward, or back."""
    return lambda stack: stack.turn_clock(seconds)


def kill_beat(stack: Stack):
    os.kill(stack.daemon.pid("ledger-beat"), signal.SIGKILL)


def break_schedule(stack: Stack):
    """Beat is killed, and its schedule is not what shelve or this Celery can read."""
    kill_beat(stack)
    for place in (stack.folder / "data" / "beat-schedule", stack.folder / "celerybeat-schedule"):
        if place.exists():
            place.write_bytes(b"\x13\x57\x9a\xce" * 4096)


def rotate(lines: int, rate: int):
    """A row: a task that logs so many lines a second while logrotate works on the file five times.

    Sent, lost and executed twice are lines here. Beside our rotation stands copytruncate, which needs no signal either.
    """

    def run(side: str) -> Result:
        with Stack(side) as stack:
            [log] = stack.logs
            rules = stack.folder / "logrotate.conf"
            if side == OURS:
                app = {"user": "root", "workers": [{"log": log}], "beat": None}
                size = {"machine_log_size": "10M", "celery_log_keep": 8}
                text = render(TEMPLATES, "celery.logrotate.j2", app=app, **size)
                rules.write_text(text.replace(" supervisor\n", " root\n"))  # there is no such group here
            else:
                rules.write_text(f"{log} {{\nsu root adm\nweekly\nrotate 8\ncopytruncate\n}}\n")
            sent = stack.send(1, lines, rate, task="say")
            wait_for(lambda: stack.notes("started"), READY)
            for _ in range(5):
                time.sleep(lines / rate / 6)
                command = ["logrotate", "--force", "--state", stack.folder / "state", rules]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                assert done.returncode == 0, done.stderr
            stack.settle(sent, READY)
            wait_for(lambda: f"line {lines - 1}." in _text(stack), READY)
            found = re.findall(r"line (\d+)\.", _text(stack))
            count = Count(lines - len(set(found)), 0, len(found) - len(set(found)), 0, len(stack.orphans()))
            return Result(lines, count, None, "lines of a log")

    return run


def cut_disk(seconds: float, cuts: int):
    """A row: Redis alone, on a disk that loses power while tasks are sent; what is on it then is found again."""

    def run(side: str) -> Result:
        sent, lost, longest, delayed = 0, 0, 0.0, 0
        for _ in range(cuts):
            with _on_disk(side) as (stack, disk):
                published = []
                while not published or published[-1][0] < published[0][0] + seconds:
                    published += [(time.time(), task) for task in stack.send(1, 0, task="never")]
                    time.sleep(0.002)
                delayed += stack.broker.info("persistence").get("aof_delayed_fsync", 0)
                cut = time.time()
                disk.cut(stack.folder / "cut")
                _unmount(stack)
                _mount(stack, stack.folder / "cut")
                left = b"".join(stack.broker.lrange("celery", 0, -1)).decode()
                missing = [when for when, task in published if task not in left]
                sent += len(published)
                lost += len(missing)
                longest = max([longest, *(cut - when for when in missing)])
        said = f"{cuts} cuts; the oldest lost was {longest:.2f} s old; {delayed} writes waited for a slow fsync"
        return Result(sent, Count(lost, 0, 0, 0, 0), None, said)

    return run


def on_small_disk(fault, tasks: int, seconds: float):
    """The run of a row: see `measure`; Redis has its data on a disk of 8 MB."""

    def run(side: str) -> Result:
        with contextlib.ExitStack() as undo:
            stack = Stack(side)
            undo.push(stack)
            small = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", stack.folder / "redis"]
            subprocess.run(small, check=True, timeout=READY)
            undo.callback(_unmount, stack)
            stack.start_redis()
            stack.start_supervisord()
            return measure(stack, fault, tasks, seconds)

    return run


def fill_disk(stack: Stack) -> float:
    """Nothing more can be written for 20 s."""
    filler = stack.folder / "redis" / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    time.sleep(20)
    filler.unlink()
    return time.time()


@contextlib.contextmanager
def _on_disk(side: str):
    """The Redis of a Stack on a disk of its own, and that disk; nothing else is started."""
    with contextlib.ExitStack() as undo:
        stack = Stack(side)
        undo.push(stack)
        disk = undo.enter_context(Disk(stack.folder / "disk", 64 << 20))
        subprocess.run(["mkfs.ext4", "-q", "-F", disk.file], check=True, timeout=READY)
        undo.callback(_unmount, stack)
        _mount(stack, disk.file)
        yield stack, disk


def _mount(stack: Stack, image: Path):
    """Start Redis on the file system in an image."""
    subprocess.run(["mount", "-o", "loop", image, stack.folder / "redis"], check=True, timeout=READY)
    stack.start_redis()


def _unmount(stack: Stack):
    if stack.redis:
        stack.redis.kill()
        stack.redis.wait()
    subprocess.run(["umount", stack.folder / "redis"], check=True, timeout=READY)


def _text(stack: Stack) -> str:
    names = sorted((stack.folder / "log").glob("worker.log*"))
    read = [subprocess.run(["zcat", "-f", name], capture_output=True, check=True).stdout for name in names]
    return b"".join(read).decode()


LONG = [
    Row("restart, tasks of 0.5 s", under_load(restart, 60, 0.5, "parent")),
    Row("restart, tasks of 15 s", under_load(restart, 20, 15, "parent")),
    Row("restart, tasks of 30 s and a grace of 10 s", under_load(restart, 8, 30, "parent", grace=10)),
    Row("SIGKILL of the worker's main process", under_load(kill_main, 20, 5, "parent")),
    Row("SIGKILL of a frozen, idle worker", kill_frozen(20)),
    Row("SIGKILL of one of two workers", under_load(kill_one_of_two, 30, 5, workers=2)),
    Row("SIGKILL of a pool's child", under_load(kill_child, 20, 5, "pid")),
    Row("SIGKILL of supervisord, no systemd", under_load(kill_supervisord, 20, 5, "parent")),
    Row("Redis restarted", under_load(end_redis(signal.SIGTERM), 200, 0.5)),
    Row("SIGKILL of Redis", under_load(end_redis(signal.SIGKILL), 200, 0.5)),
    Row("Redis away for 60 s", under_load(end_redis(signal.SIGTERM, 60), 200, 0.5)),
    Row("Redis's disk full for 20 s", on_small_disk(fill_disk, 40, 2)),
    Row("out of file descriptors", under_load(take_descriptors, 20, 5, "pid")),
    Row("beat killed", beat_row(kill_beat, 20)),
    Row("beat killed, its schedule file corrupt", beat_row(break_schedule, 20)),
    Row("clock an hour forward", beat_row(turn_clock(3600), 20, clock=True)),
    Row("clock an hour back", beat_row(turn_clock(-3600), 20, FROZEN, clock=True)),
    Row("SIGKILL of supervisord with a beat, no systemd", beat_row(kill_supervisord, 20)),
    Row("logrotate at 1,000 lines/s", rotate(20_000, 1000)),
    Row("power cut, disk keeps what was synced", cut_disk(5, 8)),
]
SHORT = [
    Row("restart", under_load(restart, 30, 0.5, "parent")),
    Row("restart, task longer than the grace", under_load(restart, 8, 6, "parent", grace=2), kills=True),
    Row("worker's main process killed", under_load(kill_main, 12, 2, "parent"), kills=True),
    Row("frozen worker killed", kill_frozen(12)),
    Row("pool's child killed", under_load(kill_child, 12, 2, "pid"), kills=True),
    Row("supervisord killed", under_load(kill_supervisord, 12, 2, "parent")),
    Row("out of file descriptors", under_load(take_descriptors, 12, 2, "pid"), kills=True),
    Row("Redis restarted", under_load(end_redis(signal.SIGTERM), 60, 0.5)),
    Row("Redis killed", under_load(end_redis(signal.SIGKILL), 60, 0.5)),
    Row("beat's schedule corrupt", beat_row(break_schedule, 3)),
    Row("log rotated", rotate(3000, 1000)),
]

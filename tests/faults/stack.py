"""A real supervisord, Redis, worker and beat in a temporary folder, configured by celeryhost or as blogs show it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, namedtuple
from pathlib import Path

import redis
from celery import Celery
from celeryhost import apps
from celeryhost.errors import Failure
from celeryhost.project.rendering import render

from tests.integration.conftest import Daemon, wait_for

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = str(ROOT / "templates")
REDIS = shutil.which("redis-server")
# libfaketime shifts what Python sleeps until, too, so that it does not sleep at all
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    long ahead = 0;
    FILE *file;
    if (clock == CLOCK_REALTIME && (file = fopen(getenv("CLOCK"), "r"))) {
        if (fscanf(file, "%ld", &ahead) == 1)
            now->tv_sec += ahead;
        fclose(file);
    }
    return result;
}
"""
OURS, NAIVE = "celeryhost", "naive"
CONCURRENCY = 4
NAIVE_GRACE = 10  # seconds, Supervisor's default
# /etc/redis/redis.conf of Debian 12, what of it decides
DEBIAN = "save 3600 1 300 100 60 10000\nappendonly no\ndaemonize no\n"

Note = namedtuple("Note", "time event id pid parent")
Count = namedtuple("Count", "lost waiting twice killed orphans")
Count.__doc__ = """What became of the tasks: gone; still in Redis, unacknowledged, for a worker to take up when the
visibility timeout is over; executed more than once; cut off in the middle; processes that nobody looks after."""


class Ledger:
    """What every side has: a ledger, the broker, and something to count. `url` is the broker's."""

    def __init__(self, side: str, ledger: Path, url: str):
        self.side, self.ledger, self.url, self.transport = side, ledger, url, {}
        self.place = ledger  # as its processes name it
        self.broker = redis.Redis.from_url(url)
        self.sender = Celery(broker=url)

    def close(self):
        self.sender.close()
        self.broker.close()

    def send(self, number: int, *args, task: str = "work") -> list[str]:
        """Send tasks; their ids."""
        sent = [f"{task}-{time.time_ns()}-{n}" for n in range(number)]
        for one in sent:
            self.sender.send_task(f"ledger.{task}", args, task_id=one)
        return sent

    def notes(self, event: str | None = None) -> list[Note]:
        """The ledger, or what it says of one event."""
        lines = [line.split() for line in self.ledger.read_text().splitlines()]
        found = [Note(float(when), what, task, int(pid), int(parent)) for when, what, task, pid, parent in lines]
        return [note for note in found if event in (None, note.event)]

    def count(self, sent: list[str]) -> Count:
        """What has become of the tasks by now."""
        ids = set(sent)
        started = Counter(note.id for note in self.notes("started") if note.id in ids)
        ended = Counter(note.id for note in self.notes("ended") if note.id in ids)
        missing = [task for task in sent if not ended[task]]
        prefix = self.transport.get("global_keyprefix", "")
        unacked = self.broker.hvals(prefix + self.transport.get("unacked_key", "unacked"))
        stored = b"".join([*unacked, *self.broker.lrange(f"{prefix}celery", 0, -1)]).decode()
        waiting = [task for task in missing if f'"{task}"' in stored.replace("\\", "")]
        return Count(
            len(missing) - len(waiting),
            len(waiting),
            sum(number > 1 for number in ended.values()),
            sum((started - ended).values()),
            len(self.orphans()),
        )

    def settle(self, sent: list[str], quiet: float, at_most: float = 600):
        """Wait until all have ended, or nothing has happened to them for `quiet` seconds."""
        ids, begun, end = set(sent), time.time(), time.monotonic() + at_most
        while time.monotonic() < end:
            theirs = [note for note in self.notes() if note.id in ids]
            if ids == {note.id for note in theirs if note.event == "ended"}:
                return
            if time.time() - max([begun, *(note.time for note in theirs)]) > quiet:
                return
            time.sleep(0.1)

    def running(self) -> list[int]:
        """Every process that may be this side's."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]

    def processes(self) -> dict[int, int]:
        """Every process of worker and beat: number → its parent's."""
        mark, found = f"LEDGER={self.place}".encode(), {}
        for pid in self.running():
            with contextlib.suppress(OSError):
                entry = Path("/proc", str(pid))
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        return found

    def orphans(self) -> list[int]:
        """Processes that neither a supervisord nor one of its own looks after."""
        found = self.processes()
        return [pid for pid, parent in found.items() if parent not in found and not _is_supervisord(parent)]


class Stack(Ledger):
    """One side of a row; leaving `with` removes it.

    `grace` is a worker's stopwaitsecs, ours only; `transport`, the project's broker_transport_options.
    """

    def __init__(
        self,
        side: str,
        grace: int | None = None,
        beat: bool = False,
        clock: bool = False,
        workers: int = 1,
        transport: dict | None = None,
    ):
        self.temporary = tempfile.TemporaryDirectory(prefix="ch-", dir="/tmp", ignore_cleanup_errors=True)
        self.folder = Path(self.temporary.name)
        self.captured = tempfile.TemporaryDirectory(prefix="ch-", dir="/tmp", ignore_cleanup_errors=True)
        self.daemon = Daemon(self.folder, [sys.executable, "-m", "supervisor.supervisord"])
        self.port = int(self.daemon.url.rpartition(":")[2])  # free once more for Redis: the page is not needed
        config = self.daemon.config.read_text().partition("[inet_http_server]")
        rest = config[2].partition("[rpcinterface:supervisor]")
        self.daemon.config.write_text(config[0] + rest[1] + rest[2])
        super().__init__(side, self.folder / "ledger", f"redis://127.0.0.1:{self.port}/0")
        self.ledger.touch()
        self.redis = None
        app = Path(__file__).with_name("ledger.py").read_text()
        (self.folder / "ledger.py").write_text(f"{app}\napp.conf.broker_transport_options = {transport or {}!r}\n")
        self.transport = transport or {}
        self.sender.conf.broker_transport_options = self.transport
        (self.folder / "redis").mkdir()
        self._write_redis()
        if clock:
            self.turn_clock(0)
        described = self._described(grace, beat and {"environment": self._own_clock() if clock else {}}, workers)
        self.logs = [part["log"] for part in described["workers"]]
        write = self._ours if side == OURS else self._naive
        (self.folder / "conf.d" / "ledger-celery.conf").write_text(write(described))

    def __enter__(self) -> Stack:
        self.start_redis()
        self.start_supervisord()
        return self

    def __exit__(self, *_):
        for process in (self.daemon.process, self.redis):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.close()
        self.temporary.cleanup()
        self.captured.cleanup()

    def start_redis(self):
        """Start it and wait until it has its data."""
        self.redis = subprocess.Popen([REDIS, self.folder / "redis.conf"], stdout=subprocess.DEVNULL)
        wait_for(self._answers)

    def start_supervisord(self):
        """Start it, as systemd does at boot and when it has died."""
        (self.folder / "s").unlink(missing_ok=True)
        self.daemon.process = None
        self.daemon.start(until=("STARTING", "RUNNING", "BACKOFF"))

    def turn_clock(self, seconds: int):
        """Set the clock of beat, one made with `clock`, so far ahead of the real one."""
        (self.folder / "clock").write_text(f"{seconds:+d}\n")

    def _own_clock(self) -> dict[str, str]:
        """The environment of a process whose time of day is the one of `turn_clock`; needs a C compiler."""
        source, library = self.folder / "clock.c", self.folder / "clock.so"
        source.write_text(CLOCK)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return {"LD_PRELOAD": str(library), "CLOCK": str(self.folder / "clock")}

    def restart(self, program: str = "ledger-worker"):
        """As a person does it: our command, or Supervisor's."""
        if self.side == OURS:
            command = self.daemon.argv("restart", program)
        else:
            command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", "supervisord.conf", "restart", program]
        subprocess.run(command, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=600, check=True)

    def _answers(self) -> bool:
        try:
            return self.broker.ping()
        except redis.exceptions.RedisError:
            if self.redis.poll() is not None:
                raise Failure(f"Redis ended: {(self.folder / 'redis.log').read_text()[-500:]}") from None
            return False

    def _write_redis(self):
        base = f"{DEBIAN}port {self.port}\nbind 127.0.0.1\ndir {self.folder}/redis\nlogfile {self.folder}/redis.log\n"
        if self.side == OURS:
            (self.folder / "debian.conf").write_text(base)
            base = render(
                TEMPLATES,
                "redis.conf.j2",
                redis_is_shared=False,
                redis_includes=[f"{self.folder}/debian.conf"],
                redis_bind="127.0.0.1",
                redis_port=self.port,
                redis_maxmemory="256mb",
            )
        (self.folder / "redis.conf").write_text(base)

    def _described(self, grace: int | None, beat, workers: int) -> dict:
        names = [None, *map(str, range(2, workers + 1))]
        described = apps.describe(
            {
                "name": "ledger",
                "directory": str(self.folder),
                "virtualenv": sys.prefix,
                "logs": f"{self.folder}/log",
                "captured": self.captured.name,
                "data": f"{self.folder}/data",
                "environment": {"LEDGER": str(self.ledger), "PYTHONPATH": str(self.folder)},
                "workers": [{"name": name, "concurrency": CONCURRENCY, "stopwaitsecs": grace} for name in names],
                "beat": beat,
            }
        )
        (self.folder / "data").mkdir()
        described["user"] = None
        described["transport_options"] = self.transport
        described["support"] = str(ROOT / "cli" / "celeryhost" / "scripts" / "inside")
        return described

    def _ours(self, described: dict) -> str:
        return render(TEMPLATES, "celery.conf.j2", app=described, broker_url=self.url, release=None, celery_startsecs=5)

    def _naive(self, described: dict) -> str:
        """After Celery's extra/supervisord and the many posts that copy it with Supervisor's own stopwaitsecs."""
        text = ""
        parts = [("worker", f" --concurrency={CONCURRENCY} -n {w['program']}@%%h", w) for w in described["workers"]]
        for name, options, part in [*parts, *([("beat", "", described["beat"])] if described["beat"] else [])]:
            environment = part["environment"] | {"LEDGER": self.ledger, "CELERY_BROKER_URL": self.url}
            text += f"""
[program:{part["program"]}]
command={sys.prefix}/bin/celery -A ledger {name} --loglevel=INFO{options}
directory={self.folder}
environment={",".join(f'{key}="{value}"' for key, value in environment.items())}
stdout_logfile={part["log"]}
redirect_stderr=true
autostart=true
autorestart=true
startsecs=10
stopwaitsecs={NAIVE_GRACE}
"""
        return text


def _is_supervisord(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"supervisord" in Path("/proc", str(pid), "cmdline").read_bytes()
    return False

"""The watchdog, as supervisord's event listener, over a real Redis, worker and beat."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import wait_for

CELERY = Path(sys.executable).with_name("celery")
INSIDE = Path(__file__).resolve().parents[2] / "cli" / "celeryhost" / "scripts" / "inside"
# As on a host, but for the times.
QUICK = {"period": 0.3, "frozen": 0.6, "silent": 2, "unread": 2, "start": 4, "backoff": 0.5, "away": 1, "per_hour": 2}
APP = """
import signal
import time
from celery import Celery
from celery.signals import beat_init, worker_ready
app = Celery("shop")
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    beat_schedule={"tick": {"task": "shop.tick", "schedule": 1.0, "options": {"queue": "ticks"}}},
)

@app.task
def work(number, seconds):
    time.sleep(seconds)
    with open("done", "a") as ledger:
        print(number, file=ledger)

@app.task
def tick():
    pass

@worker_ready.connect
@beat_init.connect
def on_signal(sender, **_):
    # It hangs and wakes up all the time, as psycopg does while it waits for a database.
    signal.signal(signal.SIGUSR2, lambda *_: [time.sleep(0.1) for _ in range(10000)])
    if hasattr(sender, "task_consumer"):
        signal.signal(signal.SIGHUP, lambda *_: sender.task_consumer.cancel())
"""


class Host:
    """An app `shop` with a watchdog under a supervisord."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.told = daemon.folder / "told"
        self.log = daemon.folder / "log" / "watchdog.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        (daemon.folder / "shop.py").write_text(APP)
        (daemon.folder / "tell").write_text(
            f'#!/bin/sh\nread line\necho "$CELERYHOST_EVENT $CELERYHOST_PROGRAM: $line" >>{self.told}\n'
        )
        (daemon.folder / "tell").chmod(0o755)
        redis = shutil.which("redis-server")
        if not redis:
            pytest.skip("redis-server is missing")
        daemon.program("redis", f"{redis} --port {self.port} --bind 127.0.0.1 --save ''", priority=1)
        self.watched = []

    def program(self, name, command, startretries=3, **known):
        environment = f'CELERY_BROKER_URL="{self.url}",PYTHONPATH="{INSIDE}"'
        settings = {"directory": self.daemon.folder, "environment": environment, "autorestart": "true"}
        self.daemon.program(
            f"shop-{name}", command, killasgroup="true", startsecs=1, startretries=startretries, **settings
        )
        kind = name if name in ("worker", "beat") else "other"
        self.watched.append({"name": f"shop-{name}", "kind": kind, "broker": self.url} | known)
        return self

    def worker(self, pool="-c 2", grace=20):
        command = f"{CELERY} -A shop worker -n shop-worker@%%h {pool} -l INFO -I celeryhost_worker"
        return self.program("worker", command, grace=grace)

    def start(self, until=("RUNNING",), webhook="", **rules):
        settings = {"programs": self.watched, "command": [f"{self.daemon.folder}/tell"], "webhook": webhook}
        secrets = json.dumps(settings | {"rules": QUICK | rules})
        environment = f"CELERYHOST_WATCHDOG_SECRETS='{secrets}'"
        path = self.daemon.program(
            "watchdog",
            f"{sys.executable} -m celeryhost watchdog",
            kind="eventlistener",
            events="PROCESS_STATE_FATAL,PROCESS_STATE_STOPPED",
            environment=environment,
            stdout_logfile="NONE",
            stderr_logfile=self.log,
        )
        path.write_text(path.read_text().replace("redirect_stderr=true\n", ""))
        self.daemon.start(until=until)
        return self

    def ready(self):
        log = self.daemon.folder / "log" / "shop-worker.log"
        wait_for(lambda: " ready." in log.read_text(), 180)
        wait_for(lambda: self.redis("SMEMBERS", "_kombu.binding.reply.celery.pidbox"))
        return self

    def redis(self, *words) -> str:
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def send(self, count, seconds=0.1):
        code = f"import shop\nfor number in range({count}): shop.work.delay(number, {seconds})"
        environment = os.environ | {"CELERY_BROKER_URL": self.url}
        subprocess.run([sys.executable, "-c", code], cwd=self.daemon.folder, env=environment, check=True)

    def done(self) -> list[int]:
        try:
            return sorted(int(number) for number in (self.daemon.folder / "done").read_text().split())
        except FileNotFoundError:
            return []

    def events(self) -> list[str]:
        return self.told.read_text().splitlines() if self.told.exists() else []

    def kinds(self, program) -> list[str]:
        return [line.split(" ", 1)[0] for line in self.events() if line.split(" ", 2)[1] == f"{program}:"]

    def looks(self, count=6):
        """Wait until the watchdog has looked `count` more times: each look sends a question."""

        def looked():
            return int(self.redis("INFO", "commandstats").partition("cmdstat_hlen:calls=")[2].split(",")[0])

        before = looked()
        wait_for(lambda: looked() >= before + count)


@pytest.fixture
def host(daemon):
    made = Host(daemon)
    yield made
    print(made.log.read_text(), *made.events(), sep="\n")
    for process in made.daemon.known() if daemon.process else ():
        with contextlib.suppress(ProcessLookupError):
            if process.pid:
                os.kill(process.pid, signal.SIGCONT)


def test_frozen_worker_is_restarted_and_loses_nothing(host):
    host.worker().start().ready()
    first = host.daemon.pid("shop-worker")
    host.send(20, 0.2)
    wait_for(lambda: len(host.done()) >= 2)
    os.kill(first, signal.SIGSTOP)
    wait_for(lambda: host.daemon.pid("shop-worker") not in (0, first), 180)
    wait_for(lambda: set(host.done()) == set(range(20)), 180)
    assert host.done() == list(range(20))  # none twice
    wait_for(lambda: host.kinds("shop-worker") == ["frozen", "recovered"])
    assert "its main process has been stopped (SIGSTOP)" in host.events()[0]


def test_worker_that_does_not_consume_and_one_that_hangs(host):
    host.worker(grace=5).start().ready()
    host.looks()
    first = host.daemon.pid("shop-worker")
    os.kill(first, signal.SIGHUP)
    host.looks(1)
    host.send(5)
    wait_for(lambda: host.done() == list(range(5)), 180)
    wait_for(lambda: host.kinds("shop-worker")[-1] == "recovered")
    assert host.kinds("shop-worker")[0] == "unread"

    second = host.daemon.pid("shop-worker")
    os.kill(second, signal.SIGUSR2)
    host.looks(8)
    assert host.daemon.pid("shop-worker") == second  # no harm while nothing waits
    host.send(5)
    wait_for(lambda: host.daemon.pid("shop-worker") not in (0, second), 180)
    wait_for(lambda: len(host.done()) == 10, 180)
    assert "silent" in host.kinds("shop-worker")


def beats(host):
    """The pids of programs that are beat, not waiting in flock for their turn."""
    pids = [host.daemon.pid(name) for name in ("shop-beat", "shop-standby")]
    return [pid for pid in pids if pid and Path(f"/proc/{pid}/comm").read_text() != "flock\n"]


def test_beat_ticks_again_and_alone(host, root):
    module = root / "cli" / "celeryhost" / "scripts" / "inside" / "celeryhost_beat.py"
    command = f"/usr/bin/flock -F beat.lock {sys.executable} {module} {CELERY} -A shop beat -s schedule"
    for name in ("beat", "standby"):
        host.program(name, command, kind="beat", tick=2)
    host.start(margin=4)
    for how, told in (("SIGSTOP", "frozen"), ("SIGUSR2", "late")):
        ticks = int(host.redis("LLEN", "ticks"))
        wait_for(lambda ticks=ticks: int(host.redis("LLEN", "ticks")) >= ticks + 2)
        [first] = beats(host)
        os.kill(first, getattr(signal, how))
        wait_for(lambda told=told: any(line.startswith(told) for line in host.events()))
        ticks = int(host.redis("LLEN", "ticks"))
        wait_for(lambda ticks=ticks: int(host.redis("LLEN", "ticks")) >= ticks + 2)
        assert len(beats(host)) == 1
    host.looks()
    troubles = [line.split()[0] for line in host.events() if not line.startswith("recovered")]
    assert troubles == ["frozen", "late"]  # the one that waits for its turn is not late


def test_fatal_is_told_once_and_tried_within_bounds(host):
    tries = host.daemon.folder / "tries"
    host.daemon.program("foreign", "/bin/false", startretries=0, startsecs=1)
    fails = f"{sys.executable} -c \"open('{tries}', 'a').write('x'); exit(1)\""
    host.program("web", fails, startretries=0)
    heard = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host.start(until=("RUNNING", "FATAL"), webhook=f"http://127.0.0.1:{server.server_port}/token-of-the-hook")
        assert "token-of" not in Path(f"/proc/{host.daemon.pid('watchdog')}/cmdline").read_text()
        wait_for(lambda: tries.exists() and tries.read_text() == "xxx")
        host.looks(8)
        wait_for(lambda: len(heard) == 2)
        server.shutdown()
    assert tries.read_text() == "xxx"
    assert sorted(line.split(":")[0] for line in host.events()) == ["fatal foreign", "fatal shop-web"]
    assert {path for path, _ in heard} == {"/token-of-the-hook"}
    assert sorted((body["event"], body["program"]) for _, body in heard) == [
        ("fatal", "foreign"),
        ("fatal", "shop-web"),
    ]
    assert "token-of" not in host.log.read_text()


def test_left_alone(host):
    """Long tasks, Redis away, a stop by hand."""
    host.worker("-c 1").start(backoff=0).ready()
    host.looks(2)
    first = host.daemon.pid("shop-worker")
    host.send(3, 5)
    host.looks(8)
    assert int(host.redis("LLEN", "celery")) >= 1
    host.daemon.rpc.call("stopProcess", "redis", True)
    wait_for(lambda: host.kinds("") == ["away"])
    os.kill(first, signal.SIGSTOP)
    log = host.log.read_text()
    with pytest.raises(AssertionError):
        wait_for(lambda: host.daemon.pid("shop-worker") != first or host.log.read_text() != log, 3)
    os.kill(first, signal.SIGCONT)
    host.daemon.rpc.call("startProcess", "redis", True)
    wait_for(lambda: host.kinds("") == ["away", "recovered"])
    host.looks(8)
    assert host.daemon.pid("shop-worker") == first
    host.daemon.rpc.call("stopProcess", "shop-worker", True)
    host.looks(8)
    assert host.daemon.state("shop-worker") == "STOPPED"
    assert len(host.events()) == 2


def test_restarts_by_hand_are_no_loop(host):
    """Quicker than it looks, but for the last, which ends by itself."""
    host.program("web", "/bin/sleep 1000").worker("-c 1").start(period=3, lives=1000).ready()
    host.looks(1)
    for _ in range(4):
        first = host.daemon.pid("shop-web")
        host.daemon.rpc.call("stopProcess", "shop-web", True)
        host.daemon.rpc.call("startProcess", "shop-web", True)
        assert host.daemon.pid("shop-web") != first
        host.looks(1)
    assert host.events() == []
    for _ in range(3):
        first = host.daemon.pid("shop-web")
        os.kill(first, signal.SIGKILL)
        wait_for(lambda first=first: host.daemon.pid("shop-web") not in (0, first))
        host.looks(1)
    wait_for(lambda: host.kinds("shop-web") == ["loop"])


def test_restarts_are_bounded(host):
    """The main process, while it waits for a task; one of its children; the main process again."""
    host.worker(grace=3).start().ready()
    first = host.daemon.pid("shop-worker")
    os.kill(first, signal.SIGSTOP)
    host.send(5)
    wait_for(lambda: host.done() == list(range(5)), 180)
    wait_for(lambda: host.kinds("shop-worker")[-1] == "recovered")
    second = host.daemon.pid("shop-worker")
    os.kill(int(Path(f"/proc/{second}/task/{second}/children").read_text().split()[0]), signal.SIGSTOP)
    wait_for(lambda: host.daemon.pid("shop-worker") not in (0, second), 180)
    wait_for(lambda: host.daemon.state("shop-worker") == "RUNNING")
    last = host.daemon.pid("shop-worker")
    os.kill(last, signal.SIGSTOP)
    wait_for(lambda: "bound" in host.kinds("shop-worker"))
    host.looks(8)
    assert host.daemon.pid("shop-worker") == last
    assert host.kinds("shop-worker").count("bound") == 1

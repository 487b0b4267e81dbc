"""Restarting a real Celery worker in the middle of a task."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from celeryhost import errors
from celeryhost.celery import active
from conftest import wait_for

JOBS = """
import time
from celery import Celery
app = Celery("jobs", broker=BROKER_OF_PROJECT)
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)
@app.task
def nap(seconds):
    print("nap begins", flush=True)
    time.sleep(seconds)
    print("nap ends", flush=True)
"""
BROKER = "CELERY_BROKER_URL"


@pytest.fixture
def worker(daemon, monkeypatch, request):
    """A Redis and a worker that runs two naps of 6 s; its log. Environment or project names its broker."""
    server = shutil.which("redis-server")
    if not server:
        pytest.skip("redis-server is missing")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, own = f"redis://127.0.0.1:{port}/0", None
    if getattr(request, "param", None) == "project":
        own = url
    else:
        monkeypatch.setenv(BROKER, url)
    (daemon.folder / "jobs.py").write_text(JOBS.replace("BROKER_OF_PROJECT", repr(own)))
    daemon.program("redis", f"{server} --port {port} --bind 127.0.0.1 --save ''", priority=1)
    daemon.program(
        "mysite-worker",
        f"{Path(sys.executable).with_name('celery')} -A jobs worker -n mysite@%%h -c 2 -l info",
        directory=daemon.folder,
        stopwaitsecs=60,
        startsecs=1,
    )
    daemon.start(until=("RUNNING",))
    log = daemon.folder / "log" / "mysite-worker.log"
    wait_for(lambda: " ready." in log.read_text())
    send = "import jobs; jobs.nap.delay(6); jobs.nap.delay(6)"
    subprocess.run([sys.executable, "-c", send], cwd=daemon.folder, check=True, timeout=180)
    wait_for(lambda: log.read_text().count("nap begins") == 2)
    return log


@pytest.mark.parametrize("worker", ["environment", "project"], indirect=True)
def test_running_tasks_end_first(daemon, worker):
    done = daemon.run("restart", "mysite")
    assert done.returncode == errors.OK
    assert "mysite-worker  waiting  lets jobs.nap x2 end, 0 of at most 60 s\n" in done.stdout
    assert worker.read_text().count("nap ends") == 2


def test_redis_is_asked_without_celery_and_keeps_nothing_of_it(daemon, worker):
    process = next(process for process in daemon.known() if process.name == "mysite-worker")
    worker = active.Running(process.name, process.pid, "/nowhere/celery worker -n mysite@%h", None)
    assert active.tasks([worker]) == {"mysite-worker": ["jobs.nap x2"]}
    with redis.Redis.from_url(os.environ[BROKER]) as broker:
        assert not [key for key in broker.scan_iter() if b"reply" in key]


def test_running_tasks_are_left_when_told(daemon, worker):
    done = daemon.run("restart", "mysite", "--no-graceful")
    assert done.returncode == errors.OK
    assert "nap ends" not in worker.read_text()
    wait_for(lambda: worker.read_text().count("nap ends") == 2, 180)  # acknowledged late, so run again


def test_idle_worker_says_nothing_of_tasks(daemon, worker):
    wait_for(lambda: worker.read_text().count("nap ends") == 2, 180)
    done = daemon.run("stop", "mysite-worker")
    assert done.returncode == errors.OK
    assert "lets" not in done.stdout

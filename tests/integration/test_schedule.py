"""`celeryhost schedule`, of the example project under a real supervisord with a real Redis, worker and beat."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from celeryhost import errors
from documented import fields
from outcome import failed
from redis_server import redis_server, url
from sshd import sshd

TREE = Path(__file__).resolve().parents[2]
CELERY = Path(sys.executable).with_name("celery")
ENTRIES = ["check every 3 seconds", "sum at noon", "sum on Monday morning", "tidy every 10 minutes"]


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """The address of a Redis with a password."""
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield url(port)


class Site:
    """A copy of examples/mysite, its worker and its beat under a supervisord."""

    def __init__(self, daemon, broker: str):
        self.daemon = daemon
        self.directory = daemon.folder / "code"
        shutil.copytree(
            TREE / "examples" / "mysite",
            self.directory,
            ignore=shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*"),
        )
        self.store = daemon.folder / "beat-schedule"
        self.environment = {
            "CELERY_BROKER_URL": broker,
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "DJANGO_DATABASE": str(daemon.folder / "db.sqlite3"),
            "DJANGO_TIME_ZONE": "Asia/Seoul",
        }

    def program(self, name: str, command: str, **settings):
        pairs = ",".join(f'{key}="{value}"'.replace("%", "%%") for key, value in self.environment.items())
        settings |= {"directory": self.directory, "environment": pairs}
        if os.getuid() == 0:
            settings["user"] = "root"
        self.daemon.program(name, command, **settings)

    def programs(self, beat: str = "", worker: str = "", **settings):
        log = self.daemon.folder / "log"
        if worker is not None:
            command = (
                f"{CELERY} -A mysite worker -n mysite@%%h -c 1 -P threads -l INFO -f {log}/mysite-worker.log {worker}"
            )
            self.program("mysite-worker", command)
        self.program(
            "mysite-beat",
            f"{CELERY} -A mysite beat -s {self.store} -f {log}/mysite-beat.log -l INFO {beat}",
            **settings,
        )
        return self

    def start(self, until=("RUNNING",)):
        self.daemon.start(until)
        return self

    def log_says(self, program: str, text: str):
        log, end = self.daemon.folder / "log" / f"{program}.log", time.monotonic() + 60
        while not log.exists() or text not in log.read_text():
            assert time.monotonic() < end, log.read_text() if log.exists() else "no log"
            time.sleep(0.1)

    def django(self, code: str):
        """Run a statement in the project, as the admin would."""
        done = subprocess.run(
            [sys.executable, "manage.py", *(["shell", "-c", code] if " " in code else [code])],
            cwd=self.directory,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr

    def schedule(self, *args, **options):
        return self.daemon.run("schedule", *args, **options)

    def read(self, *args) -> dict:
        done = self.schedule("--json", *args)
        assert done.returncode == 0, done.stderr
        data = json.loads(done.stdout)
        assert data["version"] == 1
        [app] = data["apps"]
        assert app.keys() == fields("schedule", "an app")
        for entry in app["entries"]:
            assert entry.keys() == fields("schedule", "an entry")
        return app

    def files(self) -> dict:
        """All that a look must leave alone, with what it holds."""
        left = ("log", "supervisord.log")
        files = filter(Path.is_file, self.daemon.folder.rglob("*"))
        # SQLite's two helpers go with the last one who has the database open.
        paths = [path for path in files if "__pycache__" not in path.parts and path.suffix[-4:] not in ("-shm", "-wal")]
        relative = {path.relative_to(self.daemon.folder): path for path in paths}
        return {name: path.read_bytes() for name, path in relative.items() if name.parts[0] not in left}


@pytest.fixture
def site(daemon, redis):
    return Site(daemon, redis)


def entries(app: dict) -> dict:
    return {entry["name"]: entry for entry in app["entries"]}


def test_the_schedule_of_a_beat_that_runs(site, tmp_path_factory, monkeypatch):
    site.programs().start()
    site.log_says("mysite-beat", "Sending due task check every 3 seconds")
    app = site.read("--next", "3")
    assert (app["app"], app["program"], app["state"]) == ("mysite", "mysite-beat", "RUNNING")
    assert (app["zone"], app["scheduler"]) == ("Asia/Seoul", "celery.beat:PersistentScheduler")
    found = entries(app)
    assert list(found) == ENTRIES
    noon = found["sum at noon"]
    assert (noon["task"], noon["args"], noon["registered"], noon["marks"]) == ("app.tasks.sum", [1, 2], True, [])
    assert noon["words"] == {"en": "At 12:00 every day", "ko": "매일 12:00"}
    assert [moment[1][10:] for moment in noon["next"]] == ["T12:00:00+09:00"] * 3
    assert noon["next"][1][0] - noon["next"][0][0] == 86400
    assert found["sum on Monday morning"]["words"]["en"] == "At 07:30 on Monday"

    text = site.schedule("mysite", "--lang", "ko").stdout
    assert text.startswith("mysite-beat, RUNNING, Asia/Seoul, celery.beat:PersistentScheduler\n이름 ")
    assert "매주 월요일 07:30  app.tasks.sum(3, 4)" in text
    at = site.read("--at", "2027-01-01 12:00", "--next", "1")
    assert entries(at)["sum at noon"]["next"][0][1] == "2027-01-01T12:00:00+09:00"

    site.daemon.rpc.call("stopProcess", "mysite-beat")
    before = site.files()
    app = site.read()
    assert site.files() == before
    ran = entries(app)["check every 3 seconds"]
    assert app["state"] == "STOPPED"
    assert ran["total_run_count"] >= 1
    assert ran["last_run_at"][0] <= time.time()

    failed(site.schedule("mysit"), errors.UNKNOWN, "no app 'mysit' with a beat here; did you mean 'mysite'")
    failed(site.schedule("--", "run"), errors.UNKNOWN, "no app 'run' with a beat here; there is mysite")
    assert site.schedule("run").returncode == errors.USAGE
    assert site.schedule("--at", "noon").returncode == errors.USAGE

    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with sshd(folder / "sshd") as host:
        hosts = {"up": host, "no": {**host, "ansible_port": 1}}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
        options = ["-i", str(folder / "hosts.json"), "-c", str(site.daemon.config)]
        done = site.daemon.run(*options, "schedule", "--json", "mysite")
        assert done.returncode == errors.UNREACHABLE
        [found] = json.loads(done.stdout)["hosts"]
        assert (found["host"], [entry["name"] for entry in found["apps"][0]["entries"]]) == ("up", ENTRIES)
        done = site.daemon.run(*options, "-H", "up", "schedule", "run", "--dry-run", "sum at noon")
        assert (done.returncode, done.stdout) == (0, "up: app.tasks.sum(1, 2)\n"), done.stderr
        done = site.daemon.run(*options, "-H", "up", "schedule", "explain", "--lang=ko", "0 12 * * *")
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "up: 매일 12:00"), done.stderr


def test_an_entry_fired_now(site):
    site.programs().start()
    site.log_says("mysite-worker", "ready.")
    done = site.schedule("run", "--dry-run", "sum on Monday morning")
    assert (done.returncode, done.stdout, done.stderr) == (0, "app.tasks.sum(3, 4)\n", "")
    assert "app.tasks.sum" not in (site.daemon.folder / "log" / "mysite-worker.log").read_text().partition("ready.")[2]
    done = site.schedule("run", "sum on Monday morning")
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert done.stderr.startswith("app.tasks.sum in ")
    site.log_says("mysite-worker", "Task app.tasks.sum")
    failed(site.schedule("run", "sum at non"), errors.UNKNOWN, "no entry 'sum at non'", "did you mean 'sum at noon'")

    late = site.directory / "app" / "tasks.py"
    code = "@shared_task\ndef new(): pass\n\napp.conf.beat_schedule['new'] = {'task': 'app.tasks.new', 'schedule': 9}"
    late.write_text(f"{late.read_text()}\n\n{code}\n")
    new = entries(site.read())["new"]
    assert (new["registered"], new["witness"]) == (False, "workers"), "the worker was started before it was written"
    assert [mark["code"] for mark in new["marks"]] == ["unregistered"]
    site.daemon.rpc.call("stopProcess", "mysite-worker")
    new = entries(site.read())["new"]
    assert (new["registered"], new["witness"], new["marks"]) == (True, "project", [])


def test_entries_of_the_admin(site):
    site.environment["MYSITE_SCHEDULE_IN_DATABASE"] = "1"
    site.django("migrate")
    site.programs("--max-interval 1").start()
    site.log_says("mysite-beat", "beat: Starting")
    site.log_says("mysite-worker", "ready.")
    site.django(
        "from django_celery_beat.models import *\n"
        "each = CrontabSchedule.objects.create(hour='7', day_of_week='1', timezone='Europe/Berlin')\n"
        "PeriodicTask.objects.create(name='half done', task='app.tasks.gone', crontab=each)\n"
        "never = CrontabSchedule.objects.create(minute='0', hour='0', day_of_month='31', month_of_year='2')\n"
        "PeriodicTask.objects.create(name='never', task='app.tasks.tidy', crontab=never)\n"
        "often = IntervalSchedule.objects.create(every=1, period='seconds')\n"
        "PeriodicTask.objects.create(name='often', task='app.tasks.sum', args='[5, 6]', interval=often)\n"
        "PeriodicTask.objects.create(name='off', task='app.tasks.tidy', interval=often, enabled=False)\n"
        "from datetime import datetime, timezone\n"
        "once = ClockedSchedule.objects.create(clocked_time=datetime(2099, 5, 1, tzinfo=timezone.utc))\n"
        "PeriodicTask.objects.create(name='once', task='app.tasks.tidy', clocked=once, one_off=True)\n"
    )
    site.log_says("mysite-beat", "Sending due task often")
    site.daemon.rpc.call("stopProcess", "mysite-beat")
    before = site.files()
    app = site.read("--next", "2")
    assert site.files() == before
    found = entries(app)
    assert app["scheduler"] == "django_celery_beat.schedulers:DatabaseScheduler"
    assert set(ENTRIES) < set(found)
    assert found["half done"]["zone"] == "Europe/Berlin"
    assert [mark["code"] for mark in found["half done"]["marks"]] == ["unregistered", "every-minute"]
    assert found["never"]["next"] == []
    assert [mark["code"] for mark in found["never"]["marks"]] == ["never"]
    assert (found["often"]["args"], found["often"]["total_run_count"] > 0) == ([5, 6], True)
    assert (found["off"]["enabled"], found["off"]["next"]) == (False, [])
    assert [moment[1] for moment in found["once"]["next"]] == ["2099-05-01T09:00:00+09:00"]
    text = site.schedule().stdout
    assert "    ! no worker that reads its queue has a task 'app.tasks.gone': it would be refused\n" in text
    assert "disabled" in text

    done = site.schedule("run", "often")
    assert (done.returncode, done.stdout) == (0, "11\n"), done.stderr


def test_runs_that_were_missed(site):
    site.programs(worker=None).start()
    site.log_says("mysite-beat", "Sending due task check every 3 seconds")
    assert entries(site.read())["check every 3 seconds"]["missed"] is None
    stopped = time.time()
    site.daemon.rpc.call("stopProcess", "mysite-beat")
    time.sleep(7)
    missed = entries(site.read())["check every 3 seconds"]["missed"]
    assert 2 <= missed["count"] <= 10
    assert (missed["more"], missed["late"]) == (False, False)
    assert missed["first"][0] < missed["last"][0] <= time.time()
    monday = entries(site.read())["sum on Monday morning"]["missed"]
    assert monday is None or monday["first"][0] > stopped, "unless it is Monday morning now"
    assert "    ! missed " in site.schedule().stdout

    site.daemon.rpc.call("startProcess", "mysite-beat")
    missed = entries(site.read())["check every 3 seconds"]["missed"]
    assert missed["late"] is True


def test_the_store_of_an_older_beat(site):
    """A beat away for three days: what its store holds says what was missed."""
    site.programs(worker=None, autostart="false").start(until=("STOPPED",))
    ago = datetime.now(timezone.utc) - timedelta(days=3)
    code = (
        "import datetime, shelve, sys\n"
        "from mysite.celery import app\n"
        "from celery.beat import PersistentScheduler\n"
        f"beat = PersistentScheduler(app, schedule_filename={str(site.store)!r})\n"
        f"beat.schedule['sum at noon'].last_run_at = datetime.datetime.fromisoformat({ago.isoformat()!r})\n"
        "beat.schedule['sum at noon'].total_run_count = 17\n"
        "beat.close()\n"
    )
    site.django(code)
    noon = entries(site.read())["sum at noon"]
    assert noon["total_run_count"] == 17
    assert abs(noon["last_run_at"][0] - ago.timestamp()) < 1
    assert noon["missed"]["count"] == 3
    assert [noon["missed"][end][1][10:] for end in ("first", "last")] == ["T12:00:00+09:00"] * 2


def test_beat_inside_a_worker(site):
    site.programs(worker=f"-B -s {site.store} --scheduler celery.beat:Scheduler")
    (site.daemon.folder / "conf.d" / "mysite-beat.conf").unlink()
    site.program("queue-worker", f"{CELERY} -A mysite worker -Q beat")
    app = site.read()
    assert (app["program"], app["state"], app["scheduler"]) == ("mysite-worker", None, "celery.beat:Scheduler")
    assert list(entries(app)) == ENTRIES


def test_a_project_that_no_supervisord_knows(site):
    options = {"cwd": site.directory, "env": {**site.environment, "VIRTUAL_ENV": sys.prefix}}
    done = site.schedule(".", "--json", **options)
    assert done.returncode == 0, done.stderr
    [app] = json.loads(done.stdout)["apps"]
    assert [entry["name"] for entry in app["entries"]] == ENTRIES
    assert app["zone"] == "Asia/Seoul"


def test_no_beat(site):
    site.programs()
    (site.daemon.folder / "conf.d" / "mysite-beat.conf").unlink()
    failed(site.schedule(), errors.NOT_RUNNING, "no beat here")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import gone\n", "ModuleNotFoundError: No module named 'gone' (FILE:1)"),
        ("x = 1\ny = (\n", "SyntaxError: '(' was never closed (FILE, line 2) (FILE:2)"),
        ("raise SystemExit('bye')\n", "SystemExit: bye (FILE:1)"),
        (
            "from celery import Celery\nfrom celery.schedules import crontab\napp = Celery('mysite')\n"
            "app.conf.beat_schedule = {'x': {'task': 'x', 'schedule': crontab(hour=24)}}\n",
            "'24' was found (FILE:4)",
        ),
    ],
)
def test_a_project_that_does_not_import(text, said, site):
    file = site.directory / "mysite" / "celery.py"
    file.write_text(text)
    site.programs()
    said = said.replace("(FILE, line", "(celery.py, line").replace("FILE", str(file))
    failed(site.schedule(), errors.FAILED, "mysite-beat: celery -A mysite does not load: ", said)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("crontab(hour=24)", ("hour=24", "24", "hour takes 0 to 23")),
        ("crontab(minute='61')", ("minute='61'", "61", "minute takes 0 to 59")),
        ("0 0 * * 7", ("day_of_week='7'", "day_of_week takes 0 (Sunday) to 6, or sun to sat")),
        ("0 0 0 * *", ("day_of_month='0'", "day_of_month takes 1 to 31")),
        ("0 0 * foo *", ("month_of_year='foo'", "month_of_year takes 1 to 12, or jan to dec")),
        ("crontab(day_of_wek=1)", ("day_of_wek", "did you mean 'day_of_week'")),
        ("crontab(minute=now())", ("minute is now()", "write a number, a list of numbers")),
        ("@daily", ("'@daily'", "write five cron fields")),
        ("solar('moonrise', 0, 0)", ("moonrise", "must be one of dawn_astronomical")),
        ("solar('sunset', 91, 0)", ("91", "must be between -90 and 90")),
        ("solar('sunset')", ("no lat", "LATITUDE")),
        ("__import__('os').abort()", ("is no expression of a schedule",)),
        ("crontab(", ("is no expression of a schedule",)),
        ("1 2 3", ("is no expression of a schedule",)),
    ],
)
def test_an_expression_that_does_not_parse(expression, said, daemon):
    failed(daemon.run("schedule", "explain", expression), errors.USAGE, *said)


def test_an_expression_explained(daemon):
    done = daemon.run(
        "schedule", "explain", "--at=2027-01-01", "--next=2", "--zone=Asia/Seoul", "crontab(hour=7, minute=30)"
    )
    assert done.stdout.splitlines() == [
        "At 07:30 every day",
        "    2027-01-01 07:30:00+09:00",
        "    2027-01-02 07:30:00+09:00",
    ]
    done = daemon.run("schedule", "explain", "--json", "0", "0", "31", "2", "*")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["version"], data["words"]["ko"], data["next"]) == (1, "매년 2월 31일 00:00", [])
    assert [mark["code"] for mark in data["marks"]] == ["never"]
    failed(daemon.run("schedule", "explain", "--zone", "Seoul", "30"), errors.USAGE, "Seoul")


# As on a host: the Python of celeryhost finds no Celery.
WITHOUT_CELERY = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, *more):
        return None if name == "celery" else super().find_spec(name, *more)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from celeryhost.supervisor import locate
from celeryhost.__main__ import main
locate.SEARCH = locate.SEARCH[:2]  # not this machine's own Supervisor
main()
"""


def test_explaining_with_the_celery_of_a_project(site):
    site.programs()
    words = ["schedule", "explain", "0 12 * * 1"]
    options = site.daemon.options(timeout=180, capture_output=True)
    script = site.daemon.folder / "bin" / "without-celery"
    script.write_text(WITHOUT_CELERY)
    done = subprocess.run([sys.executable, script, *words], **options)
    assert (done.returncode, done.stdout.partition("\n")[0]) == (0, "At 12:00 on Monday"), done.stderr
    done = subprocess.run([sys.executable, "-c", WITHOUT_CELERY, *words], **options)
    failed(done, errors.FAILED, "there is no Celery here", "pip install celery")

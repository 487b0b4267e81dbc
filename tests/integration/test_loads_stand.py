"""How long the answer of how an app loads stands: a real project in a virtual environment of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import sysconfig
import time
import venv
from pathlib import Path

import pytest
from celeryhost.errors import Failure
from celeryhost.states import celery_app, evidence

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mysite"
# The line in `starts` is written and never read, so it shows a start and is no evidence.
SETTINGS = """
import helper
with open({starts!r}, "a") as file:
    file.write(".")
CELERY_BROKER_TRANSPORT_OPTIONS = {{"visibility_timeout": helper.TIMEOUT}}
try:
    from local_settings import *
except ImportError:
    pass
if os.path.exists(BASE_DIR / ".env"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {{"visibility_timeout": int((BASE_DIR / ".env").read_text())}}
if "TIMEOUT" in os.environ:
    CELERY_BROKER_TRANSPORT_OPTIONS = {{"visibility_timeout": int(os.environ["TIMEOUT"])}}
"""


class Site:
    """A project, migrated, with what the roles put beside it."""

    def __init__(self, folder):
        self.folder, self.project, self.venv = folder, folder / "mysite", folder / "venv"
        self.starts, self.record, self.env = folder / "log/starts", folder / "cache/mysite.loads", folder / "etc/env"
        for path in (self.starts, self.env):
            path.parent.mkdir()
        shutil.copytree(EXAMPLE, self.project, ignore=shutil.ignore_patterns("*.sqlite3*", ".celeryhost"))
        venv.create(self.venv, symlinks=True)
        self.packages = Path(sysconfig.get_path("purelib", vars={"base": str(self.venv)}))
        (self.packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (self.packages / "helper.py").write_text("TIMEOUT = 1\n")
        with self.settings.open("a") as file:
            file.write(SETTINGS.format(starts=str(self.starts)))
        with (self.project / "mysite/celery.py").open("a") as file:
            file.write("app.conf.broker_transport_options = settings.CELERY_BROKER_TRANSPORT_OPTIONS\n")
        self.env.write_text("DJANGO_SETTINGS_MODULE='mysite.settings'\n")
        self.manage("migrate")

    @property
    def settings(self):
        return self.project / "mysite/settings.py"

    @property
    def database(self):
        return self.project / "db.sqlite3"

    def manage(self, *words):
        argv = [self.venv / "bin/python", "manage.py", *words]
        environment = os.environ | {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
        subprocess.run(argv, cwd=self.project, env=environment, check=True, capture_output=True, timeout=180)

    def app(self, **more):
        user = pwd.getpwuid(os.getuid()).pw_name
        places = {"directory": str(self.project), "virtualenv": str(self.venv)}
        known = {"name": "mysite", "user": user, "app": "mysite", "settings": {}, "extensions": {}, "workers": []}
        return known | places | more

    def look(self, keep=True, migrations=True, environment=None, check=True, **more):
        """The answer, and whether the project's Python was started for it."""
        before = self.started()
        time.sleep(0.3)  # more than SLACK here: what was changed has settled
        files = {"environment_file": str(self.env), "record": str(self.record)}
        asked = {"app": self.app(**more), "environment": environment or {}, "migrations": migrations, "keep": keep}
        asked["unmigrated"] = False
        answer = celery_app.bring(files | asked, check)
        return answer, self.started() != before

    def started(self):
        return self.starts.stat().st_size if self.starts.exists() else 0

    def stands(self):
        """Look until an answer stands: the first run has made Python's caches."""
        self.look()
        answer, _ = self.look()
        assert self.look() == (answer, False)
        assert not answer["pending"]
        return answer


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # on a host caches are written
    monkeypatch.setattr(evidence, "SLACK", 10**8)  # this file system counts in nanoseconds
    return Site(tmp_path)


def timeout(answer):
    return answer["transport_options"]["visibility_timeout"]


def forget(site, name="0001_initial"):
    with sqlite3.connect(site.database) as database:
        database.execute("delete from django_migrations where app='django_celery_results' and name=?", [name])
    database.close()


CHANGES = {
    "settings edited": (lambda s: s.settings.write_text(s.settings.read_text().replace("helper.TIMEOUT", "2")), 2),
    "settings of the same size and time": (lambda s: same_time(s.settings, "helper.TIMEOUT", "3             "), 3),
    "a file that was not there": (lambda s: (s.project / ".env").write_text("4"), 4),
    "a module that was not there": (
        lambda s: (s.project / "local_settings.py").write_text(
            "CELERY_BROKER_TRANSPORT_OPTIONS = {'visibility_timeout': 5}\n"
        ),
        5,
    ),
    "a module before another": (lambda s: (s.project / "helper.py").write_text("TIMEOUT = 6\n"), 6),
    "a package": (lambda s: (s.packages / "helper.py").write_text("TIMEOUT = 80\n"), 80),
    "a package touched": (lambda s: os.utime(s.packages / "helper.py"), 1),
    "what Python itself runs as it starts": (
        lambda s: (s.packages / "more.pth").write_text("import os; os.environ['TIMEOUT'] = '9'\n"),
        9,
    ),
    "the environment": (lambda s: s.env.write_text(s.env.read_text() + "TIMEOUT='10'\n"), 10),
    "who may read": (lambda s: s.settings.chmod(0o640), 1),
    "another Python": (lambda s: os.utime(s.venv / "pyvenv.cfg"), 1),
}


def same_time(path, old, new):
    was = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)  # Python itself would not see it
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (was.st_mtime_ns, was.st_size)


@pytest.mark.parametrize("what", CHANGES)
def test_it_is_asked_again_after(site, what):
    change, expected = CHANGES[what]
    assert timeout(site.stands()) == 1
    change(site)
    answer, asked = site.look()
    assert (timeout(answer), asked) == (expected, True)


def test_the_database_and_what_else_is_asked(site):
    site.stands()
    assert site.look(settings={"task_acks_late": True})[1], "another question"
    site.stands()
    copy = site.folder / "copy"
    shutil.copy2(site.database, copy)
    forget(site)
    answer, asked = site.look()
    assert asked and answer["pending"] == ["django_celery_results.0001_initial"]
    assert site.look() == (answer, True), "what is pending is never kept"
    os.replace(copy, site.database)
    site.stands()
    os.unlink(site.database)
    answer, asked = site.look()
    assert asked and "contenttypes.0001_initial" in answer["pending"]


def test_rows_in_the_write_ahead_log_count(site):
    site.stands()
    held = sqlite3.connect(site.database)
    try:
        held.execute("select 1 from django_migrations").fetchall()
        forget(site)
        assert (site.project / "db.sqlite3-wal").stat().st_size
        answer, asked = site.look()
        assert asked and answer["pending"] == ["django_celery_results.0001_initial"]
    finally:
        held.close()


def test_who_asks_with_an_environment_is_answered_anew(site):
    site.stands()
    environment = {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
    for _ in range(2):
        assert site.look(environment=environment, check=False)[1]


def test_a_login_is_no_part_of_the_question(site, monkeypatch):
    site.stands()
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 4000 10.0.0.2 22")
    assert not site.look()[1]
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert site.look()[1]


def test_nothing_is_written_unless_told_and_nothing_secret(site):
    for _ in range(2):
        assert site.look(keep=False)[1]
    assert not site.record.parent.exists()
    site.env.write_text(site.env.read_text() + "TOKEN='open sesame'\n")
    site.stands()
    assert "sesame" not in site.record.read_text()
    assert (site.record.stat().st_mode & 0o777, site.record.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not site.look(keep=False)[1], "what is there may be used"


@pytest.mark.parametrize("how", ["open to others", "another's", "a link", "cut short", "something else"])
def test_a_record_that_is_not_to_be_trusted(site, how):
    site.stands()
    if how == "open to others":
        site.record.chmod(0o644)
    elif how == "another's":
        if os.getuid():
            pytest.skip("only root gives a file away")
        os.chown(site.record, 65534, -1)
    elif how == "a link":
        site.record.rename(site.folder / "real")
        site.record.symlink_to(site.folder / "real")
    elif how == "cut short":
        os.truncate(site.record, 1000)
    else:
        site.record.write_text("[1]")
    assert site.look(keep=False)[1]
    site.look()
    assert not site.look()[1], "a good one takes its place"


@pytest.mark.parametrize(
    "line",
    [
        "import subprocess; subprocess.run(['true'])",
        "os.system('true')",
        "import socket; socket.getaddrinfo('localhost', 1)",
        "import socket; socket.socket().connect_ex(('127.0.0.1', {port}))",
        "open('/proc/loadavg').read()",
        "open({starts!r}).read()",
    ],
)
def test_a_project_whose_answer_may_change_unseen(site, line):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with site.settings.open("a") as file:
        file.write(line.format(port=port, starts=str(site.starts)) + "\n")
    for _ in range(2):
        answer, asked = site.look()
        assert asked and timeout(answer) == 1
    assert not site.record.exists()


def test_a_file_that_has_just_changed_is_not_known_to_be_what_was_read(site, monkeypatch):
    site.stands()
    monkeypatch.setattr(evidence, "SLACK", 10**10)
    os.utime(site.settings)
    for _ in range(2):
        assert site.look()[1]


def test_a_project_that_does_not_load_says_so_each_time(site):
    site.stands()
    site.settings.write_text("import nowhere\n")
    for _ in range(2):
        with pytest.raises(celery_app.Failure, match="No module named 'nowhere'"):
            site.look()


def test_a_project_that_talks(site):
    with site.settings.open("a") as file:
        file.write("import atexit, sys\nprint('hello')\natexit.register(print, 'bye')\nsys.stderr.write('no line')\n")
    assert timeout(site.stands()) == 1


def test_a_project_that_ends_itself(site):
    with site.settings.open("a") as file:
        file.write("raise SystemExit(0)\n")
    with pytest.raises(Failure, match="app of app mysite is 'mysite', which does not load in"):
        site.look()

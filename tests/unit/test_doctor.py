"""The pure parts of `celeryhost doctor`, and its documentation."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.schedules import crontab
from celeryhost.checks import OK, WARN, doctor, programs, redis
from celeryhost.checks.project import removed_imports
from celeryhost.scripts import doctor as doctor_script

DOCS = Path(__file__).parents[2] / "docs"


def test_each_check_is_documented():
    text = (DOCS / "doctor.md").read_text().split("## The checks", 1)[1]
    assert re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE) == [check.name for check in doctor.CHECKS]


def test_each_check_gives_its_reason():
    for check in doctor.CHECKS:
        assert check.look.__doc__, check.name


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from celery.task import periodic_task", [(1, "celery.task.periodic_task")]),
        ("import os\nfrom celery.task.schedules import crontab", [(2, "celery.task.schedules.crontab")]),
        ("from celery import task, decorators", [(1, "celery.decorators"), (1, "celery.task")]),
        ("import celery.decorators as d", [(1, "celery.decorators")]),
        ("def f():\n    import djcelery", [(2, "djcelery")]),
        ("from djcelery.models import TaskState", [(1, "djcelery.models.TaskState")]),
        ("try:\n    import djcelery\nexcept ImportError:\n    djcelery = None  # celery", []),
        ("try:\n    import djcelery\nexcept ValueError:\n    pass", [(2, "djcelery")]),
        ("from .celery import app\nfrom celery import shared_task\nfrom celery.schedules import crontab", []),
        ("from . import task  # celery", []),
        ("this is no Python, celery.task", []),
    ],
)
def test_imports_of_what_celery_has_removed(source, found):
    assert sorted(removed_imports(source.encode())) == found


def test_late_entries():
    app = Celery("late", set_as_current=False)
    app.conf.beat_schedule = {
        "often": {"task": "t", "schedule": 10},
        "hourly": {"task": "t", "schedule": crontab(minute=0, app=app)},
        "daily": {"task": "t", "schedule": 86400},
    }
    now = time.time()
    given = {"since": now - 7500, "sent": {"often": now - 100}}
    late = doctor_script.late(doctor_script.in_project(app, given))
    assert set(late) == {"often", "hourly"}
    assert 90 <= late["often"] < 100
    assert 0 <= late["hourly"] <= 7500
    assert doctor_script.late(doctor_script.in_project(app, {"since": None, "sent": {}})) == {}


@pytest.mark.parametrize(
    ("number", "kombus", "level"),
    [
        ("6.0.16", [], WARN),
        ("6.0.16", ["5.6.2"], OK),
        ("6.0.16", ["5.6.2", "5.7.0"], WARN),
        ("6.0.16", ["5.6.2", ""], WARN),
        ("6.2.0", ["5.7.0"], OK),
        ("7.0.15", [], OK),
        ("8.2", [], OK),
    ],
)
def test_redis_version(number, kombus, level):
    server = SimpleNamespace(subject="redis", facts=({"redis_version": number}, {}), kombus=kombus)
    [found] = redis.version(server)
    assert found.level == level


@pytest.mark.parametrize(
    ("version", "bind", "protected", "is_open", "level"),
    [
        ("7.0.15", "127.0.0.1 -::1", "yes", True, "ok"),
        ("7.0.15", "0.0.0.0", "yes", False, "ok"),
        ("7.0.15", "0.0.0.0", "yes", True, "warn"),
        ("6.0.16", "0.0.0.0", "yes", True, "FAIL"),
        ("7.0.15", "0.0.0.0", "no", True, "FAIL"),
        ("6.0.16", "", "yes", True, "warn"),
        ("7.0.15", "", "no", True, "FAIL"),
    ],
)
def test_redis_exposure(version, bind, protected, is_open, level):
    settings = {"bind": bind, "protected-mode": protected, "port": "6379"}
    server = SimpleNamespace(subject="redis", facts=({"redis_version": version}, settings), is_open=is_open)
    [found] = redis.exposure(server)
    assert found.level == level


@pytest.mark.parametrize(
    ("path", "pattern", "matches"),
    [
        ("/var/log/mysite/worker.log", "/var/log/mysite/worker.log", True),
        ("/var/log/mysite/worker.log", "/var/log/mysite/*.log", True),
        ("/var/log/mysite/worker.log", "/var/log/*.log", False),
    ],
)
def test_logrotate_patterns(path, pattern, matches):
    assert programs._is_match(path, pattern) == matches

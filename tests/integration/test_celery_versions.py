"""The example with each Celery that projects have, and the kombu and redis-py of its time."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from celeryhost import apps
from celeryhost.errors import Failure
from celeryhost.project.rendering import render
from celeryhost.states import celery_app
from conftest import wait_for
from redis_server import redis_server, url

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "mysite"
EXTENSIONS = ["Django<5.3", "django-celery-beat", "django-celery-results"]
VERSIONS = {
    "5.2": ["celery[redis]==5.2.*", "kombu==5.2.*", "redis<5"],
    "5.3": ["celery[redis]==5.3.*", "kombu==5.3.*", "redis<6"],
    "5.4": ["celery[redis]==5.4.*", "kombu==5.4.*", "redis<6"],
    "5.5": ["celery[redis]==5.5.*", "kombu==5.5.*", "redis<6"],
    "5.6": ["celery[redis]==5.6.*", "kombu==5.6.*", "redis<7"],
    "5.7": ["celery[redis]==5.7.*", "kombu==5.7.*", "redis<9"],
}
READY = 180  # seconds, on a busy machine


@pytest.fixture(scope="module", params=VERSIONS)
def virtualenv(request, pytestconfig):
    """With one Celery; made at first use, by one of the tests that run at once, and kept in pytest's cache."""
    if request.param == "5.2" and sys.version_info >= (3, 12):
        pytest.skip("kombu 5.2 does not run on Python 3.12, which has no EntryPoints.get")
    wanted = [*VERSIONS[request.param], *EXTENSIONS]
    place = Path(pytestconfig.cache.mkdir("celery"), request.param)
    holds = place / "holds"
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not holds.exists() or holds.read_text() != str(wanted):
            venv.EnvBuilder(clear=True, symlinks=True).create(place)
            pip = ["uv", "pip", "install"] if shutil.which("uv") else [sys.executable, "-m", "pip"]
            to = ["--python", place / "bin" / "python"]
            command = [*pip, *to] if pip[0] == "uv" else [*pip, *to, "install"]
            done = subprocess.run([*command, "-q", *wanted], check=False)
            if done.returncode:
                pytest.skip(f"Celery {request.param} cannot be installed here")
            holds.write_text(str(wanted))
    return place


@pytest.fixture
def app(virtualenv, tmp_path):
    """The description of the example."""
    project = shutil.copytree(EXAMPLE, tmp_path / "mysite", ignore=shutil.ignore_patterns("*.sqlite3*", ".celeryhost"))
    return apps.describe(
        {
            "name": "mysite",
            "directory": str(project),
            "virtualenv": str(virtualenv),
            "logs": str(tmp_path / "logs"),
            "captured": str(tmp_path / "captured"),
            "data": str(tmp_path / "data"),
            "workers": [{"concurrency": 1}],
        }
    )


def load(app, **environment):
    """What module celery_app returns of it."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    unset = {"environment_file": None, "migrations": False, "record": None, "keep": False, "unmigrated": False}
    return celery_app.bring({"app": app | {"user": me}, "environment": environment, **unset}, False)


def test_the_example_runs_as_its_entry_says_and_keeps_a_task_that_a_frozen_worker_would_have_taken(
    app, daemon, tmp_path
):
    with redis_server(tmp_path) as port:
        (app,) = apps.merged([app], [load(app, CELERY_BROKER_URL=url(port))])
        app["user"], app["support"] = None, str(ROOT / "cli" / "celeryhost" / "scripts" / "inside")
        for name in ("logs", "captured", "data"):
            (tmp_path / name).mkdir()
        entry = render(
            str(ROOT / "templates"), "celery.conf.j2", app=app, broker_url=url(port), release=None, celery_startsecs=1
        )
        (daemon.folder / "conf.d" / "mysite.conf").write_text(entry)
        daemon.start(until=("STARTING", "RUNNING"))
        assert '"worker": "mysite-worker@' in end(run(daemon))
        main, log = daemon.pid("mysite-worker"), tmp_path / "logs" / "worker.log"
        wait_for(lambda: "the database answers" in log.read_text(), READY)  # beat has sent it
        os.kill(daemon.pid("mysite-beat"), signal.SIGSTOP)
        os.kill(main, signal.SIGSTOP)
        waiting = run(daemon)
        os.kill(main, signal.SIGKILL)
        end(waiting)
        said = log.read_text() + (tmp_path / "logs" / "beat.log").read_text()
        assert "a task may be lost" not in said
        assert "will silence beat" not in said


def run(daemon) -> subprocess.Popen:
    return daemon.popen("run", "--json", "app.tasks.debug_task", "--timeout", str(READY), "--starting")


def end(running: subprocess.Popen) -> str:
    out, error = running.communicate(timeout=2 * READY)
    assert running.returncode == 0, out + error
    return out


def test_a_default_of_ours_that_it_does_not_know_is_left_out_and_a_setting_of_the_users_is_not(app, virtualenv):
    known = virtualenv.name >= "5.6"
    assert ("worker_eta_task_limit" in load(app)["unsupported"]) != known
    app["workers"][0]["settings"]["worker_eta_task_limit"] = 7
    if known:
        load(app)
    else:
        with pytest.raises(Failure, match="worker_eta_task_limit"):
            load(app)

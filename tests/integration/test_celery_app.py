"""What a worker's Python says of its app, from the real example."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import celery
import kombu
import pytest
from celeryhost.errors import Failure
from celeryhost.states import celery_app
from redis_server import redis_server, url

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mysite"


@pytest.mark.parametrize(
    "ending", ["execute_from_command_line(sys.argv)", "sys.exit(execute_from_command_line(sys.argv))"]
)
def test_it_loads_after_its_migrations_were_listed(tmp_path, ending):
    project = shutil.copytree(EXAMPLE, tmp_path / "mysite", ignore=shutil.ignore_patterns("*.sqlite3*", ".celeryhost"))
    manage = project / "manage.py"
    manage.write_text(manage.read_text().replace("    execute_from_command_line(sys.argv)\n", f"    {ending}\n"))
    assert f"    {ending}\n" in manage.read_text()
    question = json.dumps(["mysite", ["task_acks_lat"], [], True, True, None])
    argv = [sys.executable, "-c", celery_app.SCRIPT, question]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1].removeprefix("celeryhost: "))
    assert "[ ]  contenttypes.0001_initial" in found["plan"]
    assert found["near"]["task_acks_lat"][0] == "task_acks_late"
    assert len(found["versions"]) == 2


@pytest.mark.parametrize(("looks", "code"), [(True, 1), (False, 0)])
def test_a_transport_that_is_none_is_seen_before_its_worker_starts(looks, code):
    question = json.dumps(["mysite", [], [], False, looks, None])
    argv = [sys.executable, "-c", celery_app.SCRIPT, question]
    environment = os.environ | {"CELERY_BROKER_URL": "rediss-typo://127.0.0.1"}
    done = subprocess.run(argv, cwd=EXAMPLE, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == code, done.stderr
    assert ("rediss-typo" in done.stderr) == looks


def load(project, **more):
    """The module's answer for a copy of the example project; `more` are further parameters."""
    user = pwd.getpwuid(os.getuid()).pw_name
    app = {"name": "mysite", "user": user, "app": "mysite", "directory": str(project), "virtualenv": sys.prefix}
    app |= {"settings": {}, "workers": [], "extensions": {}}
    params = {"app": app, "environment": {"DJANGO_SETTINGS_MODULE": "mysite.settings"}, "environment_file": None}
    return celery_app.bring(params | {"migrations": False, "unmigrated": False, "record": None} | more, False)


TASKS, SETTINGS = "app/tasks.py", "mysite/settings.py"
BROKEN = {
    "a syntax error": (TASKS, "def broken(:", r"SyntaxError: .* \(PROJECT/app/tasks\.py:LAST\); mend it"),
    "a module that is none": (TASKS, "import nowhere", r"No module named 'nowhere' \(PROJECT/app/tasks\.py:LAST\)"),
    "one that only another file knows": (
        TASKS,
        "from . import later",
        r"ModuleNotFoundError: No module named 'nowhere' \(PROJECT/app/later\.py:1\)",
    ),
    "a module that newer Pythons have no more": (
        TASKS,
        """raise ModuleNotFoundError("No module named 'cgi'")""",
        r"'cgi' .*LAST\); its requirements are for an older Python than python3",
    ),
    "a log whose folder git does not have": (
        SETTINGS,
        "LOGGING = {'version': 1, 'handlers': {'file': {'class': 'logging.FileHandler', "
        "'filename': BASE_DIR / 'logs/x.log'}}}",
        r"Unable to configure handler 'file', because of FileNotFoundError: .*PROJECT/logs/x.log' \(.*\); "
        r"PROJECT/logs is not in its code: add that folder",
    ),
    "a variable that is not set": (
        SETTINGS,
        "os.environ['SHOP_KEY']",
        r"KeyError: 'SHOP_KEY' \(PROJECT/mysite/settings\.py:LAST\); write SHOP_KEY under `environment` of app mysite",
    ),
    "a key that is no variable": (SETTINGS, "{}['SHOP_KEY']", r"KeyError: 'SHOP_KEY' \(.*settings\.py:LAST\); mend it"),
    "django-environ": (
        SETTINGS,
        "from django.core.exceptions import *; raise ImproperlyConfigured('Set the SHOP_KEY environment variable')",
        r"settings\.py:LAST\); write SHOP_KEY under",
    ),
    "a database's driver that is not there": (
        SETTINGS,
        "DATABASES['default']['ENGINE'] = 'django.db.backends.postgresql'",
        r"Error loading psycopg2 or psycopg module .*; add psycopg\[binary\] to",
    ),
    "what newer Pythons' environments have no more": (
        TASKS,
        """raise ModuleNotFoundError("No module named 'pkg_resources'")""",
        r"LAST\); add setuptools<81 to the project's requirements",
    ),
    "an exception of several lines": (
        SETTINGS,
        r"raise ValueError('one\n  two')",
        r"ValueError: .*one two \(.*:LAST\)",
    ),
    "an end of its own": (SETTINGS, "raise SystemExit(3)", "it ended by itself, with exit code 3"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_its_worker_would_die_of_is_told_with_file_and_line(tmp_path, what):
    project = shutil.copytree(EXAMPLE, tmp_path / "mysite", ignore=shutil.ignore_patterns("*.sqlite3*", ".celeryhost"))
    (project / "app/later.py").write_text("import nowhere\n")
    assert load(project)["versions"]
    path, line, said = BROKEN[what]
    with (project / path).open("a") as file:
        file.write(f"\n{line}\n")
    last = len((project / path).read_text().splitlines())
    with pytest.raises(Failure, match=said.replace("PROJECT", str(project)).replace("LAST", str(last))) as failure:
        load(project)
    assert "\n" not in str(failure.value)


def test_what_is_missing_is_named(tmp_path):
    project = shutil.copytree(EXAMPLE, tmp_path / "mysite", ignore=shutil.ignore_patterns("*.sqlite3*", ".celeryhost"))
    app = {"name": "mysite", "user": "nobody-here", "app": "mysite", "directory": str(project), "extensions": {}}
    app |= {"virtualenv": sys.prefix, "settings": {}, "workers": []}
    with pytest.raises(Failure, match=r"^user of app mysite is 'nobody-here', and there is no such account here"):
        load(project, app=app)
    with (project / TASKS).open("a") as file:
        file.write("\nprint('celeryhost: {}')\n")
    with pytest.raises(Failure, match=r"the project writes celeryhost's own lines: \{\}"):
        load(project)


def test_a_table_that_the_migrations_will_make_may_be_missing_before_them(tmp_path):
    project = shutil.copytree(EXAMPLE, tmp_path / "mysite", ignore=shutil.ignore_patterns("*.sqlite3*", ".celeryhost"))
    with (project / TASKS).open("a") as file:
        file.write("\nfrom django_celery_results.models import TaskResult\nTaskResult.objects.first()\n")
    assert load(project, unmigrated=True)["unknown"]
    with pytest.raises(Failure, match="no such table"):
        load(project)


@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "own:"}])
def test_tasks_that_wait_under_names_that_the_code_does_not_know(tmp_path, options):
    project = shutil.copytree(EXAMPLE, tmp_path / "mysite", ignore=shutil.ignore_patterns("*.sqlite3*", ".celeryhost"))
    with (project / "mysite/celery.py").open("a") as file:
        file.write(f"\napp.conf.broker_transport_options = {options!r}\n")
    user = pwd.getpwuid(os.getuid()).pw_name
    app = {"name": "mysite", "user": user, "app": "mysite", "directory": str(project), "virtualenv": sys.prefix}
    app |= {"settings": {}, "workers": [{"settings": {}, "queues": []}], "extensions": {}}
    with redis_server(tmp_path) as port:
        environment = {"DJANGO_SETTINGS_MODULE": "mysite.settings", "CELERY_BROKER_URL": url(port)}
        given = {"app": app, "environment": environment, "drop_unknown": False}
        assert load(project, **given)["versions"]
        sender = celery.Celery(broker=url(port))
        sender.conf.broker_transport_options = options
        for number in range(3):
            sender.send_task("app.tasks.gone", priority=3 * number)
        sender.send_task("app.tasks.sum", [1, 2])
        sender.send_task("app.tasks.gone", queue="another's")
        with sender.connection_for_read() as connection:  # as a worker holds one that has an ETA
            held = kombu.Queue("celery")(connection).get()
            with pytest.raises(Failure, match=r"throw away: 3 of app\.tasks\.gone; have the code know that name"):
                load(project, **given)
            held.requeue()
        assert load(project, **given | {"drop_unknown": True})["versions"]

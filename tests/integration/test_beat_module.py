"""celeryhost_beat over Celery's own scheduler and django-celery-beat's, with what a clock set back leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import celeryhost
import pytest

# One last run is moved instead of the clock. The arguments: how far (seconds), the scheduler, a folder.
SCRIPT = """
import json, sys
from datetime import timedelta

import celeryhost_beat
from celery import Celery
from celery.beat import Service

seconds, scheduler, folder = float(sys.argv[1]), sys.argv[2], sys.argv[3]
app = Celery("shop", broker="memory://")
app.conf.beat_schedule = {name: {"task": "work", "schedule": 10.0} for name in ("moved", "right")}
service = Service(app, scheduler_cls=scheduler, schedule_filename=f"{folder}/schedule")
models = scheduler.startswith("django")
if models:
    import django
    from django.conf import settings
    from django.core.management import call_command

    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/db"}
    settings.configure(INSTALLED_APPS=["django_celery_beat"], DATABASES={"default": database}, USE_TZ=True)
    django.setup()
    call_command("migrate", verbosity=0)

def move(seconds):
    entry = service.scheduler.schedule["moved"]
    entry.last_run_at += timedelta(seconds=seconds)
    if models:
        entry.model.last_run_at = entry.last_run_at
    service.scheduler._heap = None

celeryhost_beat.PATIENCE = 0
celeryhost_beat.watch(service)
first = service.scheduler
move(seconds)
slept = first.tick()
runs = service.scheduler.schedule["moved"].total_run_count
wait = service.scheduler.tick()
sent = []
service.scheduler.apply_async = lambda entry, **_: sent.append(entry.name)
move(-seconds - 20)
while not service.scheduler.tick():
    pass
answer = {"anew": service.scheduler is not first, "slept": slept, "wait": wait, "runs": runs, "sent": sent}
print(json.dumps(answer | {"longest": service.scheduler.max_interval}))
"""
SCHEDULERS = {
    "celery.beat:PersistentScheduler": 30,
    "django_celery_beat.schedulers:DatabaseScheduler": 5,  # as it was
}


@pytest.fixture(params=SCHEDULERS)
def ticked(request, root, tmp_path):
    def run(seconds: float) -> dict:
        command = [sys.executable, "-c", SCRIPT, str(seconds), request.param, tmp_path]
        environment = {"PYTHONPATH": str(root / "cli" / "celeryhost" / "scripts" / "inside")}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["longest"] == SCHEDULERS[request.param]
        assert 0 < found["wait"] <= found["longest"]
        return found

    return run


def test_a_last_run_that_is_to_come_is_taken_for_now(ticked):
    found = ticked(3600)
    assert found["anew"]
    assert found["slept"] == 0
    assert found["runs"] == 0
    assert found["sent"] == ["moved"]


def test_a_small_step_is_waited_for(ticked):
    found = ticked(60)
    assert not found["anew"]
    assert 0 < found["slept"] <= found["longest"]


def test_what_it_imports_later_is_of_the_environment_that_it_began_in(tmp_path):
    """Behind the link of a virtual environment, which leads to the next one after a deploy."""
    link = tmp_path / "venv"
    link.symlink_to(sys.prefix)
    script = tmp_path / "celery"
    script.write_text("import celery, kombu; print(*celery.__path__, *kombu.__path__)\n")
    module = Path(celeryhost.__path__[0]) / "scripts" / "inside" / "celeryhost_beat.py"
    done = subprocess.run([link / "bin" / "python", module, script], capture_output=True, text=True, check=True)
    places = done.stdout.split()
    assert places == [str(Path(place).resolve()) for place in places] and len(places) == 2

"""What a worker's Python says of its app, from the real example."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from celeryhost.states import celery_app

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mysite"


@pytest.mark.parametrize(
    "ending", ["execute_from_command_line(sys.argv)", "sys.exit(execute_from_command_line(sys.argv))"]
)
def test_it_loads_after_its_migrations_were_listed(tmp_path, ending):
    project = shutil.copytree(EXAMPLE, tmp_path / "mysite", ignore=shutil.ignore_patterns("*.sqlite3*", ".celeryhost"))
    manage = project / "manage.py"
    manage.write_text(manage.read_text().replace("    execute_from_command_line(sys.argv)\n", f"    {ending}\n"))
    assert f"    {ending}\n" in manage.read_text()
    question = json.dumps(["mysite", ["task_acks_lat"], [], True, True])
    argv = [sys.executable, "-c", celery_app.SCRIPT, question]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1].removeprefix("celeryhost: "))
    assert "[ ]  contenttypes.0001_initial" in found["plan"]
    assert found["near"]["task_acks_lat"][0] == "task_acks_late"
    assert len(found["versions"]) == 2


@pytest.mark.parametrize(("looks", "code"), [(True, 1), (False, 0)])
def test_a_transport_that_is_none_is_seen_before_its_worker_starts(looks, code):
    question = json.dumps(["mysite", [], [], False, looks])
    argv = [sys.executable, "-c", celery_app.SCRIPT, question]
    environment = os.environ | {"CELERY_BROKER_URL": "rediss-typo://127.0.0.1"}
    done = subprocess.run(argv, cwd=EXAMPLE, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert ("rediss-typo" in done.stderr) == looks

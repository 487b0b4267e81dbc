"""Django's migrations, run only when some are pending, and on MySQL not when they would end half way."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from ..account import error, run
from ..errors import Failure
from ..project import releases
from ..scripts import mysql as mysql_script
from ..scripts import source

SECONDS = 300  # that a project may take to load, on a small board too
ARGUMENTS = {
    "directory": {"type": "path", "required": True},
    "virtualenv": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "environment": {"type": "dict", "default": {}, "no_log": True},
}
COSTLY = True


# One Python for all steps: on a small board it takes seconds to import Django. A step says its name before it begins.
SCRIPT = r"""
import contextlib, io, json, runpy, sys
check = sys.argv[1] == "check"
def manage(*words):
    print("\n\x1e" + words[0], file=sys.__stdout__, flush=True)
    sys.argv[:] = ["manage.py", *words]
    try:
        runpy.run_path("manage.py", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
plan, found = io.StringIO(), None
with contextlib.redirect_stdout(plan):
    manage("showmigrations", "--plan")
if "[ ]" in plan.getvalue():
    found = too_long()
    if not check and not found:
        manage("migrate", "--noinput")
print("\n" + json.dumps([plan.getvalue(), found]))
"""


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    with releases.preparing(params["directory"], really=not check):
        return _bring(params, check)


def _bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    directory, python = params["directory"], f"{params['virtualenv']}/bin/python"
    if check and not os.access(python, os.X_OK):
        return {"changed": True, "pending": [], "diff": {"before": "", "after": "all migrations\n"}}
    code, output = run(
        params["owner"],
        *(python, "-c", source(mysql_script) + SCRIPT),
        "check" if check else "bring",
        cwd=directory,
        environment=params["environment"],
        seconds=SECONDS if check else None,  # a migration may take hours
    )
    if code:
        step = (re.findall(r"^\x1e(\w+)", output, re.MULTILINE) or ["showmigrations"])[-1]
        raise Failure(
            f"manage.py {step} in {directory}: {error(output, directory)}",
            fix="mend it there, or write `migrate: false` if the project has no database",
        )
    plan, found = json.loads(output.splitlines()[-1])
    if found:
        cause = f"{mysql_script.SYMPTOM}: {mysql_script.cause(found)}"
        raise Failure(f"manage.py migrate in {directory} would end with {cause}", fix=found["fix"])
    pending = pending_of(plan)
    after = "".join(f"{name}\n" for name in pending)
    return {"changed": bool(pending), "pending": pending, "diff": {"before": "", "after": after} if pending else {}}


def pending_of(plan: str) -> list[str]:
    """The names in the output of `showmigrations --plan` that are not applied yet."""
    return re.findall(r"^\[ \]\s+(\S+)", plan, re.MULTILINE)

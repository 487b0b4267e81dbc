"""What a machine has for its apps, and what keeps them from running on it. Changes nothing."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from typing import Any

from ..errors import Failure
from ..project import releases
from ..project.preflight import app_problems
from . import project_virtualenv
from .environment import stamp

ARGUMENTS = {"apps": {"type": "list", "elements": "dict", "required": True, "no_log": False}}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    problems, groups = [], {}
    for app in params["apps"]:
        problems += app_problems(app)
        problems += _python_problems(app)
        if app["source_kind"] and not app["keep"] and releases.load(app["name"]).current:
            problems.append(
                f"keep of app {app['name']} is false, and it has releases here, with its data in {app['base']}/shared; "
                "leave `keep` out, or unprovision it first"
            )
        try:
            groups[app["name"]] = grp.getgrgid(pwd.getpwnam(app["user"]).pw_gid).gr_name
        except KeyError:
            groups[app["name"]] = app["user"]
    environments = [
        {
            "revision": app["requirements"] is not False and stamp(app["virtualenv"]),
            "path": os.path.realpath(app["virtualenv"]),
        }
        for app in params["apps"]
    ]
    return {"changed": False, "problems": problems, "groups": groups, "environments": environments}


def _python_problems(app: dict[str, Any]) -> list[str]:
    """Whether the Python that is to make the virtual environment is one of those that the project is for."""
    wanted = app.get("for_python")
    if app["source_kind"] is None and app["requirements"] is not False and os.path.isdir(app["directory"]):
        with contextlib.suppress(KeyError, Failure):  # no account yet; the task that reads them says it in full
            files = app["requirements"]
            wanted = project_virtualenv.declared(app["user"], app["directory"], app["checkout"], files)["python"]
    problem = project_virtualenv.python_problem(app["python"], wanted or "")
    return [f"app {app['name']}: {problem}"] if problem else []

"""What a machine has for its apps, and what keeps them from running on it. Changes nothing."""

from __future__ import annotations

import grp
import pwd

from ..preflight import app_problems
from . import project_virtualenv

ARGUMENTS = {"apps": {"type": "list", "elements": "dict", "required": True, "no_log": False}}


def bring(params, check):
    problems, groups, missing = [], {}, []
    for app in params["apps"]:
        problems += app_problems(app)
        try:
            groups[app["name"]] = grp.getgrgid(pwd.getpwnam(app["user"]).pw_gid).gr_name
        except KeyError:
            groups[app["name"]] = app["user"]
            missing.append(app["user"])
    revisions = {app["name"]: project_virtualenv.stamp(app["virtualenv"]) for app in params["apps"]}
    return {"changed": False, "problems": problems, "groups": groups, "missing": missing, "revisions": revisions}

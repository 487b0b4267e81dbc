"""Django's migrations, run only when some are pending, and on MySQL not when they would end half way."""

from __future__ import annotations

import json
import os
import re

from .. import mysql_script
from ..account import last_line, run
from ..errors import Failure

ARGUMENTS = {
    "directory": {"type": "path", "required": True},
    "virtualenv": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "environment": {"type": "dict", "default": {}, "no_log": True},
}


def bring(params, check):
    directory, python = params["directory"], f"{params['virtualenv']}/bin/python"
    if check and not os.access(python, os.X_OK):
        return {"changed": True, "pending": [], "diff": {"before": "", "after": "all migrations\n"}}

    def manage(*words):
        environment = params["environment"]
        code, output = run(params["owner"], python, "manage.py", *words, cwd=directory, environment=environment)
        if code:
            raise Failure(
                f"manage.py {words[0]} in {directory}: {last_line(output)}",
                fix="mend it there, or write `migrate: false` if the project has no database",
            )
        return output

    pending = pending_of(manage("showmigrations", "--plan"))
    if pending:
        source = mysql_script.__loader__.get_source(mysql_script.__name__)
        found = json.loads(manage("shell", "--command", f"{source}\nmain()").splitlines()[-1])
        if found:
            cause = f"{mysql_script.SYMPTOM}: {mysql_script.cause(found)}"
            raise Failure(f"manage.py migrate in {directory} would end with {cause}", fix=found["fix"])
    if pending and not check:
        manage("migrate", "--noinput")
    after = "".join(f"{name}\n" for name in pending)
    return {"changed": bool(pending), "pending": pending, "diff": {"before": "", "after": after} if pending else {}}


def pending_of(plan):
    """The names in the output of `showmigrations --plan` that are not applied yet."""
    return re.findall(r"^\[ \]\s+(\S+)", plan, re.MULTILINE)

"""What an app wants done with a release before it runs, such as collectstatic: commands of its own, as its user."""

from __future__ import annotations

import hashlib
import json
import shlex
from typing import Any

from ..account import last_line, run
from ..errors import Failure
from ..project import releases

ARGUMENTS = {
    "app": {"type": "str", "required": True},
    "release": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "commands": {"type": "list", "elements": "list", "required": True},
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "timeout": {"type": "int", "default": 600},
}
UNASKED = ("environment", "timeout")


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Each command in turn, once for a release; raises Failure for the first that fails or takes too long."""
    record = releases.load(params["app"])
    release = record.of_id(params["release"])
    wanted = hashlib.sha256(json.dumps(params["commands"]).encode()).hexdigest()
    if release and release.built == wanted:
        return {"changed": False}
    if check:
        return {"changed": True}
    with releases.preparing(params["directory"]):
        for words in params["commands"]:
            try:
                code, output = run(
                    params["owner"],
                    *words,
                    cwd=params["directory"],
                    environment=params["environment"],
                    seconds=params["timeout"],
                )
            except OSError as error:
                code, output = 127, str(error.strerror)
            if code:
                said = f"build of app {params['app']}: {shlex.join(words)} ended with {code}: {last_line(output)}"
                raise Failure(said, fix="mend it and deploy again: what runs is not touched")
    record = releases.load(params["app"])
    if release := record.of_id(params["release"]):
        release.built = wanted
        releases.save(record)
    return {"changed": True}

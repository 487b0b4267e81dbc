"""A wait, on the host, for what Ansible does in the background (async): to be asked again and again costs it more.

https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_async.html. async_wrapper keeps a file for each, which
says `started` until it is what the module has returned.
"""

from __future__ import annotations

import json
import os
import time

from ..errors import Failure

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "seconds": {"type": "int", "default": 5},
}
PAUSE = 0.2  # seconds between two looks at the file


def bring(params, check):
    """The job's result and `finished`, once it has one; {finished: false} after so many `seconds` without.

    The file stays: the answer may be lost with a connection, and the question asked again.
    """
    path = params["path"]
    until = time.monotonic() + params["seconds"]
    while True:
        found = _read(path)
        if found and (found.get("finished") or "started" not in found):
            return {"changed": False} | found | {"finished": True}
        if time.monotonic() >= until:
            break
        time.sleep(PAUSE)
    if not os.path.exists(path):
        raise Failure(f"{path}, which the job was to write, is gone", fix="run again")
    return {"changed": False, "finished": False}


def _read(path) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):  # about to begin, or just being written
        return {}

"""A wait, on the host, for what Ansible does in the background (async): to be asked again and again costs it more.

https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_async.html. async_wrapper keeps a file for each, which
says `started` until it is what the module has returned.
"""

from __future__ import annotations

import json
import os
import time

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "seconds": {"type": "int", "default": 5},
}
PAUSE = 0.2  # seconds between two looks at the file


def bring(params, check):
    """The job's result, once it has one, and its file is removed; {finished: false} after so many `seconds` without."""
    until = time.monotonic() + params["seconds"]
    while True:
        found = _read(params["path"])
        if found and (found.get("finished") or "started" not in found):
            os.unlink(params["path"])
            return {"changed": False} | found | {"finished": True}
        if time.monotonic() >= until:
            return {"changed": False, "finished": False}
        time.sleep(PAUSE)


def _read(path) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):  # about to begin, or just being written
        return {}

"""A command, as Ansible's own module runs one, for a host's celeryhost to begin: see background_job.py."""

from __future__ import annotations

import subprocess

from ..account import last_line
from ..errors import Failure

ARGUMENTS = {"argv": {"type": "list", "elements": "str", "required": True}}


def bring(params, check):
    if check:
        return {"changed": True}
    done = subprocess.run(
        params["argv"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    result = {"changed": True, "rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    if done.returncode:
        failure = Failure(last_line(done.stderr or done.stdout))
        failure.result = result
        raise failure
    return result

"""Jobs that go on in the background on a host: how one is begun, and the wait for its result.

They are as Ansible's own (https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_async.html): a file for each
says `started` until it is what the module has returned. To begin one costs Ansible three times as much, for it brings
the module and a wrapper over, and to wait costs it a task each time that it asks.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import Failure

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "seconds": {"type": "int", "default": 5},
}
PAUSE = 0.2  # seconds between two looks at the file
FOLDER = "/run"  # gone with the next boot, as the job is
KEPT = 86400  # seconds that a result is kept for whoever asks again


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
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


def begin(work: Callable[[], dict[str, Any]], seconds: int) -> dict[str, Any]:
    """Have `work`, a function, make a result in the background; says what async says of a job that it has begun.

    No end of a connection reaches the job. After so many `seconds` it is ended, with what it has started.
    """
    for old in glob.glob(f"{FOLDER}/celeryhost-*.job"):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(old).st_mtime < time.time() - KEPT:
                os.unlink(old)
    handle, path = tempfile.mkstemp(prefix="celeryhost-", suffix=".job", dir=FOLDER)
    os.close(handle)
    said = {"started": True, "finished": False, "ansible_job_id": os.path.basename(path), "results_file": path}
    _write(path, said)
    apart, ready = os.pipe()
    if os.fork() == 0:
        try:
            _go_on(work, seconds, path, ready)
        finally:
            os._exit(0)
    os.close(ready)
    os.read(apart, 1)
    os.close(apart)
    return said


def _go_on(work: Callable[[], dict[str, Any]], seconds: int, path: str, ready: int) -> None:
    """The job's own process; closes `ready` when nothing ties it to the one that has begun it."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # whoever began it waits for the end of its output
        os.dup2(nowhere, stream)
    os.close(ready)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(seconds)
    try:
        result = work()
        signal.alarm(0)
        _write(path, result)
    except _TooLong:
        _write(path, {"failed": True, "msg": f"not done after {seconds} s, and ended"})
        os.killpg(0, signal.SIGKILL)


class _TooLong(BaseException):
    """No Exception, which the work might take for one of its own."""


def _too_long(*_: object) -> NoReturn:
    raise _TooLong


def _write(path: str, result: dict[str, Any]) -> None:
    """In one step, and for root alone, as mkstemp has made it."""
    with open(f"{path}.new", "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump(result, file)
    os.replace(f"{path}.new", path)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            result: dict[str, Any] = json.load(file)
            return result
    except (FileNotFoundError, ValueError):  # about to begin, or just being written
        return {}

"""Which tasks a Celery worker is running now.

Where its command or environment names a Redis, that is asked at once; else the worker's own Python asks its broker.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import subprocess
import time
from collections import Counter
from typing import Any, NamedTuple

from .. import account
from . import command_line, resp
from .command_line import option
from .remote_control import TRANSPORT, Mailbox, speaks

ANSWERS = 2  # seconds that a worker has, told by its Redis
NO_USER = "none"  # as getAllConfigInfo says that an entry has no user=
PATIENCE = 10  # seconds; importing Celery takes 3 on a small board
# Where the environment names the broker it does without the project, whose import can take seconds.
QUESTION = """
import sys
sys.path[:] = [place for place in sys.path if place]  # of -c: the folder where it starts
import json, os, socket
from celery.utils.nodenames import default_nodename, host_format
name, app_name, directory = sys.argv[1:]
os.chdir(directory)
if os.environ.get("CELERY_BROKER_URL") or not app_name:
    from celery import Celery
    app = Celery(broker=os.environ.get("CELERY_BROKER_URL"), set_as_current=False)
else:
    from celery.app.utils import find_app
    sys.path.insert(0, os.getcwd())
    app = find_app(app_name)
place = app.connection_for_write().info()
if place["port"] and "/" not in place["hostname"]:  # redis-py tries for 6 s where nobody listens
    socket.create_connection((place["hostname"], place["port"]), 2).close()
node = host_format(default_nodename(name or None))
answer = app.control.inspect([node], timeout=2, limit=1).active() or {}
print(json.dumps([task["name"] for task in answer.get(node, ())]))
"""


class Running(NamedTuple):
    """A worker's process: its program, its command, and the uid of its entry (NO_USER where that gives none, None where
    it is not known)."""

    program: str
    pid: int
    command: str
    uid: int | str | None


def tasks(workers: list[Running]) -> dict[str, list[str]]:
    """The running tasks, as `name` or `name x3`, of each worker that answers within PATIENCE; keyed by program.

    It must be asked before the worker gets its first TERM, with which its remote control ends.
    Left out is a worker whose environment this user may not read, or whose account is in doubt.
    """
    nodes: dict[tuple[Any, str], dict[str, str]] = {}  # broker and its transport options: {node name: program}
    rest = []
    for worker in workers:
        read = command_line.read(worker.command)
        if read is None:
            continue
        words = read.words
        try:
            url = broker(words, worker.pid)
            place = url, transport(worker.pid)
            known = speaks(url)
        except (OSError, ValueError):
            continue
        if known:
            nodes.setdefault(place, {})[_node(option(words, "-n", "--hostname"))] = worker.program
        else:
            rest.append(worker)
    found = _ask_python(rest)
    me = f"celeryhost-{socket.gethostname()}-{os.getpid()}"
    for (url, naming), theirs in nodes.items():
        with contextlib.suppress(OSError, resp.Refused, ValueError):
            found |= Mailbox(url, theirs, me, naming).active(ANSWERS)
    counted = {program: Counter(names).items() for program, names in found.items()}
    return {program: [n if count == 1 else f"{n} x{count}" for n, count in items] for program, items in counted.items()}


def broker(words: list[str], pid: int | None) -> str | None:
    """The broker that a command line names, or else the environment of its process; raises PermissionError.

    None where both leave it to the project, or without a process.
    """
    given = option(words, "-b", "--broker")
    return given or _variable(pid, "CELERY_BROKER_URL") or None


def transport(pid: int | None) -> str:
    """What the environment of a worker of ours says of the names in its broker (remote_control.Keys); as `broker`."""
    return _variable(pid, TRANSPORT)


def _variable(pid: int | None, name: str) -> str:
    if pid is None:
        return ""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = dict(item.partition(b"=")[::2] for item in file.read().split(b"\0"))
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return os.fsdecode(variables.get(name.encode(), b""))


def _node(given: str) -> str:
    """A worker's name as Celery makes it of its option -n (celery/utils/nodenames.py)."""
    full = socket.gethostname()
    short, _, domain = full.partition(".")
    name, _, host = given.rpartition("@")
    node = f"{name or 'celery'}@{host or full}"
    return node.replace("%h", full).replace("%n", short).replace("%d", domain)


def _ask_python(workers: list[Running]) -> dict[str, list[str]]:
    """The names of the running tasks of each worker, asked by a Python of its own."""
    deadline = time.monotonic() + PATIENCE
    asked = {worker.program: question for worker in workers if (question := _ask(worker))}
    found = {}
    for name, question in asked.items():
        try:
            _, output, _ = account.finish(question, seconds=max(0.0, deadline - time.monotonic()))
            found[name] = _names(json.loads(output))
        except (TimeoutError, ValueError, RecursionError):
            pass
    return found


def _names(answer: object) -> list[str]:
    """The names of tasks that a worker's own Python tells; raises ValueError where it tells something else."""
    if not isinstance(answer, list) or not all(isinstance(name, str) for name in answer):
        raise ValueError(answer)
    return answer


def _ask(worker: Running) -> subprocess.Popen[bytes] | None:
    _, pid, command, uid = worker
    read = command_line.read(command)
    if read is None:
        return None
    try:
        owner = _account(pid, uid)
        directory = os.readlink(f"/proc/{pid}/cwd")
        with open(f"/proc/{pid}/environ", "rb") as variables:
            pairs = [item.split("=", 1) for item in os.fsdecode(variables.read()).split("\0") if "=" in item]
        environment = dict(pairs)
        *launcher, python = command_line.interpreter(read, environment.get("PATH"))
        others = launcher or os.stat(python).st_uid or os.stat(directory).st_uid or option(read.words, "--uid", "--uid")
        if owner.pw_uid == 0 and others:
            return None  # root's rights are for no other account's code, and not for one that gives them up
        return subprocess.Popen(
            [
                *launcher,
                python,
                "-c",
                QUESTION,
                option(read.words, "-n", "--hostname"),
                option(read.words, "-A", "--app"),
                directory,
            ],
            cwd=directory if launcher else "/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            **account.become(owner),
        )
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return None


def _account(pid: int, uid: object) -> pwd.struct_passwd:
    """The account (pwd) that a worker runs as by its entry, whose `uid` is as in `tasks`.

    What its process is tells little: a project may have become a set-uid program, such as sudo. A process is believed
    only where the entry gives no user, and root's alone where supervisord says just that. Raises ValueError, OSError,
    KeyError.
    """
    if not isinstance(uid, int):
        with open(f"/proc/{pid}/status") as status:
            uids = set(next(line for line in status if line.startswith("Uid:")).split()[1:])
        if len(uids) > 1 or (uids == {"0"} and uid != NO_USER):
            raise ValueError(f"process {pid} is of {uids}")
        uid = int(uids.pop())
    return pwd.getpwuid(uid)

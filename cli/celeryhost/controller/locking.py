"""Taking the lock of a host from within Ansible, which knows how it is reached, and with which passwords.

A process beside the run keeps it (scripts/keeper.py). It does so over the words that Ansible's own ssh would be started
with, so that it shares its connection and every password that opened that; a password of sudo it is given.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from shlex import quote
from typing import TYPE_CHECKING, Any

from .. import lock, paths
from ..errors import FAILED, Failure
from ..scripts import hold, keeper, source

if TYPE_CHECKING:
    from ansible.plugins.action import ActionBase

REPORT = "CELERYHOST_REPORT"  # descriptor that takes what is to be told of the run, a line each
ARGUMENTS = "CELERYHOST_ARGUMENTS"  # what the command was called with, for the record
CLIENT = "CELERYHOST_CLIENT"  # descriptor that is at its end when the command that started the run is gone
CONNECTIONS = ("ssh", "local")
LOCAL = "/bin/sh"


class _Words(Exception):
    """The command line that a connection would have run."""


def take(action: ActionBase, host: str, command: str, wait: bool, tell: Callable[[str], object]) -> dict[str, Any]:
    """`outcome`, the file that is to say how the run went, or `refused`, why the lock was not got.

    Raises Failure where it cannot be taken, and what Ansible raises of a host that cannot be reached.
    """
    connection = action._connection
    if connection.transport.rpartition(".")[2] not in CONNECTIONS:
        tell(f"{host}: no lock is taken over connection {connection.transport}")
        return {}
    secret = connection.transport != "local" and connection.get_option("password")
    if secret:  # opens the connection that is shared then
        action._low_level_execute_command("true", in_data=b"\n", sudoable=False)
    found = _kept(action, host, command, wait, tell)
    if "failed" in found:
        # Ansible's own try: it goes on after a link that drops, asks whether a host is known, and says what is wrong.
        done = action._low_level_execute_command("true", in_data=b"\n")
        if done["rc"]:
            raise Failure(f"{host}: {done['stderr'].strip() or done['stdout'].strip()}")
        found = _kept(action, host, command, wait, tell)
    if "failed" in found:
        if "SyntaxError" in found["failed"] or found["code"] == 127:  # such a Python is refused by the check
            return {}
        raise Failure(f"{host}: its lock cannot be taken: {found['failed'] or found['code']}")
    return found


def _kept(action: ActionBase, host: str, command: str, wait: bool, tell: Callable[[str], object]) -> dict[str, Any]:
    """What `take` returns, or `failed` and `code`."""
    words = _words(action, f"{paths.PYTHON} -I -S -c {quote(keeper.START)}")
    become = action._connection.become
    asks = become and become.success and any(become.success in word for word in words)
    password = become.get_option("become_pass", playcontext=action._play_context) if asks else None
    folder = tempfile.mkdtemp(prefix="celeryhost-")
    descriptors = {name: os.environ.get(name) for name in (REPORT, CLIENT)}
    handles = {name: int(number) for name, number in descriptors.items() if number}
    request = {
        "argv": words,
        "again": _alone(words),
        "hold": source(hold),
        "entry": {"user": lock.person(), "command": command, "arguments": _arguments()},
        "wait": wait,
        "run": os.getppid(),
        "prompt": become.prompt if password and isinstance(become.prompt, str) else "assword",
        "success": become.success if asks else "",
        "password": password,
        "outcome": f"{folder}/outcome",
        "client": handles.get(CLIENT),
        "report": handles.get(REPORT),
        "silence": hold.SILENCE,
        "host": host,
    }
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=tuple(handles.values()),
        cwd="/",
    )
    assert process.stdin and process.stdout
    with process.stdin:
        process.stdin.write(json.dumps(request).encode())
    with process.stdout:
        for line in process.stdout:
            said = json.loads(line)
            if "waiting" in said:
                tell(f"waiting: {lock.holds(host, said['waiting'])}")
            elif "held" in said:
                return {"outcome": request["outcome"]}
            else:
                os.rmdir(folder)
                return {"refused": lock.described(host, said["refused"])} if "refused" in said else said
    os.rmdir(folder)
    return {"failed": "its keeper has ended", "code": FAILED}


def _words(action: ActionBase, command: str) -> list[str]:
    """The words that Ansible would run a command on the host with, as whom the play says."""
    connection = action._connection

    def caught(words: Any, *_: Any, **__: Any) -> None:
        raise _Words(words)

    name = "exec_command" if connection.transport == "local" else "_run"
    setattr(connection, name, caught)
    try:
        action._low_level_execute_command(command, in_data=b"\n")
    except _Words as found:
        words = found.args[0]
    finally:
        delattr(connection, name)
    if isinstance(words, str):
        return [LOCAL, "-c", words]
    said = [os.fsdecode(word) for word in words]
    if os.path.basename(said[0]) == "sshpass":
        for handle in connection.sshpass_pipe:
            os.close(handle)
        return said[next(at for at, word in enumerate(said) if os.path.basename(word) == "ssh") :]
    return said


def _alone(words: list[str]) -> list[str]:
    """The same over a connection of its own, for the shared one may be what broke."""
    if os.path.basename(words[0]) != "ssh":
        return words
    return [words[0], "-o", "ControlPath=none", "-o", "BatchMode=yes", *words[1:]]


def _arguments() -> list[str]:
    try:
        return [str(word) for word in json.loads(os.environ.get(ARGUMENTS, "[]"))]
    except ValueError:
        return []

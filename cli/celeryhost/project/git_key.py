"""How git gets at a private repository: by a key that its account can't read, which an agent holds while git runs, or
by what an https address says before its @."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from .. import account
from ..errors import Failure

AGENT_SECONDS = 20  # until it listens, on a small board too
FIX = "celeryhost needs the Debian package openssh-client"


# `ps` shows a command line to everybody, and an environment to its account alone.
_HELPER = """!f() { printf 'username=%s\\npassword=%s\\n' "$CELERYHOST_GIT_USER" "$CELERYHOST_GIT_PASSWORD"; }; f"""
_WITH_SECRET = re.compile(
    r"(?P<server>https?://)(?P<user>[^/@:]+)(?::(?P<password>[^/@]*))?@(?P<host>[^/]+)(?P<path>/.*)"
)


def without_secret(repo: str) -> tuple[str, list[str], dict[str, str]]:
    """(repo, words for git, its environment) such that what stands before the @ of an https address is in no command
    line; git asks for it, for that host alone, by a helper that finds it in the environment."""
    found = _WITH_SECRET.fullmatch(repo)
    if not found:
        return repo, [], {}
    host = found["server"] + found["host"]
    secrets = {"USER": unquote(found["user"]), "PASSWORD": unquote(found["password"] or "")}
    environment = {f"CELERYHOST_GIT_{name}": secret for name, secret in secrets.items()}
    return host + found["path"], ["-c", f"credential.{host}.helper={_HELPER}"], environment


@contextlib.contextmanager
def lent(key: str | None, user: str) -> Iterator[dict[str, str]]:
    """The environment by which ssh of `user` uses the private key in root's file `key` while this lasts.

    Empty where there is no key, or no such account, yet. Raises Failure when the key is of no use.
    """
    try:
        owner = pwd.getpwnam(user)
    except KeyError:
        owner = None
    if not owner or not key or not os.path.exists(key):
        yield {}
        return
    folder = tempfile.mkdtemp(prefix="celeryhost-agent-")
    path = f"{folder}/agent"
    agent = None
    try:
        os.chown(folder, owner.pw_uid, -1)
        agent = _agent(path, owner)
        # What is at its path now stays there, and it is the agent: nobody else gets the key.
        os.chown(folder, os.geteuid(), -1)
        os.chmod(folder, 0o711)
        _same(path, agent.pid)
        done = subprocess.run(
            ["ssh-add", "-q", key],
            env={"PATH": account.PATH, "SSH_AUTH_SOCK": path, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,  # it can't ask for a passphrase
            timeout=AGENT_SECONDS,
            check=False,
        )
        if done.returncode:
            said = account.last_line(done.stderr.decode(errors="replace"))
            raise Failure(f"{key} cannot be used: {said}; git_key wants a private key without a passphrase")
        yield {"SSH_AUTH_SOCK": path}
    finally:
        if agent:
            agent.kill()
            agent.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _agent(path: str, owner: pwd.struct_passwd) -> subprocess.Popen[bytes]:
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {"PATH": account.PATH, "HOME": owner.pw_dir}
    try:
        agent = subprocess.Popen(
            ["ssh-agent", "-D", "-a", path], cwd="/", env=environment, **options | account.become(owner)
        )
    except OSError as error:
        raise Failure(f"ssh-agent: {error.strerror}; {FIX}") from None
    end = time.monotonic() + AGENT_SECONDS
    while not os.path.lexists(path) and agent.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    if not os.path.lexists(path):
        agent.kill()
        agent.wait()
        raise Failure(f"ssh-agent does not listen, as {owner.pw_name} at {path}; {FIX}")
    return agent


def _same(path: str, pid: int) -> None:
    """Raise Failure unless process `pid` listens at `path`; a link there could lead elsewhere a moment later."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise Failure(f"what lies at {path} in the place of ssh-agent is no socket, and gets no key")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(AGENT_SECONDS)
        try:
            _connected(client, path)
            found = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        except OSError as error:
            raise Failure(f"ssh-agent at {path}: {error.strerror}; {FIX}") from None
    if found != pid:
        raise Failure(f"process {found} listens in the place of ssh-agent, and gets no key")


def _connected(client: socket.socket, path: str) -> None:
    """The socket's file is there a moment before it listens."""
    end = time.monotonic() + AGENT_SECONDS
    while True:
        try:
            return client.connect(path)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)

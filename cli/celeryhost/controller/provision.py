"""Running a playbook of the tree with the Ansible of this environment, as a person would by hand."""

from __future__ import annotations

import importlib.util
import json
import locale
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from .. import isolated, masking, paths
from ..errors import DENIED, FAILED, HOOK, INTERRUPTED, OK, TIMEOUT, UNKNOWN, UNPROVEN, UNREACHABLE, Failure
from ..hosts import inventory as known_hosts
from ..hosts.inventory import default_sources, load
from ..plain import plain_lines
from . import deploying
from .locking import ARGUMENTS, CLIENT, REPORT

GROUPS = ("redis", "celery_workers", "celery_beat")

# What ansible-playbook exits with (ansible/executor/task_queue_manager.py, ansible/cli/__init__.py): a host's
# failure 2 and an unreachable host 4 are added up, 99 is Ctrl-C, the others say themselves what is wrong.
_CODES = {0: OK, 4: UNREACHABLE, 6: UNREACHABLE, 99: INTERRUPTED}
_OWN = (UNPROVEN, TIMEOUT, HOOK)  # what failed hosts may say, where all say the same
_KEEPERS = 5  # seconds that those who keep locks may take to let them go


def playbook(
    name: str, inventory: str | None = None, limit: str | None = None, extra: Sequence[str] = (), ask: bool = False
) -> int:
    """Run playbooks/NAME.yml and its hooks, their output going to the terminal: this package's exit code for it.

    `inventory` None is the default one; `limit` is a host pattern; `extra` are further arguments of
    ansible-playbook; `ask` asks for the sudo password.
    Raises Failure when it can't even begin: USAGE, UNKNOWN (host, group), DENIED (sudo), FAILED (no Ansible).
    """
    tree = paths.tree()
    if importlib.util.find_spec("ansible") is None:
        fix = "use ./celeryhost of a checkout, or: pip install ansible-core"
        raise Failure(f"Ansible is not installed for {sys.executable}", FAILED, fix)
    sources = [inventory] if inventory else default_sources()
    _check_hosts(sources, limit)
    if sources == [os.path.join(tree, "inventory", "local")]:
        ask = ask or _sudo_asks()
    command = [*isolated.module("ansible"), "playbook", os.path.join(tree, "playbooks", f"{name}.yml"), *extra]
    for source in sources:
        command += ["--inventory", source]
    command += ["--limit", limit] if limit else []
    command += ["--ask-become-pass"] if ask else []
    said = _without_values([*(["-i", inventory] if inventory else []), *(["-H", limit] if limit else []), *extra])
    environment = _environment(tree) | {ARGUMENTS: json.dumps(said)}
    about = {} if "--check" in extra else deploying.about(name, sources)
    began = time.monotonic()
    code, told = _run(command, environment | ({deploying.ABOUT: json.dumps(about)} if about else {}))
    lost = [line.removeprefix("lost ") for line in told if line.startswith("lost ")]
    code = TIMEOUT if lost else code
    try:
        if text := deploying.end(about, told, code, time.monotonic() - began, "changed" in told):
            _show(text)
    except Failure as failure:  # what was done stands
        _show(f"celeryhost: {failure}")
    if lost:
        fix = "see what the other run does there, then call again"
        what = f"{', '.join(lost)}: the connection was cut, and another run has the lock since; this one was ended"
        raise Failure(what, TIMEOUT, fix)
    return code


def _show(text: str) -> None:
    sys.stdout.flush()
    print(plain_lines(text), file=sys.stderr)


def _run(command: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """This package's exit code for an ansible-playbook, and the lines that came from within it."""
    reading, writing = os.pipe()
    here, ours = os.pipe()  # nobody writes: at its end when this process is gone, by SIGKILL too
    try:
        code = _streamed(command, environment | {REPORT: str(writing), CLIENT: str(here)}, (writing, here))
    finally:
        os.close(writing)
        told = _told(reading)
        for handle in (reading, here, ours):
            os.close(handle)
    codes = {int(line) for line in told if line.isdecimal()}
    return _CODES.get(code, codes.pop() if len(codes) == 1 and codes <= {*_OWN} else FAILED), told


def _without_values(words: Sequence[str]) -> list[str]:
    """Words of a command line as they may be noted: of variables, which may be secrets, only the names."""
    said = []
    for before, word in zip(["", *words], words, strict=False):
        if before in ("-e", "--extra-vars") and not word.startswith("@"):
            word = " ".join(f"{name}=…" for name in re.findall(r"([A-Za-z_]\w*)=", word)[:1]) or "…"
        said.append(masking.hide_passwords(word))
    return said


def _told(reading: int) -> list[str]:
    """The lines that came, once all who may write have ended; a process in the background may still hold the pipe."""
    text, until = b"", time.monotonic() + _KEEPERS
    while select.select([reading], [], [], max(0.0, until - time.monotonic()))[0]:
        data = os.read(reading, 65536)
        if not data:
            break
        text += data
    return text.decode().splitlines()


def _check_hosts(sources: list[str], limit: str | None) -> None:
    """Ansible calls it a success when there is no host to work on."""
    known = load(sources)
    if not any(known.groups.get(group) for group in GROUPS):
        fix = "put a host into one; inventory/example shows how"
        raise Failure(f"inventory {', '.join(sources)} has no host in {', '.join(GROUPS)}", UNKNOWN, fix)
    if limit and not limit.startswith("@"):
        known_hosts.select(known, limit)


def _sudo_asks() -> bool:
    """Whether sudo on this machine wants a password; raises Failure (DENIED) when there is nobody to ask."""
    if os.geteuid() == 0:
        return False
    if not shutil.which("sudo"):
        raise Failure("setting up this machine needs root, and sudo is not installed", DENIED, "run it as root")
    if subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0:
        return False
    if not sys.stdin.isatty():
        fix = "run it as root, or on a terminal"
        raise Failure("sudo wants a password, and there is no terminal to ask for it", DENIED, fix)
    return True


def _environment(tree: str) -> dict[str, str]:
    environment = os.environ | {
        "ANSIBLE_CONFIG": os.path.join(tree, "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": paths.collections(),
        # An inventory with a mistake in it is else a warning, and no host at all a success.
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        **known_hosts.ignoring(),
    }
    # Ansible refuses to start in a locale that is not installed, as an ssh client's often is, or not UTF-8.
    try:
        locale.setlocale(locale.LC_ALL, "")
        fits = locale.nl_langinfo(locale.CODESET) == "UTF-8"
    except locale.Error:
        fits = False
    return environment if fits else environment | {"LC_ALL": "C.UTF-8"}


def _streamed(command: list[str], environment: dict[str, str], handles: tuple[int, ...]) -> int:
    """Its exit code; it is given the file descriptors `handles`.

    Ctrl-C reaches the child by itself, from the terminal; a TERM is passed on.
    """
    with subprocess.Popen(command, env=environment, pass_fds=handles) as child:
        handlers = {
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: child.terminate()),
        }
        try:
            code = child.wait()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return 99 if code in (-signal.SIGINT, -signal.SIGTERM) else code

"""Running a playbook of the tree with the Ansible of this environment, as a person would by hand."""

from __future__ import annotations

import importlib.util
import locale
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

from .. import isolated, paths
from ..errors import DENIED, FAILED, INTERRUPTED, OK, UNKNOWN, UNPROVEN, UNREACHABLE, Failure
from ..hosts.inventory import default_sources, load, select

GROUPS = ("redis", "celery_workers", "celery_beat")

# What ansible-playbook exits with (ansible/executor/task_queue_manager.py, ansible/cli/__init__.py): a host's
# failure 2 and an unreachable host 4 are added up, 99 is Ctrl-C, the others say themselves what is wrong.
_CODES = {0: OK, 4: UNREACHABLE, 6: UNREACHABLE, 99: INTERRUPTED}


def playbook(
    name: str, inventory: str | None = None, limit: str | None = None, extra: Sequence[str] = (), ask: bool = False
) -> int:
    """Run playbooks/NAME.yml, its output going to the terminal: this package's exit code for it.

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
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as outcome:
        try:
            code = _streamed(command, _environment(tree) | {"CELERYHOST_OUTCOME": str(writing)}, writing)
        finally:
            os.close(writing)
        os.set_blocking(reading, False)  # a process in the background may still hold the other end
        told = (outcome.read() or b"").split()
    return _CODES.get(code, UNPROVEN if told and set(told) == {b"%d" % UNPROVEN} else FAILED)


def _check_hosts(sources: list[str], limit: str | None) -> None:
    """Ansible calls it a success when there is no host to work on."""
    known = load(sources)
    if not any(known.groups.get(group) for group in GROUPS):
        fix = "put a host into one; inventory/example shows how"
        raise Failure(f"inventory {', '.join(sources)} has no host in {', '.join(GROUPS)}", UNKNOWN, fix)
    if limit and not limit.startswith("@"):
        select(known, limit)


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
    }
    # Ansible refuses to start in a locale that is not installed, as an ssh client's often is, or not UTF-8.
    try:
        locale.setlocale(locale.LC_ALL, "")
        fits = locale.nl_langinfo(locale.CODESET) == "UTF-8"
    except locale.Error:
        fits = False
    return environment if fits else environment | {"LC_ALL": "C.UTF-8"}


def _streamed(command: list[str], environment: dict[str, str], outcome: int) -> int:
    """Its exit code; what it says of hosts goes to the file descriptor `outcome`.

    Ctrl-C reaches the child by itself, from the terminal; a TERM is passed on.
    """
    with subprocess.Popen(command, env=environment, pass_fds=(outcome,)) as child:
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

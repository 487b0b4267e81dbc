"""Two laptops and one host: one run at a time, and none keeps the host who is gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time

import yaml
from celeryhost import errors

from tests.hosts.machine import run as machine

FREE = "flock -n /run/celeryhost/run.lock true"
SILENCE = 150  # seconds that a busy machine may take for what takes a host 30: freeing what somebody held who is gone
BUSY = {
    "hosts": "all",
    "become": True,
    "gather_facts": False,
    "tasks": [{"name": "Be at work", "ansible.builtin.raw": "sleep 120"}],
}


def one_at_a_time(board, laptop) -> None:
    """`laptop` is a folder with a checkout and inventory/mine, from which the board was provisioned."""
    other = laptop / "other"
    shutil.copytree(laptop / "inventory" / "mine", other / "inventory")
    playbook = laptop / "playbooks" / "busy.yml"
    whole = yaml.safe_load((laptop / "playbooks" / "provision.yml").read_text())
    whole[0]["tasks"] = whole[0]["tasks"][:1]
    playbook.write_text(yaml.safe_dump([whole[0], BUSY]))
    try:
        _refused(board, laptop, other)
        for ends in (_killed, _killed_command, _cut_off):
            with _at_work(laptop) as process:
                assert not _free(board)
                began = time.monotonic()
                with ends(board, process):
                    while not _free(board):
                        assert time.monotonic() - began < SILENCE, ends.__name__
                        time.sleep(0.5)
    finally:
        playbook.unlink()
        shutil.rmtree(other)


def _refused(board, laptop, other) -> None:
    provision = [laptop / "celeryhost", "provision", "-i", other / "inventory"]
    with _at_work(laptop) as process:
        done = _run(provision)
        assert done.returncode == errors.TIMEOUT, done.stdout
        assert "board is held by provision of " in done.stdout, done.stdout
        assert "Look at the machine" not in done.stdout, "before anything"
        assert "board is held by provision" in _run([*provision[:1], "-i", provision[-1], "lock"]).stdout
        assert _run([*provision, "--check"]).returncode == errors.OK, "a check needs none"
        assert board.ssh("celeryhost restart mysite-worker").returncode == errors.OK
        waits = subprocess.Popen([*provision, "--wait"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert any("waiting: board is held by" in line for line in waits.stdout)
        process.send_signal(signal.SIGINT)
        said, _ = waits.communicate(timeout=300)
        assert waits.returncode == errors.OK, said
    celeryhost = [laptop / "celeryhost", "-i", other / "inventory"]
    assert "moving" in _run([*celeryhost, "lock", "-m", "moving", "--for", "1h"]).stdout
    done = _run(provision)
    assert (done.returncode, "moving; wait with" in done.stdout) == (errors.TIMEOUT, True), done.stdout
    assert _run([*celeryhost, "unlock"]).returncode == errors.OK
    assert "Nothing differs" in _run(provision).stdout


@contextlib.contextmanager
def _at_work(laptop):
    """A run that has the lock."""
    code = "import sys; from celeryhost.controller import provision; sys.exit(provision.playbook('busy', sys.argv[1]))"
    process = subprocess.Popen(
        [laptop / ".venv" / "bin" / "python3", "-c", code, laptop / "inventory" / "mine"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = ""
        while "Be at work" not in said:  # a line is at its end when the task is
            more = process.stdout.read(1)
            assert more, said
            said += more
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def _free(board) -> bool:
    return board.ssh(FREE, check=False).returncode == 0


@contextlib.contextmanager
def _killed(board, process):
    os.killpg(process.pid, signal.SIGKILL)
    yield


@contextlib.contextmanager
def _killed_command(board, process):
    process.kill()  # and what it has started goes with it
    yield


@contextlib.contextmanager
def _cut_off(board, process):
    """No packet of a connection that is there now goes through; new ones do."""
    found = machine("ss", "-Htn", "state", "established", f"dst {board.address}:22").splitlines()
    ports = [line.split()[2].rpartition(":")[2] for line in found]
    rules = "".join(f"add rule inet cut out tcp sport {port} drop\n" for port in ports)
    chain = "{ type filter hook output priority 0; }"
    machine("nft", "-f", "-", input=f"add table inet cut\nadd chain inet cut out {chain}\n{rules}")
    try:
        yield
    finally:
        machine("nft", "delete", "table", "inet", "cut")


def _run(command):
    return subprocess.run(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=300,
        check=False,
    )

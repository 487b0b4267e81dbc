"""`celeryhost provision` where it can't even begin, or reaches nobody: one line, the right exit code."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from celeryhost import paths
from celeryhost.controller import provision
from celeryhost.errors import DENIED, FAILED, INTERRUPTED, UNKNOWN, UNREACHABLE, USAGE, Failure

SECONDS = 180


def celeryhost(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "celeryhost", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.fixture
def inventory(tmp_path):
    """An inventory of one host at an address of this machine, reached by ssh."""

    def write(port: int, groups="[redis]\nhere\n[celery_workers]\nhere\n[celery_beat]\nhere\n"):
        file = tmp_path / "hosts.ini"
        options = "-o ConnectTimeout=30 -o BatchMode=yes -F none"
        file.write_text(
            f"here ansible_host=127.0.0.1 ansible_port={port} ansible_ssh_retries=0 ansible_user=nobody "
            f'ansible_python_interpreter=/usr/bin/python3 ansible_ssh_common_args="{options}"\n{groups}'
        )
        return file

    return write


@pytest.mark.parametrize("arguments", [("provision", "-i", "nowhere"), ("-i", "nowhere", "provision")])
def test_missing_inventory(arguments, tmp_path):
    done = celeryhost(*arguments, cwd=tmp_path)
    assert done.returncode == USAGE
    assert done.stderr == "celeryhost: inventory 'nowhere' does not exist; name a file or folder with -i\n"


def test_unknown_host():
    done = celeryhost("provision", "--limit", "localhots")
    assert done.returncode == UNKNOWN
    assert done.stderr.count("\n") == 1
    assert "did you mean 'localhost'?" in done.stderr


def test_no_host_in_our_groups(inventory):
    done = celeryhost("provision", "-i", inventory(1, groups="[web]\nhere\n"))
    assert done.returncode == UNKNOWN
    assert "no host in redis, celery_workers, celery_beat" in done.stderr


def test_an_inventory_with_a_mistake(tmp_path):
    (tmp_path / "hosts.yml").write_text("all: [\n")
    done = celeryhost("provision", "-i", tmp_path / "hosts.yml")
    assert done.returncode == FAILED
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_unreachable(inventory):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        done = celeryhost("provision", "-i", inventory(closed.getsockname()[1]), "--check")
    assert done.returncode == UNREACHABLE, done
    assert "Connection refused" in done.stdout
    assert "check that it is up" in done.stdout
    assert "unreachable=1" in done.stdout


def test_ctrl_c(inventory):
    with socket.create_server(("127.0.0.1", 0)) as mute:  # an sshd that never says a word
        process = subprocess.Popen(
            [sys.executable, "-m", "celeryhost", "provision", "-i", inventory(mute.getsockname()[1])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        mute.settimeout(SECONDS)
        connection, _ = mute.accept()
        with connection:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == INTERRUPTED, said
    assert "Traceback" not in said
    deadline = time.monotonic() + SECONDS
    while _group_lives(process.pid):
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.1)


def _group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_unprovision_does_not_act_unasked():
    done = celeryhost("unprovision")
    assert done.returncode == USAGE
    assert "add --yes" in done.stderr


def test_on_a_host_there_are_no_playbooks(tmp_path, root):
    shutil.copytree(root / "cli" / "celeryhost", tmp_path / "lib" / "celeryhost")
    done = celeryhost("provision", env=os.environ | {"PYTHONPATH": str(tmp_path / "lib")})
    assert done.returncode == FAILED
    assert "carries no playbooks" in done.stderr


def test_sudo_that_asks_needs_a_terminal(monkeypatch, tmp_path):
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\nexit 1\n")
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANSIBLE_INVENTORY", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with open(os.devnull) as nobody, pytest.raises(Failure) as failure:
        monkeypatch.setattr(sys, "stdin", nobody)
        provision.playbook("provision")
    assert failure.value.code == DENIED
    assert "no terminal" in failure.value.message


def test_without_sudo_only_root_may(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANSIBLE_INVENTORY", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Failure, match="sudo is not installed") as failure:
        provision.playbook("provision")
    assert failure.value.code == DENIED


def test_the_tree_is_the_checkout(root):
    assert paths.tree() == str(root)


IN_THE_MIDDLE = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - {name: Look, ansible.builtin.stat: {path: /}, register: __found}
    - {name: Act, ansible.builtin.debug: {msg: "{{ __found.stat.exists }}"}}
"""


def test_a_start_in_the_middle_says_what_it_passes_over(tmp_path, root):
    (tmp_path / "play.yml").write_text(IN_THE_MIDDLE)
    command = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), tmp_path / "play.yml"]
    done = subprocess.run([*command, "--start-at-task", "Act"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said = "'__found' is undefined: --start-at-task 'Act' passes over the task that finds it out; start at 'Look at the"
    assert said in done.stdout
    assert subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0

"""What somebody can do to the controller who answers in the place of a host: nothing but have a text printed.

`ssh` is a program that runs here what Ansible asks of the host, as sshd does there, but for the questions to
celeryhost, which it answers as it likes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SSH = """#!{python}
import json, os, shutil, sys
command = sys.argv[-1]
if "look.main" not in command:
    os.execv("/bin/sh", ["sh", "-c", command])
asked = json.load(sys.stdin)
if archive := asked["arguments"].get("archive"):
    shutil.copy(archive, {folder!r} + "/archive")
print({answer!r})
"""


@pytest.fixture
def play(tmp_path):
    """Run tasks on such a host, then one task on all hosts; returns what was printed."""

    def run(answer: dict, *tasks: dict) -> str:
        ssh = tmp_path / "ssh"
        ssh.write_text(SSH.format(python=sys.executable, folder=str(tmp_path), answer=json.dumps(answer)))
        ssh.chmod(0o755)
        host = {
            "ansible_host": "192.0.2.1",
            "ansible_ssh_executable": str(ssh),
            "ansible_ssh_transfer_method": "piped",
            "ansible_remote_tmp": str(tmp_path / "remote"),
            "ansible_python_interpreter": sys.executable,
        }
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"board": host}}}))
        then = {"ansible.builtin.debug": {"msg": "on {{ inventory_hostname }}"}}
        plays = [{"hosts": "all", "gather_facts": False, "tasks": list(each)} for each in (tasks, [then])]
        (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "hosts.yml", tmp_path / "play.yml"],
            env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.parametrize("facts", [{"ansible_connection": "local"}, ["none"]])
def test_it_brings_no_host_of_its_own_into_the_play(play, facts):
    """That host would be this machine, and what sudo is called there a command of its choice."""
    more = {"host_name": "evil", "groups": ["celery_workers"], "host_vars": {"ansible_connection": "local"}}
    answer = {"changed": True, "add_host": more, "ansible_facts": facts, "_ansible_verbose_always": True, "msg": "evil"}
    said = play(answer, {"celeryhost.celeryhost.password_file": {"path": "/nowhere"}})
    assert "on board" in said
    assert "evil" not in said


def test_it_gets_no_file_but_those_of_the_project(play, tmp_path):
    for file in ("site/manage.py", "secret"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(f"# {file}\n")
    answer = {"changed": True, "wanted": ["manage.py", "../secret", str(tmp_path / "secret"), "/etc/hostname"]}
    arguments = {"src": str(tmp_path / "site"), "dest": "/srv/site", "owner": "site", "record": "/etc/site.files"}
    play(answer, {"celeryhost.celeryhost.project_folder": arguments})
    with tarfile.open(tmp_path / "archive") as archive:
        assert archive.getnames() == ["manage.py"]


def test_its_warnings_drive_no_terminal(play):
    answer = {"changed": True, "warnings": ["a\x1b]0;OWNED\x07\x9b31m\u202eb", {"msg": "c\x1b[2J"}, 5]}
    said = play(answer, {"celeryhost.celeryhost.password_file": {"path": "/nowhere"}})
    assert "OWNED" in said
    assert not set("\x1b\x07\x9b\u202e") & set(said)

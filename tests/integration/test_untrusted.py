"""Words of a project and of a host, in real plays: they arrive as they are, and nothing of them is ever a template."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EVIL = "{{ lookup('pipe', 'touch $IFS%s') }}"
# What the roles do with a description and with what a host has answered.
PLAY = """
- hosts: all
  gather_facts: false
  vars:
    __apps: "{{ celery_apps | celeryhost.celeryhost.apps }}"
    __derived: "{{ [__said.answer] + __apps | map(attribute='version') }}"
    __places: "{{ __apps | celeryhost.celeryhost.code_places({__apps[0].name: __said.answer}) }}"
  tasks:
    - ansible.builtin.command: {argv: [printf, '{"answer": "%s"}', "{% raw %}EVIL{% endraw %}"]}
      register: __printed
    - ansible.builtin.set_fact: {__said: "{{ __printed.stdout | from_json }}"}
    - ansible.builtin.set_fact: {__kept: "{{ __apps }}", __answers: "{{ __derived }}", __kept_places: "{{ __places }}"}
    - ansible.builtin.debug: {msg: "{{ __kept }} {{ __answers }} {{ __kept_places }}"}
    - ansible.builtin.debug: {msg: "{{ hostvars[inventory_hostname].__kept }}"}
    - ansible.builtin.debug: {msg: "{{ item.environment }} {{ item.version }} at {{ __said.answer }}"}
      loop: "{{ __kept + __apps }}"
      loop_control: {label: "{{ item.version }}"}
      when: item.version != __said.answer ~ '-'
    - ansible.builtin.copy: {dest: "{{ told }}", content: "{{ {'apps': __kept, 'answers': __answers} | to_json }}"}
"""


@pytest.fixture
def mine(tmp_path):
    """An inventory that init wrote for a project of evil words, and the file that these would make."""
    marker = tmp_path / "ran"
    evil = EVIL % marker
    site = tmp_path / "site"
    shutil.copytree(ROOT / "examples" / "mysite", site)
    for name in ("manage.py", "mysite/celery.py"):
        file = site / name
        file.write_text(file.read_text().replace('"mysite.settings"', f'"mysite.settings{evil}"'))
    branch = f"{{{{lookup('pipe','touch${{IFS}}{marker}')}}}}"
    for words in (["init", "-q"], ["symbolic-ref", "HEAD", f"refs/heads/{branch}"], ["add", "-A"]):
        subprocess.run(["git", "-C", site, *words], check=True)
    subprocess.run(["git", "-C", site, "remote", "add", "origin", "https://git.invalid/x.git"], check=True)
    command = [sys.executable, "-m", "celeryhost", "init", site, "--host", "localhost", "-o", tmp_path / "mine"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return tmp_path / "mine", marker, branch


def test_a_project_runs_nothing_on_the_controller(mine, tmp_path):
    inventory, marker, branch = mine
    (tmp_path / "play.yml").write_text(PLAY.replace("EVIL", EVIL % marker))
    told = tmp_path / "told.json"
    command = [os.environ.get("ANSIBLE_PLAYBOOK", Path(sys.executable).with_name("ansible-playbook"))]
    command += ["-i", inventory, tmp_path / "play.yml", "-e", f"told={told}"]
    done = subprocess.run(
        command,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not marker.exists(), done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(told.read_text())
    [app] = found["apps"]
    assert app["version"] == branch
    assert app["environment"]["DJANGO_SETTINGS_MODULE"] == f"mysite.settings{EVIL % marker}"
    assert found["answers"] == [EVIL % marker, branch]

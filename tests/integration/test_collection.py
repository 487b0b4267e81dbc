"""The repository is a collection: built, installed, and found by somebody else's playbook with no checkout near."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ANSIBLE = Path(sys.executable).parent
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*cache", "*.egg-info")
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: celeryhost.celeryhost.redis}
      when: false
    - celeryhost.celeryhost.machine_facts:
      register: there
    - celeryhost.celeryhost.owned_paths: {folders: "{{ {folder: {'made': true}} }}"}
    - ansible.builtin.assert:
        that:
          - there.memory_mb > 0
          - "[{'name': 'mysite'}] | celeryhost.celeryhost.apps | map(attribute='user') | list == ['mysite']"
"""


def run(*command, **options) -> str:
    done = subprocess.run(
        [ANSIBLE / command[0], *command[1:]], capture_output=True, text=True, timeout=300, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory, root):
    """The archive that Galaxy would be given."""
    copy = shutil.copytree(root, tmp_path_factory.mktemp("collection") / "checkout", ignore=LEFT_OUT, symlinks=True)
    (copy / "inventory" / "mine").mkdir()
    (copy / "inventory" / "mine" / "secret.yml").write_text("redis_password: secret\n")
    run("ansible-galaxy", "collection", "build", copy, "--output-path", copy.parent)
    (archive,) = copy.parent.glob("celeryhost-celeryhost-*.tar.gz")
    return archive


def test_it_holds_what_playbooks_use(built):
    with tarfile.open(built) as archive:
        held = set(archive.getnames())
    assert {"roles/redis/tasks/main.yml", "plugins/action/state.py", "cli/celeryhost/apps.py", "README.md"} <= held
    assert {"playbooks/provision.yml", "templates/redis.conf.j2", "meta/runtime.yml"} <= held
    assert not [name for name in held if name.startswith(("tests", "inventory", "playbooks/collections", "."))]


def test_somebody_elses_playbook_finds_roles_modules_and_filters(built, tmp_path):
    (tmp_path / "play.yml").write_text(PLAY)
    elsewhere = {"cwd": tmp_path, "env": os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections")}}
    run("ansible-galaxy", "collection", "install", built, "-p", tmp_path / "collections", **elsewhere)
    python = f"ansible_python_interpreter={sys.executable}"
    run("ansible-playbook", "-e", python, "-e", f"folder={tmp_path}", tmp_path / "play.yml", **elsewhere)


def test_each_module_without_an_action_of_its_own_has_the_one_of_all(root):
    plugins = root / "plugins"
    routed = yaml.safe_load((root / "meta" / "runtime.yml").read_text())["plugin_routing"]["modules"]
    assert {name for name, route in routed.items() if route["action_plugin"] == "celeryhost.celeryhost.state"} == {
        module.stem for module in (plugins / "modules").glob("*.py") if not (plugins / "action" / module.name).exists()
    }

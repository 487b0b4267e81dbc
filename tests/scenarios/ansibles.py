"""What somebody does who knows Ansible, with the playbook, the roles and the collection, on a provisioned host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ANSIBLE = Path(sys.executable).parent
PROVISION = "playbooks/provision.yml"
MINE = "\n- name: Have mine, too\n  ansible.builtin.copy: {dest: /etc/mine, content: mine, mode: '0644'}\n"
REDIS = """
- hosts: redis
  become: true
  gather_facts: false
  roles: [celeryhost.celeryhost.redis]
"""
OPEN = "chmod 0666"
REDIS_FILE, CELERY_FILE = "/etc/redis/celeryhost.conf", "/etc/supervisor/conf.d/mysite-celery.conf"


def play(folder, *options, playbook=PROVISION, **more):
    """What ansible-playbook prints that must succeed."""
    command = [ANSIBLE / "ansible-playbook", "-i", "inventory/mine", playbook, *options]
    environment = os.environ | {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "ssh")} | more
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, check=False, **streams)
    assert done.returncode == 0, done.stdout
    return done.stdout


def modes(host):
    return host.ssh(f"stat -c %a {REDIS_FILE} {CELERY_FILE}").stdout.split()


def look_and_choose(host, folder):
    """--check --diff, --tags and --skip-tags touch what they say; a run that begins in the middle does the rest."""
    host.ssh(f"{OPEN} {REDIS_FILE} {CELERY_FILE}")
    said = play(folder, "--check", "--diff")
    assert "redis: Write its settings" in said
    assert modes(host) == ["666", "666"]
    play(folder, "--tags", "celery")
    assert modes(host) == ["666", "600"]
    play(folder, "--skip-tags", "redis")
    assert modes(host) == ["666", "600"]
    assert "Compare it" not in play(folder, "--start-at-task", "Begin to install packages")
    assert modes(host) == ["640", "600"]
    play(folder)  # it was not seen that role redis has run to its end
    assert "Nothing differs" in play(folder)


def add_a_task(host, folder):
    """An ordinary task in a role runs each time, and the role once more when it is taken out again."""
    tasks = folder / "roles" / "redis" / "tasks" / "main.yml"
    before = tasks.read_text()
    tasks.write_text(before + MINE)
    for _ in range(2):
        play(folder)
        assert host.ssh("cat /etc/mine").stdout == "mine"
        host.ssh("rm /etc/mine")
    tasks.write_text(before)
    assert "redis: its last run" in play(folder)
    assert "Nothing differs" in play(folder)


def use_one_role(host, folder, root):
    """Role redis alone, from the collection as Galaxy would have it, in somebody else's playbook."""
    galaxy = [ANSIBLE / "ansible-galaxy", "collection"]
    subprocess.run([*galaxy, "build", root, "--output-path", folder / "built"], cwd=folder.parent, check=True)
    (archive,) = (folder / "built").iterdir()
    place = folder / "collections"
    subprocess.run([*galaxy, "install", archive, "-p", place], cwd=folder.parent, check=True)
    elsewhere = {"ANSIBLE_CONFIG": str(folder / "none.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(place)}
    (folder / "mine.yml").write_text(REDIS)
    said = play(folder, playbook="mine.yml", **elsewhere)
    assert "failed=0" in said
    assert "Supervisor" not in said
    assert "PONG" in host.ssh("REDISCLI_AUTH=$(cat /etc/celeryhost/redis.password) redis-cli ping").stdout
    assert "changed=0 " in play(folder, playbook="mine.yml", **elsewhere)

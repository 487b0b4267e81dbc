"""The README's commands, word for word, on hosts that have only git, python3 and ca-certificates."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter

import pytest
import yaml
from celeryhost import errors

from tests.hosts.host import KEY
from tests.scenarios import pages

from .ansibles import add_a_task, look_and_choose, use_one_role
from .attacks import attack
from .drift import find_and_mend
from .hooks import around_a_provisioning
from .locks import one_at_a_time
from .refused import refuse_and_mend
from .valkey import use_valkey


@pytest.mark.parametrize("init", ["systemd", "none"])
def test_this_machine(host, init, root, checkout, readme, subtests):
    (provision,) = readme("on a fresh machine")
    bare = host(init=init)
    bare.copy(root, "celeryhost", files=checkout)
    inventory = "inventory/local/group_vars/all.yml"
    if init == "systemd":  # code that is changed in place; the other has releases
        bare.ssh(f"cd celeryhost && sed -i 's/  - name: mysite/&\\n    keep: false/' {inventory}")

    first = bare.ssh(f"cd celeryhost && AWS_SECRET_ACCESS_KEY=of-root {provision}")
    password = bare.ssh("cat /etc/celeryhost/redis.password").stdout.strip()
    assert password not in first.stdout + first.stderr
    bare.ssh("python3 -", input=(root / "tests/molecule/common/verify.py").read_text())
    said = {command: bare.ssh(command).stdout for command in readme("on the provisioned machine")}
    assert "mysite-worker" in said["celeryhost status"]
    assert said["sudo celeryhost run app.tasks.sum 2 3"].strip() == "5"
    assert "1 node online" in said["sudo celeryhost celery mysite -- inspect active"]

    second = bare.ssh(f"cd celeryhost && {provision}")
    assert set(re.findall(r"changed=(\d+)", second.stdout)) == {"0"}
    assert "Nothing differs" in second.stdout

    spawned = starts(bare)
    bare.ssh(f"cd celeryhost && sed -i 's/  - name: mysite/&\\n    workers: [{{concurrency: 1}}]/' {inventory}")
    bare.ssh(f"cd celeryhost && {provision}")
    assert starts(bare) - spawned == Counter({"mysite-worker": 1})
    if init == "systemd":
        find_and_mend(bare, provision)
        refuse_and_mend(bare, provision)
    else:
        attack(bare, subtests)


def test_from_a_laptop(host, root, checkout, readme, tmp_path, subtests, screenshots):
    board = host()
    board.ssh("echo 127.0.1.1 board >>/etc/hosts && hostname board")  # as the inventory calls it
    for path in checkout:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, tmp_path / path, follow_symlinks=False)
    copy, check, provision, status = readme("on a laptop")

    laptop(copy, tmp_path)
    fill_in(tmp_path / "inventory" / "mine", board, **repository(board, tmp_path / "examples" / "mysite"), flower=True)
    before = files(board)
    laptop(check, tmp_path)
    assert files(board) == before
    cut_short(provision, tmp_path, "Install requirements")
    assert "failed=0" in laptop(provision, tmp_path)
    running = re.findall(r"^board +(\S+) +RUNNING", laptop(status, tmp_path), re.MULTILINE)
    assert {"mysite-beat", "mysite-worker"} <= set(running)

    deploy_and_go_back(board, tmp_path, readme("from a laptop, each week"))
    look_and_choose(board, tmp_path)
    add_a_task(board, tmp_path)
    one_at_a_time(board, tmp_path)
    around_a_provisioning(board, tmp_path)

    with subtests.test("the web pages"):
        pages.look(tmp_path, "inventory/mine", screenshots)

    hosts = add_host_that_is_down(tmp_path / "inventory" / "mine" / "hosts.yml", "away")
    code, said = run(status, tmp_path)
    assert code == errors.UNREACHABLE
    assert re.findall(r"^board +(\S+) +RUNNING", said, re.MULTILINE) == running, "a host that is down hides no other"
    assert "away" in said

    hosts.unlink()
    laptop("./celeryhost unprovision -i inventory/mine --yes", tmp_path)
    look = "ls /etc/supervisor/conf.d /srv/mysite/current/backend; dpkg -l redis-server supervisor | grep ^ii"
    left = board.ssh(look, check=False)
    assert "celery" not in left.stdout
    assert board.ssh("find /etc -name '*flower*'").stdout == ""
    assert "manage.py" in left.stdout, "code stays"
    assert "ii" not in left.stdout.split()
    use_one_role(board, tmp_path, root)
    use_valkey(board, tmp_path)


REFUSALS = {
    "no room": ("-e machine_min_free_mb=99999999", "machine_min_free_mb"),
    "a system that is too old": ("-e '{__machine_oldest: {Debian: \"99\"}}'", "Debian 12"),
    "a Python that is too old": ("-e __machine_python=9.9", "Python 3.11"),
    "a wrong password for sudo": ("-e ansible_user=deploypw -e ansible_become_password=wrong", "call again with -K"),
    "an account that does not exist": ("-e '{celery_apps: [{name: mysite, user: nobody-here}]}'", "nobody-here"),
    "a folder without the project": ("-e '{celery_apps: [{name: mysite, source: /usr/share}]}'", "manage.py"),
    "a Celery app that is not there": ("-e '{celery_apps: [{name: mysite, source: SOURCE, app: misite}]}'", "misite"),
    "a key that does not exist": (
        "-e '{celery_apps: [{name: mysite, wokers: []}]}'",
        "FAILED\n          unknown key 'wokers' of app mysite; did you mean 'workers'",
    ),
    "a port that something else has": ("-e redis_port=22", "redis_port: 22 is taken on board by sshd"),
    "an address where nothing answers": ("-e ansible_host=127.0.0.1 -e ansible_port=9", "check that it is up"),
}


def test_refusals(host, root, tmp_path):
    board = host(suite="bookworm")
    shutil.copytree(root / "inventory" / "example", tmp_path / "inventory" / "mine")
    fill_in(tmp_path / "inventory" / "mine", board, source=str(root / "examples" / "mysite"))
    before = files(board)
    said = {}
    for case, (options, expected) in REFUSALS.items():
        options = options.replace("SOURCE", str(root / "examples" / "mysite"))
        command = f"{root}/celeryhost provision -i inventory/mine {options}"
        code, said[case] = run(command, tmp_path)
        assert (code != 0, expected in said[case]) == (True, True), f"{case}:\n{said[case]}"
        assert "Traceback" not in said[case]
    assert files(board) == before
    # Only apt knows of this one, which works in the background then.
    fill_in(
        tmp_path / "inventory" / "mine", board, source=str(root / "examples" / "mysite"), packages=["no-such-package"]
    )
    code, text = run(f"{root}/celeryhost provision -i inventory/mine", tmp_path)
    assert (code != 0, "Unable to locate package no-such-package" in text) == (True, True), text


@pytest.fixture
def readme(root):
    """`readme(label)`: the commands of the block that the README labels so, comments left out."""
    text = (root / "README.md").read_text()

    def commands(label):
        block = re.search(rf"<!-- {label} -->\n```sh\n(.*?)```", text, re.DOTALL)[1]
        return [line.partition(" #")[0].strip() for line in block.splitlines()]

    return commands


def run(command, folder):
    """The exit code of a command in that folder, and all it printed."""
    done = subprocess.run(command, **shell(folder))
    return done.returncode, done.stdout


def laptop(command, folder):
    """What a command prints that must succeed."""
    code, said = run(command, folder)
    assert code == 0, said
    return said


def deploy_and_go_back(host, folder, commands):
    """A commit is deployed, is seen among the releases, and is left again, without the repository being there."""
    deploy, releases, rollback = commands
    commit = "git -c user.name=me -c user.email=me@example commit -qam change"
    host.ssh(f"cd /opt/shop && echo '# a change' >>backend/app/tasks.py && {commit}")
    laptop(deploy, folder)
    assert re.findall(r"^  \S+ +(running|proven) ", laptop(releases, folder), re.MULTILINE) == ["running", "proven"]
    host.ssh("mv /opt/shop /opt/away")
    assert re.match(r"board  mysite: went back to \S+, from \S+\n$", laptop(rollback, folder))
    assert re.findall(r"^  \S+ +(running|rolled) ", laptop(releases, folder), re.MULTILINE) == ["rolled", "running"]
    host.ssh("mv /opt/away /opt/shop")


def cut_short(command, folder, task):
    """Kill a command, and all it has started, once it says that this task has begun."""
    process = subprocess.Popen(command, **shell(folder), start_new_session=True)
    said = []
    for line in process.stdout:
        said.append(line)
        if task in line:
            break
    else:
        raise AssertionError("".join(said))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def shell(folder):
    environment = os.environ | {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "ssh")}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return {"shell": True, "cwd": folder, "env": environment, "text": True, **streams}


def repository(host, project):
    """Have a git repository there, with the project in a folder of it; returns what celery_apps says of it."""
    host.copy(project, "/opt/shop/backend")
    commit = "git -c user.name=me -c user.email=me@example commit -qm all"
    host.ssh(f"git config --system safe.directory '*'; cd /opt/shop && git init -q -b main && git add . && {commit}")
    return {"source": "file:///opt/shop", "subfolder": "backend"}


def fill_in(inventory, host, **app):
    """The three places, the key that a person has in their agent, and further keys of the app."""
    path = inventory / "hosts.yml"
    hosts = yaml.safe_load(path.read_text())
    hosts["all"]["vars"] |= {
        "ansible_user": "deploy",
        "ansible_ssh_private_key_file": str(KEY),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
    }
    hosts["all"]["children"]["redis"]["hosts"]["board"]["ansible_host"] = host.address
    path.write_text(yaml.safe_dump(hosts))
    path = inventory / "group_vars" / "all.yml"
    apps = yaml.safe_load(path.read_text())
    apps["celery_apps"][0] |= app
    path.write_text(yaml.safe_dump(apps))


def add_host_that_is_down(path, name):
    """Write a file beside that one, which puts another host into the inventory; returns it."""
    extra = path.with_name("down.yml")
    unreachable = {"ansible_host": "127.0.0.1", "ansible_port": 9}
    extra.write_text(yaml.safe_dump({"celery_workers": {"hosts": {name: unreachable}}}))
    return extra


def files(host):
    """What is installed and configured there."""
    return host.ssh("dpkg -l; find /etc /srv /opt /usr/local /var/lib -xdev -type f -newermt 2000-01-01 | sort").stdout


def starts(host):
    """How often supervisord has started each program, from its log."""
    return Counter(re.findall(r"spawned: '(\S+)'", host.ssh("cat /var/log/supervisor/supervisord.log").stdout))

"""The tools that bench/provision compares: how each is installed, told about its hosts, run and measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sides import ROOT

from tests.hosts import Host

CACHE = Path(os.environ.get("CELERYHOST_BENCH_HOME", "/var/cache/celeryhost-bench"))  # environments, made once
FILES = ROOT / "bench" / "alternatives"
PROJECT = ROOT / "examples" / "mysite"
ANSIBLE = ["ansible>=12,<13", "mitogen>=0.3.30,<0.4"]  # with the collections whose modules the playbook uses
PYINFRA = ["pyinfra>=3.5,<4"]
PASSWORDS = {name: os.urandom(16).hex() for name in ("redis_password", "supervisor_password")}
TIMEOUT = 1800  # seconds; a cold run on an emulated host takes minutes


class Unusable(Exception):
    """A tool can't be installed, or did not do its job; the message is the reason, in one line."""


class Run(NamedTuple):
    """What one run of a tool took."""

    began: float  # seconds since the epoch
    seconds: float
    cpu: float  # seconds, of the tool and all it has started on the controller
    wire: float  # kB to and from the hosts
    tasks: float  # on one host, without those that were skipped
    changed: float


class Tool(NamedTuple):
    """`prepare(place, hosts, limit)` writes the tool's inventory into the folder and returns command and environment.

    `limit`, tasks after which a worker's child is replaced, is the one line that changes. `counted` reads the numbers
    of tasks and of changes, of all hosts, from what the tool prints.
    """

    prepare: Callable[[Path, list[Host], int], tuple[list, dict[str, str]]]
    counted: Callable[[str], tuple[int, int]]


def celeryhost(place, hosts, limit):
    """The roles of this tree, as the README says to call them."""
    app = {
        "name": "mysite",
        "source": str(PROJECT),
        "environment": {"DJANGO_SETTINGS_MODULE": "mysite.settings"},
        "workers": [{"concurrency": 2, "max_tasks_per_child": limit}],
    }
    names = dict.fromkeys(host.name for host in hosts)
    groups = {group: {"hosts": names} for group in ("redis", "celery_workers", "celery_beat")}
    inventory = _inventory(place / "celeryhost.json", hosts, {"celery_apps": [app]}, groups)
    return [ROOT / ".venv/bin/celeryhost", "provision", "-i", inventory], _ssh(place)


def ansible(place, hosts, limit):
    """The playbook in Ansible's defaults."""
    variables = {**PASSWORDS, "source": str(PROJECT), "max_tasks_per_child": limit}
    inventory = _inventory(place / "ansible.json", hosts, variables, {})
    program = environment("ansible", ANSIBLE) / "bin/ansible-playbook"
    configuration = {"ANSIBLE_CONFIG": str(FILES / "ansible/defaults.cfg")}
    return [program, "-i", inventory, FILES / "ansible/playbook.yml"], _ssh(place) | configuration


def tuned(place, hosts, limit):
    """The same playbook, configured as guides to a faster Ansible say."""
    command, variables = ansible(place, hosts, limit)
    return command, variables | {"ANSIBLE_CONFIG": str(FILES / "ansible/tuned.cfg")}


def mitogen(place, hosts, limit):
    """The same, tuned, under Mitogen's strategy."""
    command, variables = tuned(place, hosts, limit)
    (plugins,) = environment("ansible", ANSIBLE).glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy")
    return command, variables | {"ANSIBLE_STRATEGY_PLUGINS": str(plugins), "ANSIBLE_STRATEGY": "mitogen_linear"}


def pyinfra(place, hosts, limit):
    """The same state, in pyinfra's terms."""
    data = {
        **PASSWORDS,
        "source": str(PROJECT),
        "max_tasks_per_child": limit,
        "ssh_user": "root",
        "ssh_key": str(Host.key),
        "ssh_strict_host_key_checking": "no",
        "ssh_known_hosts_file": "/dev/null",
    }
    listed = [(host.name, {"ssh_hostname": host.address}) for host in hosts]
    inventory = _private(place / "inventory.py", f"hosts = ({listed}, {data})\n")
    return [environment("pyinfra", PYINFRA) / "bin/pyinfra", "-y", inventory, FILES / "pyinfra/deploy.py"], {}


def _recap(output: str) -> tuple[int, int]:
    found = re.findall(r" : ok=(\d+) +changed=(\d+)", output)
    return sum(int(ok) for ok, _ in found), sum(int(changed) for _, changed in found)


def _results(output: str) -> tuple[int, int]:
    total, done, *_ = re.search(r"Grand total +(\d+) +(\d+|-)", output).groups()
    return int(total), int(done.replace("-", "0"))


TOOLS = {
    "celeryhost": Tool(celeryhost, _recap),
    "Ansible": Tool(ansible, _recap),
    "Ansible tuned": Tool(tuned, _recap),
    "Mitogen": Tool(mitogen, _recap),
    "pyinfra": Tool(pyinfra, _results),
}


def run(name: str, place: Path, hosts: list[Host], limit: int) -> Run:
    """Bring the hosts to the state with a tool; raises Unusable when it fails."""
    tool = TOOLS[name]
    command, variables = tool.prepare(place, hosts, limit)
    log = place / "output"
    before = _traffic(hosts)
    with log.open("w") as output:
        began = time.time()
        process = subprocess.Popen(
            ["timeout", "--kill-after=10", str(TIMEOUT), *map(str, command)],
            cwd=place,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.time() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    wire = (_traffic(hosts) - before) / 1000
    # The next run begins as this one did: a run with each deploy finds no connection open.
    for master in (place / "ssh").glob("*"):
        subprocess.run(["ssh", "-O", "exit", "-S", master, "none"], capture_output=True, check=False)
    said = log.read_text()
    if process.returncode:
        print(f"{name} ended with {process.returncode}:\n{said[-5000:]}", file=sys.stderr)
        raise Unusable(_reason(said))
    tasks, changed = (number / len(hosts) for number in tool.counted(said))
    return Run(began, seconds, used.ru_utime + used.ru_stime, wire, tasks, changed)


def environment(name: str, requirements: list[str]) -> Path:
    """A virtual environment with these packages, made once; raises Unusable with what pip says last."""
    place = CACHE / name
    stamp = place / "requirements"
    if not stamp.exists() or stamp.read_text() != str(requirements):
        commands = [[sys.executable, "-m", "venv", "--clear", place]]
        commands += [[place / "bin/pip", "install", "-q", "--disable-pip-version-check", *requirements]]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Unusable(_reason(done.stdout + done.stderr))
        stamp.write_text(str(requirements))
    return place


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reason = next((line for line in lines if re.search(r"error|fatal", line, re.IGNORECASE)), lines[-1])
    return reason.partition(". ")[0]


def _traffic(hosts) -> int:
    """Bytes that the hosts' network cables have carried so far."""
    counters = [Path(f"/sys/class/net/vt-{host.name}/statistics") for host in hosts]
    return sum(int((folder / f"{way}_bytes").read_text()) for folder in counters for way in ("rx", "tx"))


def _inventory(path: Path, hosts, variables: dict, groups: dict) -> Path:
    reached = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(Host.key),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    listed = {host.name: {"ansible_host": host.address} for host in hosts}
    return _private(path, json.dumps({"all": {"hosts": listed, "vars": reached | variables, "children": groups}}))


def _private(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def _ssh(place: Path) -> dict[str, str]:
    """No question about keys of hosts that live for minutes; connections where `run` finds them."""
    return {
        "ANSIBLE_HOST_KEY_CHECKING": "false",
        "ANSIBLE_SSH_COMMON_ARGS": "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(place / "ssh"),
    }

"""`provision` killed at random moments, on a host: nothing is left stopped, half-written or locked, the next run works.

`python -m tests.kills_provision [COUNT [SEED [HOST]]]` prints a line for each kill that left something and one for all;
it is no part of every run. HOST is one that `python -m tests.hosts up` has made and `provision` has set up; without it
one is made. Each run has something to bring: another environment, and every second time other code and packages.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.hosts import Host
from tests.hosts.host import KEY

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
PACKAGES = ("tree", "bc", "rsync", "file")
PROGRAMS = ("mysite-worker", "mysite-beat", "celeryhost-watchdog", "celeryhost-page")
ENDS = 180  # seconds that what was begun on the host may take
HEALED = 5  # after so many kills a run that nothing cuts off
OTHER = "su -s /bin/sh mysite -c 'echo \"# x\" >>/srv/mysite/current/app/tasks.py'"
LEFT = (
    "find /etc/supervisor /etc/celeryhost /etc/logrotate.d /etc/systemd/system /run /usr/local /srv/mysite "
    "-xdev '(' -name '*.celeryhost-new' -o -name '.*.celeryhost' -o -name '*.new' ')' -not -path '*/site-packages/*'"
)
AT_WORK = "pgrep -fa '[a]nsible|[c]eleryhost[.]states|[p]ip install|[u]v pip' || true"
LOCKED = "for lock in /run/celeryhost/*.lock /etc/supervisor/.celeryhost.lock; do " \
         "[ ! -e $lock ] || flock -n $lock true || echo $lock; done"  # fmt: skip


def main(count: str = "50", seed: str = "1", name: str = "") -> int:
    """The number of kills that left something."""
    with contextlib.ExitStack() as stack:
        host = Host(name) if name else stack.enter_context(Host.up(f"kills-{secrets.token_hex(2)}"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return kill(host, folder, int(count), seed)


def kill(host, folder: Path, count: int, seed: str) -> int:
    dice, failed, cut = random.Random(seed), 0, 0
    run(host, folder, "begin", PACKAGES[0])
    host.ssh(OTHER)
    took = run(host, folder, "change", PACKAGES[1])  # as those that are killed
    for number in range(count):
        if number % 2:
            host.ssh(OTHER)
        sent, whole = dice.choice(SIGNALS), dice.random() < 0.6
        after = dice.uniform(0.5, took)
        inventory(host, folder, f"{seed}-{number}", dice.choice(PACKAGES))
        process = begin(folder)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        if process.poll() is None:
            cut += 1
            os.killpg(process.pid, sent) if whole else process.send_signal(sent)
        said, _ = process.communicate(timeout=ENDS)
        problems = ["a traceback"] if "Traceback (most" in said and sent != signal.SIGINT else []
        problems += left(host)
        if number % HEALED == HEALED - 1 or number == count - 1:
            try:
                run(host, folder, f"{seed}-{number}-healed", PACKAGES[0])
            except subprocess.CalledProcessError as error:
                problems.append(f"the next run: {error.output[-500:]}")
        failed += bool(problems)
        if problems:
            how = f"{sent.name} to {'all' if whole else 'its first process'} after {after:.1f} s"
            print(f"provision {number} of seed {seed}, {how}: {'; '.join(problems)}", flush=True)
    print(f"provision: {count} kills, {cut} before its end, {failed} left something", flush=True)
    return failed


def left(host) -> list[str]:
    """What is wrong once all that the host was at has ended."""
    end = time.monotonic() + ENDS
    while (at_work := host.ssh(AT_WORK).stdout.strip()) and time.monotonic() < end:
        time.sleep(1)
    while (down := stopped(host)) and time.monotonic() < end:
        time.sleep(1)
    found = [f"at work: {at_work}"] if at_work else []
    found += [f"not running: {', '.join(down)}"] if down else []
    return found + [f"left: {path}" for path in host.ssh(f"{LEFT}; {LOCKED}", check=False).stdout.split()]


def stopped(host) -> list[str]:
    states = dict(line.split()[:2] for line in host.ssh("supervisorctl status", check=False).stdout.splitlines())
    return [program for program in PROGRAMS if states.get(program) != "RUNNING"]


def inventory(host, folder: Path, value: str, package: str) -> None:
    connection = {
        "ansible_host": host.address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(KEY),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    environment = {"DJANGO_SETTINGS_MODULE": "mysite.settings", "VALUE": value}
    app = {"name": "mysite", "source": str(ROOT / "examples" / "mysite"), "environment": environment}
    app |= {"packages": [package], "workers": [{"concurrency": 2}], "beat": {}}
    groups = {group: {"hosts": {"board": None}} for group in ("redis", "celery_workers", "celery_beat")}
    groups = {"all": {"hosts": {"board": connection}, "vars": {"celery_apps": [app]}, "children": groups}}
    (folder / "inventory").mkdir(exist_ok=True)
    (folder / "inventory" / "hosts.yml").write_text(yaml.safe_dump(groups))


def begin(folder: Path):
    return subprocess.Popen(
        [ROOT / "celeryhost", "provision", "-i", folder / "inventory"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env=os.environ | {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "ssh")},
    )


def run(host, folder: Path, value: str, package: str) -> float:
    """How many seconds a whole run takes; raises CalledProcessError when it fails."""
    inventory(host, folder, value, package)
    began = time.monotonic()
    process = begin(folder)
    said, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "provision", said)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))

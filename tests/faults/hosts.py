"""The faults that need a whole machine: reboot, power cut, full disk, no memory, no name server; on two test hosts."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

from celeryhost.errors import Failure

from tests.hosts import Host
from tests.hosts.host import SSH
from tests.integration.conftest import wait_for

from .rows import FROZEN, QUIET, READY, Result, Row, measure, measure_beat
from .stack import CONCURRENCY, NAIVE_GRACE, OURS, ROOT, Ledger

PASSWORD = "of these hosts only"
PLACE = "/var/lib/ledger/ledger"
MEMORY = Path("/sys/fs/cgroup/memory")
BOARD = 700 << 20  # bytes of memory that the host has while one of its tasks eats more
EATEN = 1500  # MiB
SMALL = "16m"  # of /var/log
NAIVE = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update && apt-get -qq -y install redis-server supervisor python3-venv >/dev/null
useradd --system --home-dir /var/lib/ledger --create-home ledger
python3 -m venv /srv/ledger/venv && /srv/ledger/venv/bin/pip -q install 'celery[redis]>=5.5,<6'
mkdir -p /var/log/ledger
sed -i 's/^bind .*/bind 0.0.0.0/; s/^protected-mode yes/protected-mode no/' /etc/redis/redis.conf
cat >/etc/supervisor/conf.d/ledger.conf <<END
[program:ledger-worker]
command=/srv/ledger/venv/bin/celery -A ledger worker --loglevel=INFO --concurrency={CONCURRENCY}
directory=/srv/ledger
user=ledger
environment=LEDGER="{PLACE}",CELERY_BROKER_URL="redis://127.0.0.1:6379/0"
stdout_logfile=/var/log/ledger/worker.log
redirect_stderr=true
autostart=true
autorestart=true
startsecs=10
stopwaitsecs={NAIVE_GRACE}
[program:ledger-beat]
command=/srv/ledger/venv/bin/celery -A ledger beat --loglevel=INFO --schedule=/var/lib/ledger/celerybeat-schedule
directory=/srv/ledger
user=ledger
environment=LEDGER="{PLACE}",CELERY_BROKER_URL="redis://127.0.0.1:6379/0"
stdout_logfile=/var/log/ledger/beat.log
redirect_stderr=true
autostart=true
autorestart=true
startsecs=10
stopwaitsecs={NAIVE_GRACE}
END
systemctl restart redis-server supervisor
"""


class Machine(Ledger):
    """A test host with one side's configuration, provisioned by our playbook or as blogs do."""

    def __init__(self, side: str):
        self.host = Host.up(f"faults-{side[:5]}", sync=True)
        try:
            address = self.host.address
            login = f":{PASSWORD.replace(' ', '%20')}@" if side == OURS else ""
            super().__init__(side, self.host.root / PLACE[1:], f"redis://{login}{address}:6379/0")
            self.place = PLACE
            (self._provision if side == OURS else self._follow_blogs)()
            self.host.ssh(f"install --owner=ledger /dev/null {PLACE}")
            self._ready()
        except BaseException:
            self.host.down()
            raise

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_):
        self.close()
        self.host.down()

    def running(self) -> list[int]:
        return self.host._pids()

    def reset(self):
        """Begin anew, whatever the last fault has left."""
        self.host.ssh("systemctl stop --no-block supervisor", check=False)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.host.ssh("systemctl restart redis-server && systemctl restart supervisor")
        wait_for(lambda: self.broker.ping(), READY)
        self.broker.flushall()
        self._ready()

    def _ready(self):
        sent = self.send(1, 0)
        self.settle(sent, READY, READY)
        if self.count(sent).lost or self.count(sent).waiting:
            raise Failure(
                f"no task runs on {self.host.name}: {self.host.ssh('supervisorctl status', check=False).stdout}"
            )

    def _code(self, folder: Path):
        (folder / "ledger.py").write_text(Path(__file__).with_name("ledger.py").read_text())
        (folder / "requirements.txt").write_text("celery[redis]>=5.5,<6\n")
        (folder / "manage.py").touch()

    def _provision(self):
        with tempfile.TemporaryDirectory() as name:
            code, inventory = Path(name, "code"), Path(name, "hosts.yml")
            code.mkdir()
            self._code(code)
            groups = {group: {"hosts": {self.host.name: {}}} for group in ("redis", "celery_workers", "celery_beat")}
            connection = {
                "ansible_host": self.host.address,
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(self.host.key),
                "ansible_ssh_common_args": " ".join(SSH),
                "ansible_python_interpreter": "/usr/bin/python3",
                "redis_bind": f"127.0.0.1 {self.host.address}",
                "redis_host": "127.0.0.1",
                "redis_password": PASSWORD,
                "celery_apps": [
                    {
                        "name": "ledger",
                        "source": str(code),
                        "migrate": False,
                        "environment": {"LEDGER": PLACE},
                        "workers": [{"concurrency": CONCURRENCY}],
                        "verify": False,
                    }
                ],
            }
            inventory.write_text(json.dumps({"all": {"children": groups, "vars": connection}}))
            command = [ROOT / "celeryhost", "provision", "-i", inventory]
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise Failure(f"provisioning ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-500:]}")

    def _follow_blogs(self):
        with tempfile.TemporaryDirectory() as name:
            self._code(Path(name))
            self.host.copy(name, "/srv/ledger")
            self.host.ssh("chmod 755 /srv/ledger")
        self.host.ssh(NAIVE)


def reboot(machine: Machine):
    machine.host.reboot()


def cut_power(machine: Machine):
    machine.host.power_cut()


def kill_supervisord(machine: Machine):
    machine.host.ssh("kill -KILL $(systemctl show --property=MainPID --value supervisor)")


def take_name_server(machine: Machine):
    """No name can be looked up, and the worker starts once more."""
    machine.host.ssh("echo nameserver 192.0.2.1 >/etc/resolv.conf; supervisorctl restart ledger-worker")


def fill_logs(machine: Machine):
    """/var/log is full for 20 s."""
    machine.host.ssh("dd if=/dev/zero of=/var/log/full bs=64k 2>/dev/null; sleep 20; rm /var/log/full")


@contextlib.contextmanager
def small_log_partition(machine: Machine):
    """/var/log is a file system of SMALL."""
    use = f"""systemctl stop supervisor
cp -a /var/log /var/old-log && mount -t tmpfs -o size={SMALL},mode=755 tmpfs /var/log && cp -a /var/old-log/. /var/log
systemctl restart redis-server && systemctl start supervisor"""
    machine.host.ssh(use)
    machine._ready()
    yield
    machine.host.ssh(
        "systemctl stop supervisor redis-server; umount -l /var/log; systemctl start redis-server supervisor"
    )
    machine._ready()  # supervisord loses a TERM that meets a child between fork and exec, and waits its stopwaitsecs


def eat(machine: Machine):
    """Let a task take more memory than the host has."""
    machine.send(1, EATEN, 5, task="eat")


@contextlib.contextmanager
def little_memory(machine: Machine):
    """All of the host has to do with BOARD bytes of memory."""
    group = MEMORY / machine.host.name
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(BOARD))
    try:
        for pid in machine.running():
            with contextlib.suppress(OSError):
                (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        machine.broker.flushall()
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (MEMORY / "cgroup.procs").write_text(pid)
        group.rmdir()


def clear_logs(machine: Machine):
    """As the button on Supervisor's page: supervisord removes the files and makes them anew, root's."""
    machine.host.ssh("rm /var/log/ledger/beat.log; supervisorctl clear ledger-worker ledger-beat")


def on_full_disk(machine: Machine):
    with small_log_partition(machine):
        return logging(machine, measure(machine, fill_logs, 60, 2))


def without_logs(machine: Machine):
    return logging(machine, measure(machine, clear_logs, 20, 5))


def logging(machine: Machine, result: Result) -> Result:
    """The result, and whether the worker's log tells of one more task."""
    sent = machine.send(1, 0)
    machine.settle(sent, READY)
    logged = sent[0] in machine.host.ssh("cat /var/log/ledger/worker.log").stdout
    return result._replace(remark=f"logging {'resumed' if logged else 'stays dead'}")


def without_memory(machine: Machine):
    with little_memory(machine):
        redis, main = machine.broker.info("server")["process_id"], {note.parent for note in machine.notes()[-1:]}
        result = measure(machine, eat, 40, 2)
        time.sleep(5)
        eaten = sum(note.id.startswith("eat-") for note in machine.notes("started"))
        same = machine.broker.info("server")["process_id"] == redis
        stays = {note.parent for note in machine.notes()[-1:]} == main
        said = f"the eater was started {eaten} times; {'same' if same else 'ANOTHER'} Redis, "
        return result._replace(remark=said + f"{'same' if stays else 'ANOTHER'} worker")


def send_signal(name: str, program: str):
    """A fault: STOP, or USR2 to beat, and a process does nothing more, while Supervisor says that it is RUNNING."""

    def fault(machine: Machine):
        machine.host.ssh(f"kill -{name} $(supervisorctl pid {program})")

    return fault


def loaded(fault, fresh: str | None = None, quiet=QUIET):
    """The run of a row on a host: rows.measure with tasks of 5 s."""
    return partial(measure, fault=fault, tasks=20, seconds=5, fresh=fresh, quiet=quiet)


def beat_without(name: str):
    """The run of a row: beat gets a signal that ends its ticking."""
    return partial(measure_beat, fault=send_signal(name, "ledger-beat"), seconds=20, patience=FROZEN)


ROWS = [
    Row(
        "SIGKILL of supervisord, systemd", partial(measure, fault=kill_supervisord, tasks=20, seconds=5, fresh="parent")
    ),
    Row("DNS down, worker restarted", partial(measure, fault=take_name_server, tasks=20, seconds=2, fresh="parent")),
    Row(
        "worker frozen on a host", loaded(send_signal("STOP", "ledger-worker"), "parent", dict.fromkeys(QUIET, FROZEN))
    ),
    Row("beat frozen on a host", beat_without("STOP")),
    Row("beat hangs on a host", beat_without("USR2")),
    Row("/var/log full for 20 s", on_full_disk),
    Row("logs deleted and cleared", without_logs),
    Row("a task eats the memory", without_memory),
    Row("reboot under load", loaded(reboot)),
    Row("power cut under load", loaded(cut_power)),
]

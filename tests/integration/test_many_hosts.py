"""Each command on several hosts at once: two supervisords behind two real sshds, and a host that is down."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from celeryhost import errors
from conftest import Daemon, wait_for
from sshd import sshd
from waiting import line


class Hosts:
    """The hosts `board`, `cloud` and `down`, and `celeryhost -i …` for them."""

    def __init__(self, folder: Path, board: Daemon, cloud: Daemon):
        self.folder = folder
        self.board, self.cloud = board, cloud

    def describe(self, **hosts: dict):
        (self.folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))

    def run(self, *args: str, **options):
        return self.board.run("-i", str(self.folder / "hosts.json"), *args, cwd=self.folder, **options)

    def popen(self, *args: str):
        return self.board.popen("-i", str(self.folder / "hosts.json"), *args, cwd=self.folder)


@pytest.fixture
def hosts(monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    daemons = []
    for name in ("board", "cloud"):
        (folder / name).mkdir()
        daemons.append(Daemon(folder / name, [sys.executable, "-m", "supervisor.supervisord"]))
        daemons[-1].program("web")
        daemons[-1].program(f"{name}-worker")
    one, two = (sshd(folder / name, daemon.command()) for name, daemon in zip(("one", "two"), daemons, strict=True))
    with one as one, two as two, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # not listening: nobody else takes the port, and nobody answers
        made = Hosts(folder, *daemons)
        made.describe(board=one, cloud=two, down={**one, "ansible_port": closed.getsockname()[1]})
        try:
            for daemon in daemons:
                daemon.start()
            yield made
        finally:
            for daemon in daemons:
                daemon.end()
    shutil.rmtree(folder, ignore_errors=True)  # an ssh that ends meanwhile takes its socket with it


def rows(text: str) -> list[list[str]]:
    return [line.split()[:3] for line in text.splitlines()[1:]]


def test_status_of_all_with_one_down(hosts):
    done = hosts.run("status")
    assert done.returncode == errors.UNREACHABLE
    assert rows(done.stdout) == [
        ["board", "board-worker", "RUNNING"],
        ["board", "web", "RUNNING"],
        ["cloud", "cloud-worker", "RUNNING"],
        ["cloud", "web", "RUNNING"],
    ]
    assert done.stderr.startswith("celeryhost: down: ssh: connect to host 127.0.0.1 port ")
    assert len(done.stderr.splitlines()) == 1

    done = hosts.run("-H", "all:!down", "status", "--json", "web")
    assert (done.returncode, done.stderr) == (errors.OK, "")
    data = json.loads(done.stdout)
    assert [(host["host"], [p["name"] for p in host["programs"]]) for host in data["hosts"]] == [
        ("board", ["web"]),
        ("cloud", ["web"]),
    ]


def test_no_host_answers(hosts):
    done = hosts.run("-H", "down", "status")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (errors.UNREACHABLE, "", 1)


def test_a_host_whose_supervisord_is_down_hides_no_other(hosts):
    hosts.cloud.end()
    done = hosts.run("-H", "board,cloud", "status")
    assert (done.returncode, len(rows(done.stdout))) == (errors.DOWN, 2)
    assert done.stderr.startswith("celeryhost: cloud: ")


def test_a_program_of_one_host_only(hosts):
    done = hosts.run("-H", "board,cloud", "status", "board-worker")
    assert rows(done.stdout) == [["board", "board-worker", "RUNNING"]]
    assert done.returncode == errors.UNKNOWN
    assert "celeryhost: cloud: no program, group or app 'board-worker' here; did you mean" in done.stderr


def test_restart_on_all(hosts):
    before = hosts.board.pid("web"), hosts.cloud.pid("web")
    done = hosts.run("restart", "web")
    assert done.returncode == errors.UNREACHABLE
    assert sorted(line.split()[:3] for line in done.stdout.splitlines()) == [
        ["board", "web", "running"],
        ["cloud", "web", "running"],
    ]
    assert hosts.board.pid("web") != before[0]
    assert hosts.cloud.pid("web") != before[1]


def test_stop_on_several_hosts_is_confirmed(hosts):
    done = hosts.run("-H", "board,cloud", "stop", "web")
    assert (done.returncode, done.stdout) == (errors.USAGE, "")
    assert "Stop web on 2 hosts? Nobody is here to answer; add --yes" in done.stderr
    assert hosts.board.state("web") == hosts.cloud.state("web") == "RUNNING"

    done = hosts.run("-H", "board,cloud", "stop", "--yes", "--json", "web")
    assert (done.returncode, done.stderr) == (errors.OK, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(event["host"], event["program"], event["kind"]) for event in events} >= {
        ("board", "web", "stopped"),
        ("cloud", "web", "stopped"),
    }
    assert hosts.board.state("web") == hosts.cloud.state("web") == "STOPPED"
    assert hosts.run("-H", "board,cloud", "status", "web").returncode == errors.NOT_RUNNING
    assert hosts.run("-H", "board,cloud", "start", "web").returncode == errors.OK
    assert hosts.board.state("web") == hosts.cloud.state("web") == "RUNNING"


def test_apply_on_all(hosts):
    hosts.cloud.program("new")
    done = hosts.run("-H", "board,cloud", "apply", "--dry-run")
    assert done.returncode == errors.OK, done.stderr
    assert "board  nothing to do: 2 programs as configured" in done.stdout
    assert [line.split() for line in done.stdout.splitlines() if "new" in line] == [["cloud", "add", "new"]]
    assert hosts.run("-H", "board,cloud", "apply").returncode == errors.OK
    assert hosts.cloud.state("new") == "RUNNING"


def test_logs_of_all_merged_by_time_and_followed_to_the_end(hosts):
    first, second = hosts.board.folder / "log" / "web.log", hosts.cloud.folder / "log" / "web.log"
    first.write_text("2026-01-01 10:00:00,000 one\n2026-01-01 10:00:02,000 three\n")
    second.write_text("2026-01-01 10:00:01,000 two\n")
    done = hosts.run("-H", "board,cloud", "logs", "web")
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["one", "two", "three"], done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["board", "cloud", "board"]

    follower = hosts.popen("-H", "board,cloud", "logs", "-f", "web")
    assert sorted(line(follower).split()[-1] for _ in range(3)) == ["one", "three", "two"]
    remote = following(hosts)
    assert len(remote) == 2
    with first.open("a") as log:
        log.write("2026-01-01 10:00:03,000 four\n")
    assert line(follower).split()[-1] == "four"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(20) == errors.OK
    wait_for(lambda: not remote & following(hosts))


def following(hosts) -> set[int]:
    """The pids of the remote sides of `logs -f`."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if os.readlink(entry / "cwd").startswith(str(hosts.folder)) and b"logs" in words[1:5]:
                found.add(int(entry.name))
        except OSError:
            continue
    return found

"""The same command on many hosts, over a real sshd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from celeryhost import errors
from celeryhost.hosts.remote import DATA, ENDED, FAILURE, SAID, fan_out
from celeryhost.hosts.target import Target
from celeryhost.top.feed import GONE, Feed
from conftest import wait_for
from sshd import sshd
from waiting import line

ROOT = Path(__file__).resolve().parents[2]

# Stands for celeryhost on the host where the question is only what arrives there and what comes back.
ECHO = f"""#!{sys.executable}
import json, os, sys, time
argv = sys.argv[1:]
if argv[0] == "echo":
    print(json.dumps({{"argv": argv, "uid": os.getuid()}}))
elif argv[0] == "code":
    print("celeryhost: you may not; use sudo", file=sys.stderr)
    sys.exit(int(argv[2]))
elif argv[0] == "noise":
    print("Welcome!")
    print(json.dumps({{"n": 1}}), flush=True)
    print("celeryhost: half way", file=sys.stderr)
    print(json.dumps({{"n": 2}}))
    sys.exit(3)
elif argv[0] == "forever":
    sys.path.insert(0, "{ROOT}/cli")
    from celeryhost.hangup import end_with_reader

    end_with_reader()
    print(json.dumps({{"pid": os.getpid()}}), flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def private(tmp_path_factory, monkeypatch):
    """Caches and control sockets of this test alone; the masters end with the sshd."""
    runtime = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_CACHE_HOME", str(runtime))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("echo"), ECHO) as host:
        yield host


def inventory(folder: Path, **hosts: dict) -> Target:
    path = folder / "hosts.json"
    path.write_text(json.dumps({"all": {"hosts": hosts}}))
    return Target(str(path), None, None, None, None)


def answers(target, *argv, **options):
    return [tuple(answer) for answer in fan_out(target, list(argv), **options)]


HOSTILE = [
    "two words",
    "it's",
    '"quoted"',
    "a;touch /tmp/x",
    "$(id)",
    "`id`",
    "*",
    "~",
    "a\nb",
    "",
    "-n",
    "\\",
    "ü",
    "a&&b|c>d",
]


def test_every_word_arrives_as_it_is(echo, tmp_path):
    target = inventory(tmp_path, one=echo)
    for root in (False, True):
        [(_, kind, value), end] = answers(target, "echo", *HOSTILE, root=root)
        assert (kind, value["argv"]) == (DATA, ["echo", "--json", *HOSTILE])
        assert end == ("one", ENDED, errors.OK)


def test_a_host_that_is_down_hides_no_other(echo, tmp_path):
    down = {**echo, "ansible_port": 1}
    target = inventory(tmp_path, up=echo, down=down, two=echo)
    found = answers(target, "echo")
    assert {host for host, kind, _ in found if kind == DATA} == {"up", "two"}
    [failure] = [value for host, kind, value in found if kind == FAILURE]
    assert failure.code == errors.UNREACHABLE
    assert "down: ssh: connect to host 127.0.0.1 port 1: Connection refused" in failure.message


def test_output_is_passed_on_as_it_comes_and_remarks_with_it(echo, tmp_path):
    target = inventory(tmp_path, one=echo)
    found = answers(target, "noise")
    assert [value for _, kind, value in found if kind == DATA] == [{"n": 1}, {"n": 2}]
    assert [value for _, kind, value in found if kind == SAID] == ["Welcome!", "half way"]
    assert found[-1] == ("one", ENDED, errors.NOT_RUNNING)


@pytest.mark.parametrize("code", [errors.DENIED, errors.DOWN, errors.UNKNOWN])
def test_an_error_there_is_the_same_error_here(code, echo, tmp_path):
    [(_, kind, failure)] = answers(inventory(tmp_path, one=echo), "code", str(code))
    assert (kind, str(failure), failure.code) == (FAILURE, "one: you may not; use sudo", code)


def test_a_view_says_of_a_host_whose_celeryhost_ends_that_it_has(echo, tmp_path, monkeypatch):
    feed = Feed(inventory(tmp_path, one=echo))
    feed.watch(["code", "0"])
    kind, host, failure = feed.queue.get(timeout=180)
    feed.close()
    assert (kind, host, failure.code) == (GONE, "one", errors.FAILED)
    assert str(failure).startswith("one: its celeryhost has ended and said nothing; see celeryhost -H one top --json")
    monkeypatch.setenv("PATH", str(tmp_path))
    [(_, kind, failure)] = answers(inventory(tmp_path, one=echo), "echo")
    assert (kind, str(failure)) == (
        FAILURE,
        "one: ssh: No such file or directory; install it: apt-get install openssh-client",
    )


def test_no_celeryhost_there_says_how_to_get_it(echo, tmp_path, monkeypatch):
    monkeypatch.setattr("celeryhost.hosts.remote.PROGRAM", "celeryhost-gone")
    for root in (False, True):
        [(_, kind, failure)] = answers(inventory(tmp_path, one=echo), "status", root=root)
        assert (kind, failure.code) == (FAILURE, errors.UNKNOWN)
        assert str(failure).startswith("one: celeryhost is not installed there; install it: celeryhost provision")


def test_a_key_that_is_not_known_there_is_denied(echo, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    stranger = {**echo, "ansible_ssh_private_key_file": str(tmp_path / "other")}
    [(_, kind, failure)] = answers(inventory(tmp_path, one=stranger), "echo")
    assert (kind, failure.code) == (FAILURE, errors.DENIED)
    assert "Permission denied (publickey)" in str(failure)


def test_a_host_that_does_not_end_is_given_up(echo, tmp_path):
    target = inventory(tmp_path, one=echo)
    found = answers(target, "forever", timeout=2)
    assert [kind for _, kind, _ in found] == [DATA, FAILURE]
    assert found[-1][2].code == errors.TIMEOUT


def test_no_more_at_once_than_allowed_and_all_answer(echo, tmp_path):
    target = inventory(tmp_path, **{f"host{n}": echo for n in range(5)})
    found = answers(target, "echo", at_once=2)
    assert sorted(host for host, kind, _ in found if kind == ENDED) == [f"host{n}" for n in range(5)]


def test_connections_are_kept_and_used_again(echo, tmp_path):
    target = inventory(tmp_path, one=echo)
    log = Path(echo["ansible_ssh_private_key_file"]).with_name("sshd.log")
    before = log.read_text().count("Accepted publickey")
    for _ in range(3):
        answers(target, "echo")
    assert log.read_text().count("Accepted publickey") == before + 1


def test_a_local_host_needs_no_ssh(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    target = inventory(tmp_path, here={"ansible_connection": "local"})
    [(host, kind, failure)] = answers(target._replace(config="/nowhere.conf"), "status")
    assert (host, kind, failure.code) == ("here", FAILURE, errors.USAGE)
    assert "/nowhere.conf" in str(failure)


def test_interrupt_ends_the_remote_side_too(echo, tmp_path):
    target = inventory(tmp_path, one=echo, two=echo)
    script = f"""
from celeryhost.hosts.target import Target
from celeryhost.hosts.remote import fan_out
for answer in fan_out(Target({target.inventory!r}, None, None, None, None), ["forever"], timeout=None):
    print(answer.value["pid"], flush=True)
"""
    here = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    remote = [int(line(here)) for _ in range(2)]
    assert all(os.path.exists(f"/proc/{pid}") for pid in remote)
    here.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in here.communicate(timeout=180)[1]
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in remote))

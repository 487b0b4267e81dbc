"""The lock of a host: real processes that hold it, wait for it, are killed, stopped and cut off."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from celeryhost import errors, lock
from celeryhost.cli import cli
from celeryhost.scripts import hold, keeper, source
from click.testing import CliRunner
from conftest import wait_for
from sshd import sshd

SILENCE = 3.0
AT_ONCE = 10


@pytest.fixture
def text(tmp_path):
    """hold.py for a lock in this test's folder, which is quick to lose its patience."""
    places = f"LOCK = {str(tmp_path / 'run' / 'run.lock')!r}\nBY_HAND = {str(tmp_path / 'by-hand')!r}\n"
    places += f"LOG = {str(tmp_path / 'log' / 'audit.log')!r}\nSILENCE = {SILENCE}\n"
    before, main, after = source(hold).partition('if __name__ == "__main__":')
    return before + places + main + after


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The same places for what runs in this process."""
    monkeypatch.setattr(hold, "LOCK", str(tmp_path / "run" / "run.lock"))
    monkeypatch.setattr(hold, "BY_HAND", str(tmp_path / "by-hand"))


def is_free(tmp_path) -> bool:
    path = tmp_path / "run" / "run.lock"
    return subprocess.run(["flock", "-n", path, "true"], check=False).returncode == 0 if path.exists() else True


class Holder:
    """A process that runs hold.py."""

    def __init__(self, text, user="one", wait=False):
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-I", "-S", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.say({"wait": wait, "entry": {"user": user, "command": "provision"}})

    def say(self, what):
        self.process.stdin.write(f"{json.dumps(what)}\n" if what else "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.wait()


def test_of_many_at_once_one_has_it_and_the_others_learn_who(text, tmp_path):
    holders = [Holder(text, f"number {number}") for number in range(AT_ONCE)]
    answers = [holder.answer() for holder in holders]
    [winner] = [number for number, answer in enumerate(answers) if answer == {"held": True}]
    others = [answer["refused"] for answer in answers if "held" not in answer]
    assert len(others) == AT_ONCE - 1
    assert {other["user"] for other in others} == {f"number {winner}"}
    said = lock.described("board", others[0])
    assert said.startswith(f"board is held by provision of number {winner}")
    assert time.strftime(" since %H:", time.localtime(others[0]["time"])) in said
    assert (tmp_path / "run" / "run.lock").stat().st_mode & 0o777 == 0o600
    holders[winner].end()
    assert is_free(tmp_path)
    [holder.end() for holder in holders]


@pytest.mark.parametrize("how", ["killed", "closed", "silent", "said"])
def test_it_is_free_when_the_one_who_has_it_is_gone(text, tmp_path, how):
    holder = Holder(text)
    assert holder.answer() == {"held": True}
    began = time.monotonic()
    if how == "killed":
        holder.process.kill()
    elif how == "closed":
        holder.process.stdin.close()
    elif how == "said":
        holder.say({"outcome": "ok"})
    else:
        while time.monotonic() - began < 2 * SILENCE:
            holder.say(None)
            assert holder.answer() == {}, "it answers, so that the other side knows it there"
            assert not is_free(tmp_path)
            time.sleep(0.2)
    wait_for(lambda: is_free(tmp_path))
    holder.end()


def test_one_that_waits_gets_it(text, tmp_path):
    one = Holder(text, "one")
    one.answer()
    two = Holder(text, "two", wait=True)
    assert two.answer()["waiting"]["user"] == "one"
    one.say({"outcome": "ok"})
    while (answer := two.answer()) != {"held": True}:
        assert answer == {}
    assert json.loads((tmp_path / "run" / "run.lock").read_text())["user"] == "two"
    two.end()


def test_a_folder_that_others_may_enter_is_no_place_for_it(tmp_path):
    (tmp_path / "run").mkdir(mode=0o755)
    os.chmod(tmp_path / "run", 0o755)
    with pytest.raises(errors.Failure, match="is not root's alone") as failure:
        lock.state()
    assert failure.value.code == errors.DENIED


# The process beside a run


class Kept:
    """A run (a process that sleeps), and keeper.py beside it."""

    def __init__(self, argv, text, folder, **more):
        self.run = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        self.reports, report = os.pipe()
        client, self.client = os.pipe()
        request = {
            "argv": argv,
            "again": argv,
            "hold": text,
            "entry": {"user": "me@laptop", "command": "provision"},
            "wait": False,
            "run": self.run.pid,
            "prompt": "",
            "success": "",
            "password": None,
            "outcome": str(folder / "outcome"),
            "client": client,
            "report": report,
            "silence": SILENCE,
            "host": "board",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(client, report),
        )
        os.close(client)
        os.close(report)
        said, _ = None, self.process.stdin.write(json.dumps(request | more).encode())
        self.process.stdin.close()
        said = self.process.stdout.readline()
        self.answer = json.loads(said) if said else None

    def end(self):
        self.run.kill()
        self.run.wait()
        self.process.wait(30)
        if self.client:
            os.close(self.client)
        os.close(self.reports)


START = ["/usr/bin/python3", "-I", "-S", "-c", keeper.START]


@pytest.fixture
def kept(text, tmp_path):
    made = []

    def make(argv=START, **more):
        made.append(Kept(argv, text, tmp_path, **more))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_a_lock_goes_with_the_run(kept, tmp_path):
    one = kept()
    assert one.answer == {"held": True}
    assert kept().answer["refused"]["user"] == "me@laptop"
    time.sleep(2 * SILENCE)
    assert not is_free(tmp_path), "the keeper says something every now and then"
    one.run.kill()
    wait_for(lambda: is_free(tmp_path), 10)
    one.run.wait()
    assert kept().answer == {"held": True}


def test_a_run_ends_with_the_command_that_started_it(kept, tmp_path):
    one = kept()
    os.close(one.client)
    one.client = None
    assert one.run.wait(10) == -signal.SIGTERM
    wait_for(lambda: is_free(tmp_path), 10)


def test_a_host_that_cannot_be_reached_fails_with_its_reason(kept):
    assert kept(["sh", "-c", "echo no route >&2; exit 255"]).answer == {"failed": "no route", "code": 255}


def test_sudo_gets_its_password_if_it_asks(kept):
    asks = "printf 'for me:' >&2; read -r said; [ \"$said\" = secret ] || exit 1; echo SUCCESS; "
    start = f'exec /usr/bin/python3 -I -S -c "{keeper.START}"'
    for script in (asks + start, f"echo SUCCESS; {start}"):
        one = kept(["bash", "-c", script], prompt="for me:", success="SUCCESS", password="secret")
        assert one.answer == {"held": True}
        one.run.kill()
        one.process.wait(30)
    assert "failed" in kept(["bash", "-c", asks], prompt="for me:", success="SUCCESS", password="wrong").answer


@pytest.fixture
def by_ssh(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("sshd")) as host:
        options = host["ansible_ssh_common_args"].split()
        yield [
            "ssh",
            *options,
            "-i",
            host["ansible_ssh_private_key_file"],
            "-p",
            str(host["ansible_port"]),
            "127.0.0.1",
        ]


def hold_by_ssh(words):
    return [*words, f"/usr/bin/python3 -I -S -c '{keeper.START.replace(chr(39), chr(34))}'"]


def ssh_of(process) -> int:
    [pid] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(pid)


def test_a_network_that_is_cut_frees_it_and_the_run_takes_it_again(kept, by_ssh, tmp_path):
    one = kept(hold_by_ssh(by_ssh), again=hold_by_ssh(by_ssh))
    assert one.answer == {"held": True}
    assert lock.state()["address"] == "127.0.0.1"
    stopped = ssh_of(one.process)
    os.kill(stopped, signal.SIGSTOP)  # nothing goes through any more, and nobody says so
    wait_for(lambda: is_free(tmp_path), 4 * SILENCE)
    wait_for(lambda: not is_free(tmp_path), 60)
    assert one.run.poll() is None


def test_a_run_that_has_lost_its_lock_to_another_is_ended(kept, by_ssh, text, tmp_path):
    one = kept(hold_by_ssh(by_ssh), again=hold_by_ssh(by_ssh))
    os.kill(ssh_of(one.process), signal.SIGSTOP)
    other = Holder(text, "the other", wait=True)
    while (answer := other.answer()) != {"held": True}:
        assert "waiting" in answer or not answer
        other.say(None)
    end = time.monotonic() + 60
    while one.run.poll() is None and time.monotonic() < end:
        other.say(None)
        time.sleep(0.5)
    assert one.run.returncode == -signal.SIGTERM
    assert os.read(one.reports, 100) == b"lost board\n"
    other.end()


# By hand


def celeryhost(*words):
    done = CliRunner().invoke(cli, [*words], standalone_mode=False)
    return done.exception or done.return_value, done.output


def test_by_hand(text, tmp_path):
    name = socket.gethostname()
    assert celeryhost("lock") == (errors.OK, f"{name} is not locked\n")
    code, said = celeryhost("lock", "-m", "moving a disk", "--for", "2h")
    assert code == errors.OK
    assert said.startswith(f"{name} is locked by ")
    assert said.endswith(": moving a disk\n")
    assert celeryhost("lock") == (errors.TIMEOUT, said)
    assert (tmp_path / "by-hand").stat().st_mode & 0o777 == 0o600
    refused = Holder(text).answer()["refused"]
    assert refused["reason"] == "moving a disk"
    assert "celeryhost unlock" in lock.described("board", refused)
    failure, _ = celeryhost("lock", "-m", "me too")
    assert failure.code == errors.TIMEOUT
    assert "moving a disk" in failure.message
    with pytest.raises(errors.Failure, match="moving a disk"), lock.held("rollback"):
        pass
    code, said = celeryhost("unlock")
    assert (code, "was unlocked; it was locked by" in said) == (errors.OK, True)
    assert celeryhost("unlock") == (errors.OK, f"{name} is not locked\n")
    with lock.held("rollback"):
        assert Holder(text).answer()["refused"]["command"] == "rollback"
        failure, _ = celeryhost("unlock")
        assert failure.code == errors.TIMEOUT, "a run's is the run's"
    assert Holder(text).answer() == {"held": True}


def test_by_hand_it_ends_by_itself(text):
    celeryhost("lock", "-m", "a moment", "--for", "1s")
    holder = Holder(text, wait=True)
    assert holder.answer()["waiting"]["reason"] == "a moment"
    while (answer := holder.answer()) != {"held": True}:
        assert answer == {}
    holder.end()
    assert celeryhost("lock")[0] == errors.OK


@pytest.mark.parametrize("span", ["soon", "0s", "99d", ""])
def test_a_time_that_makes_no_sense(span):
    failure, _ = celeryhost("lock", "-m", "x", "--for", span)
    assert failure.code == errors.USAGE
    assert "30m, 2h, 1d" in str(failure)

"""A command on a terminal of its own: neither the command nor the terminal can hold root's up."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from conftest import wait_for

SECONDS = 60  # for anything to happen
# A program that takes no key, as one of an app may, and says how far it is.
DEAF = """
import sys, time, tty
tty.setraw(0)
print("deaf", flush=True)
for _ in range(400):
    print("x" * 200, end="", flush=True)
print("said", flush=True)
time.sleep(1000)
"""
RELAY = """
import os, pwd, sys
from celeryhost import own_terminal
sys.exit(own_terminal.relayed([sys.executable, "-c", sys.argv[1]], pwd.getpwuid(os.geteuid())) % 256)
"""


class Terminal:
    """`script` behind a relay, on a terminal of which we are the other side."""

    def __init__(self, script: str):
        self.ours, theirs = pty.openpty()
        os.set_blocking(self.ours, False)
        self.relay = subprocess.Popen(
            [sys.executable, "-c", RELAY, script], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    def until(self, word: bytes) -> bytes:
        """What is shown, as far as that word."""
        shown, end = b"", time.monotonic() + SECONDS
        while word not in shown:
            assert time.monotonic() < end, shown[-200:]
            if select.select([self.ours], [], [], 1)[0]:
                shown += os.read(self.ours, 65536)
        return shown

    def type(self, keys: bytes) -> None:
        end = time.monotonic() + SECONDS
        while keys:
            assert time.monotonic() < end, f"{len(keys)} keys were not taken"
            if select.select([], [self.ours], [], 1)[1]:
                keys = keys[os.write(self.ours, keys[:256]) :]


@pytest.fixture
def terminal():
    started = []

    def start(script: str) -> Terminal:
        started.append(Terminal(script))
        return started[-1]

    yield start
    for one in started:
        one.relay.kill()
        one.relay.wait()
        os.close(one.ours)


def test_a_program_that_takes_no_key_is_shown_on_and_ended_by_one(terminal):
    one = terminal(DEAF)
    one.until(b"deaf")
    one.type(b"y" * 50_000)
    one.until(b"said")
    one.type(b"\x1c")
    assert one.relay.wait(SECONDS) == -signal.SIGKILL % 256


def test_a_terminal_that_takes_nothing_keeps_no_key_from_the_program(terminal, tmp_path):
    told = tmp_path / "pid"
    one = terminal(f"import os; open({str(told)!r}, 'w').write(str(os.getpid()))\nwhile True: print('x' * 1000)")
    wait_for(lambda: told.exists() and told.read_text(), SECONDS)
    pid = int(told.read_text())
    time.sleep(0.5)  # it is full now, and nobody reads
    one.type(b"\x03")
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), SECONDS)
    one.type(b"\x03")  # what is left is wanted no more
    assert one.relay.wait(SECONDS) != 0


def test_all_that_a_program_says_is_shown(terminal):
    one = terminal("import sys; sys.stdout.write('x' * 300_000 + 'end\\n'); sys.exit(7)")
    assert one.until(b"end").count(b"x") == 300_000
    assert one.relay.wait(SECONDS) == 7

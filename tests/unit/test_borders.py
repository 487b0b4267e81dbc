"""What comes from others is checked where it comes in: its form, its size, how long it takes, what a terminal does."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import xmlrpc.client
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from celeryhost import apps
from celeryhost.celery import resp
from celeryhost.celery.remote_control import Mailbox
from celeryhost.errors import USAGE, Failure
from celeryhost.hosts import inventory, remote
from celeryhost.plain import plain, plain_lines
from celeryhost.supervisor import rpc
from celeryhost.supervisor.locate import Server

LIMIT = 0.5  # seconds
LATE = 20 * LIMIT  # that even a busy machine does not take


@contextmanager
def says(tmp_path, *parts: bytes, rest: float = 0, forever: bool = False):
    """A server that says parts, one after another, to whoever asks; its socket."""
    path, ended = str(tmp_path / "s"), threading.Event()
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve():
        while True:
            try:
                connection, _ = server.accept()
                connection.recv(65536)
                while True:
                    for part in parts:
                        connection.sendall(part)
                        ended.wait(rest)
                    if not forever or ended.is_set():
                        break
                connection.close()
            except OSError:
                if ended.is_set():
                    return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield path
    finally:
        ended.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def answer(value) -> bytes:
    return b"HTTP/1.0 200 OK\r\n\r\n" + xmlrpc.client.dumps((value,), methodresponse=True).encode()


INFO = {"group": "a", "name": "a", "statename": "RUNNING", "pid": 1}


@pytest.mark.parametrize("value", [5, "x", [5], [{}], [INFO], [INFO | {"pid": "1"}], {"faultCode": "x"}])
def test_an_answer_of_another_form_is_one_clear_failure(tmp_path, value):
    with says(tmp_path, answer(value)) as path:
        for method in ("getAllProcessInfo", "reloadConfig", "getProcessInfo"):
            with pytest.raises(Failure, match="no XML-RPC of supervisord"):
                rpc.Supervisor(Server(f"unix://{path}", None, None, None)).call(method)


def test_a_fault_without_its_parts_is_one_too():
    with pytest.raises(Failure, match="no XML-RPC"):
        rpc._decode(b"<methodResponse><fault><value><string>x</string></value></fault></methodResponse>", "u")


def test_limits_hold_for_a_whole_call(tmp_path, monkeypatch):
    monkeypatch.setattr(resp, "TIMEOUT", LIMIT)
    began = time.monotonic()
    with says(tmp_path, b"$", rest=LIMIT / 10, forever=True) as path:
        with pytest.raises(Failure, match="did not answer within"):
            rpc.Supervisor(Server(f"unix://{path}", None, None, None), LIMIT).call("getPID")
        with pytest.raises((OSError, ValueError)):
            resp.ask(urlsplit(f"redis+socket://{path}"), [("PING",)])
    assert time.monotonic() - began < LATE


def test_an_answer_without_an_end_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rpc, "LIMIT", 1 << 20)
    with says(tmp_path, b"x" * 65536, forever=True) as path, pytest.raises(Failure, match="no XML-RPC"):
        rpc.Supervisor(Server(f"unix://{path}", None, None, None)).call("getPID")
    (tmp_path / "s").unlink()
    endless = says(tmp_path, b"$900000\r\n" + b"x" * 65536, b"x" * 65536, forever=True)
    with endless as path, pytest.raises(resp.Malformed):
        resp.ask(urlsplit(f"redis+socket://{path}"), [("PING",)], limit=1 << 19)


REPLIES = [
    *({"total": {"a": "x"}}, {"total": [1]}, {"total": None}, [1], [{}], [{"name": {}}], [{"name": 5}]),
    *([{"name": "\ud800"}], [{"name": ""}], [{"name": "q" * 999}], {"total": {"a": 10**400}}, "x", 5, None),
]


def test_replies_that_are_none_leave_the_watchdog_its_sight():
    class Silent(Mailbox):
        def ask(self, commands):
            messages = [
                json.dumps({"body": base64.b64encode(json.dumps({"w@h": reply}).encode()).decode()}).encode()
                for reply in REPLIES
            ]
            inbox = [*messages, b"[" * 100000, b"\xff", b"[]", b'{"body":"%%%"}', None, 5, []]
            return [0, inbox, 0, 0, *(0 for word, *_ in commands if word == "LLEN")]

    mailbox = Silent("redis://h", {"w@h": "w"}, "me")
    for _ in range(2):
        seen = mailbox.look({"w"})
        assert seen.answered == {"w"}


def test_the_terminal_gets_nothing_that_moves_it():
    odd = "a\x1b]0;x\x07\x9b31m\u202e\x00\ud800\r\x7f"
    assert plain(odd) == "a�]0;x��31m�����"
    assert plain_lines(f"{odd}\n\tb") == f"{plain(odd)}\n    b"


@pytest.mark.parametrize("value", ["-o 'x", "a\x1bb", "\ud800"])
def test_what_ssh_cannot_be_given_is_refused(value):
    with pytest.raises(Failure, match="ansible_ssh_common_args") as failed:
        remote.command(inventory.Host("h", {"ansible_ssh_common_args": value}), ["status"])
    assert failed.value.code == USAGE


@pytest.mark.parametrize("name", ["celeryhost", "supervisor", "redis"])
def test_an_app_has_a_name_of_its_own(name):
    with pytest.raises(Failure, match="choose another name"):
        apps.describe({"name": name})


@pytest.mark.parametrize("command", [True, 5, {"a": 1}, "'"])
def test_a_command_is_a_command_line(command):
    with pytest.raises(Failure, match="command"):
        apps.describe({"name": "mysite", "programs": [{"name": "web", "command": command}]})


def test_what_supervisor_captures_is_out_of_the_apps_reach():
    with pytest.raises(Failure, match="captured"):
        apps.describe({"name": "mysite", "captured": "/var/log/mysite/x"})

"""Supervisor's page as HAProxy serves it (templates/page.haproxy.j2), both real."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import socket
import subprocess

import pytest
from celeryhost.project.rendering import render
from conftest import wait_for

USER, PASSWORD = "me & you", """it's "100%" \\ $HOME #1"""


@pytest.fixture
def ask(daemon, root, tmp_path):
    """`ask(path, header=…, …)`: the status of the page's answer; underscores in names of headers are dashes."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if not program:
        pytest.skip("needs haproxy (apt-get install haproxy)")
    daemon.start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "page.cfg"
    config.write_text(
        render(
            str(root / "templates"),
            "page.haproxy.j2",
            supervisor_web_address=f"127.0.0.1:{port}",
            supervisor_web_user=USER,
            supervisor_web_password=PASSWORD,
            supervisor_socket=str(daemon.socket),
        )
    )
    page = subprocess.Popen([program, "-db", "-f", str(config)], env={"PATH": os.defpath})

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def ask(path="/", method="GET", password=PASSWORD, host=f"localhost:{port}", body=None, **headers):
        token = base64.b64encode(f"{USER}:{password}".encode()).decode()
        named = {name.replace("_", "-"): value.replace("PORT", str(port)) for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=180)
        connection.request(method, path, body, {"Host": host, "Authorization": f"Basic {token}", **named})
        return connection.getresponse().status

    try:
        wait_for(listens)
        yield ask
    finally:
        page.kill()
        page.wait()


OWN = [{}, {"Origin": "http://localhost:PORT"}, {"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}]
OWN += [{"Referer": "http://localhost:PORT/tail.html?processname=x"}, {"host": "127.0.0.1:1"}, {"host": "[::1]:23233"}]
FOREIGN = [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Referer": "http://evil.example/"}]
FOREIGN += [{"Origin": origin} for origin in ("http://evil.example", "http://localhost:8000", "null")]
FOREIGN += [{"host": "evil.example:23233"}, {"host": "localhost.evil.example"}, {"Referer": "http://localhost:1/"}]


def test_a_page_of_another_origin_gets_403(ask):
    assert [ask(**headers) for headers in OWN] == [200] * len(OWN)
    assert [ask(**headers) for headers in FOREIGN] == [403] * len(FOREIGN)
    post = {"path": "/RPC2", "method": "POST", "body": b"<methodCall/>", "Content_Type": "text/plain"}
    assert ask(**post, Origin="http://evil.example") == 403


def test_a_wrong_password_is_answered_late(ask):
    assert ask(password="guess") == 401


def test_supervisorctl_speaks_through_it(ask):
    call = b"<?xml version='1.0'?><methodCall><methodName>supervisor.getState</methodName><params/></methodCall>"
    assert ask("/RPC2", "POST", body=call, Content_Type="text/xml") == 200

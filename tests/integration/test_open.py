"""`celeryhost open`: the page of a real supervisord, here and through a real ssh tunnel."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from celeryhost import apps, errors
from celeryhost.project.rendering import render
from conftest import PASSWORD, USER, wait_for
from redis_server import redis_server, url
from sshd import sshd
from waiting import line


@pytest.fixture
def browser(tmp_path):
    """Variables that make a script the browser of the desktop; what it was given lands in `opened`."""
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$*" >{tmp_path}/opened\n')
    script.chmod(0o755)
    return {"BROWSER": f"{script} %s"}


@pytest.fixture
def host(daemon, tmp_path_factory, monkeypatch):
    """The arguments that reach this machine over ssh, where celeryhost finds the test's supervisord with -c."""
    runtime = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_CACHE_HOME", str(runtime))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with sshd(tmp_path_factory.mktemp("sshd")) as variables:
        down = {**variables, "ansible_port": 1}
        path = runtime / "hosts.json"
        path.write_text(json.dumps({"all": {"hosts": {"board": variables, "two": variables, "down": down}}}))
        yield ["-i", str(path), "-c", str(daemon.config)]


def status_of(url: str, user: str = "", password: str = "") -> int:
    request = urllib.request.Request(url)
    if user:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        return urllib.request.urlopen(request, timeout=180).status
    except urllib.error.HTTPError as error:
        return error.code


def failed(done, code, *said):
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert all(words in done.stderr for words in said), done.stderr


def test_page_of_this_machine(daemon, browser, tmp_path):
    daemon.start()
    url = f"{daemon.url.replace('127.0.0.1', 'localhost')}/"
    done = daemon.run("open", env=browser)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{url}\n", "")
    wait_for((tmp_path / "opened").exists)
    assert (tmp_path / "opened").read_text() == url
    assert (status_of(url), status_of(url, USER, PASSWORD)) == (401, 200)

    done = daemon.run("open", "--no-browser", "--credentials")
    assert done.stdout == f"{url}\nuser {USER}, password {PASSWORD}\n"
    data = json.loads(daemon.run("open", "--json").stdout)
    assert (data["version"], data["url"], data["user"], data["password"]) == (1, url, USER, None)


def test_no_browser_is_said(daemon):
    daemon.start()
    done = daemon.run("open", env={"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""})
    assert done.returncode == errors.FAILED
    assert done.stdout.startswith("http://localhost:")
    assert "there is no browser here" in done.stderr


def test_what_cannot_be_opened_here(daemon):
    failed(daemon.run("open", "--no-browser"), errors.DOWN, "Supervisor does not answer at 127.0.0.1:", "refused")
    failed(daemon.run("open", "--port", "1234"), errors.USAGE, "--port 1234 is for a tunnel; name a host with -H")
    failed(daemon.run("open", "--flower"), errors.UNKNOWN, "no Flower here; write `flower: true` for the app")
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace("[inet_http_server]", "[x]"))
    failed(daemon.run("open"), errors.UNKNOWN, f"no [inet_http_server] in {daemon.config}")
    daemon.config.write_text(text.replace("[inet_http_server]", "[celeryhost:page]"))  # HAProxy's, as on a host
    failed(daemon.run("open"), errors.DOWN, f"does not answer at {daemon.url.removeprefix('http://')}")
    hashed = "{SHA}" + hashlib.sha1(b"another").hexdigest()
    daemon.config.write_text(text.replace(f"password={PASSWORD.replace('%', '%%')}", f"password={hashed}"))
    failed(daemon.run("open", "--credentials"), errors.FAILED, "has only a hash of the password")


def test_flower_is_found_by_its_program(daemon):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        daemon.program(
            "shop-flower",
            f"/venv/bin/celery -A shop flower --address=127.0.0.1 --port={port} --url_prefix=flower",
            environment='FLOWER_BASIC_AUTH="me:secret"',
        )
        data = json.loads(daemon.run("open", "--flower", "--credentials", "--json").stdout)
        assert data["url"] == f"http://localhost:{port}/flower"
        assert (data["user"], data["password"]) == ("me", "secret")
        failed(daemon.run("open", "--flower", "--app", "other"), errors.UNKNOWN, "no Flower here for app 'other'")


@pytest.fixture
def flower(daemon, root, tmp_path):
    """The real Flower of the example project as a host has it, run by `daemon`; yields its password."""
    pytest.importorskip("flower")
    with redis_server(tmp_path) as port, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        described = apps.describe(
            {
                "name": "mysite",
                "directory": str(root / "examples" / "mysite"),
                "virtualenv": sys.prefix,
                "environment": {"DJANGO_SETTINGS_MODULE": "mysite.settings"},
                "workers": [],
                "beat": False,
                "flower": {
                    "port": free.getsockname()[1],
                    "environment": {"FLOWER_PASSWORD_FILE": str(tmp_path / "password")},
                },
                "logs": str(daemon.folder / "log"),
                "captured": str(daemon.folder / "captured"),
                "data": str(tmp_path),
            }
        )
        described["user"] = None
        (daemon.folder / "captured").mkdir()
        (tmp_path / "password").write_text("secret\n")
        free.close()
        entry = render(
            str(root / "templates"),
            "celery.conf.j2",
            app=described,
            broker_url=url(port),
            release=None,
            celery_startsecs=5,
        )
        (daemon.folder / "conf.d" / "mysite.conf").write_text(entry)
        daemon.start(until=("STARTING", "RUNNING"))
        wait_for(lambda: daemon.run("open", "--flower", "--no-browser").returncode == 0, 180)
        yield "secret"
        daemon.end()


def test_real_flower_here_and_through_a_tunnel(daemon, flower, host, tmp_path):
    done = daemon.run("open", "--flower", "--no-browser", "--credentials")
    address, credentials = done.stdout.splitlines()
    assert credentials == f"user flower, password {flower}"
    assert (status_of(address), status_of(address, "flower", flower)) == (401, 200)
    assert status_of(address, "flower", "") == 401
    pid = daemon.pid("mysite-flower")
    assert flower not in Path(f"/proc/{pid}/cmdline").read_text()

    process = daemon.popen(*host, "-H", "board", "open", "--flower", "--no-browser", "--credentials")
    try:
        forwarded = line(process).strip()
        assert forwarded != address  # its port is taken here
        assert line(process) == f"user flower, password {flower}\n"
        assert (status_of(forwarded), status_of(forwarded, "flower", flower)) == (401, 200)
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0

    (tmp_path / "password").unlink()
    failed(daemon.run("open", "--flower", "--credentials"), errors.FAILED, "Flower's password, is not there")
    assert daemon.run("stop", "mysite-flower").returncode == 0
    failed(daemon.run("open", "--flower"), errors.DOWN, "Flower does not answer at 127.0.0.1:", "refused")
    assert list(tmp_path.glob("flower*")), "it has saved what it knew"


def test_tunnel_to_a_host_until_ctrl_c(daemon, host, browser, tmp_path):
    daemon.start()
    port = int(daemon.url.rpartition(":")[2])
    process = daemon.popen(*host, "-H", "board", "open", "--credentials", env=browser)
    try:
        url = line(process).strip()
        assert url.startswith("http://localhost:") and url != f"http://localhost:{port}/"  # the usual port is taken
        assert line(process) == f"user {USER}, password {PASSWORD}\n"
        assert "Supervisor of board, until Ctrl-C" in line(process, "stderr")
        assert (status_of(url), status_of(url, USER, PASSWORD)) == (401, 200)
        wait_for((tmp_path / "opened").exists)
        assert (tmp_path / "opened").read_text() == url
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    with pytest.raises(urllib.error.URLError):
        status_of(url)


def test_tunnel_ends_with_a_celeryhost_that_is_killed(daemon, host):
    daemon.start()
    process = daemon.popen(*host, "-H", "board", "open", "--no-browser")
    url = line(process).strip()
    assert status_of(url) == 401
    process.kill()
    process.wait(20)
    port = int(url.rstrip("/").rpartition(":")[2])

    def closed():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    wait_for(closed)


def test_port_of_the_tunnel_can_be_chosen(daemon, host):
    daemon.start()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = daemon.run(*host, "-H", "board", "open", "--no-browser", "--port", str(port))
        failed(done, errors.USAGE, f"port {port} of this machine: Address already in use; leave out --port")
    process = daemon.popen(*host, "-H", "board", "open", "--no-browser", "--port", str(port))
    assert line(process) == f"http://localhost:{port}/\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_what_cannot_be_opened_on_a_host(daemon, host):
    failed(daemon.run(*host, "-H", "down", "open"), errors.UNREACHABLE, "down: ssh: connect to host", "refused")
    failed(daemon.run(*host, "-H", "board", "open"), errors.DOWN, "board: Supervisor does not answer at")
    failed(daemon.run(*host, "open"), errors.USAGE, "a page is of one host, these are 3: ", "choose one with -H")
    failed(daemon.run(*host, "-H", "bored", "open"), errors.UNKNOWN, "'bored'", "did you mean 'board'")


def test_where_a_page_is_can_be_asked_of_a_host(daemon, host):
    daemon.start()
    data = json.loads(daemon.run(*host, "-H", "board", "open", "--json").stdout)
    assert (data["host"], data["port"]) == ("board", int(daemon.url.rpartition(":")[2]))

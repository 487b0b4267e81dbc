"""The checkout of a real git repository."""

from __future__ import annotations

import base64
import contextlib
import functools
import getpass
import glob
import http.server
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from celeryhost.errors import Failure
from celeryhost.states import project_git
from celeryhost.states.changing import NOW, is_halfway
from celeryhost.states.project_git import bring


@pytest.fixture
def project(tmp_path):
    """What the state is given for a repository of one commit, and an empty folder."""
    (tmp_path / "all" / "backend").mkdir(parents=True)
    (tmp_path / "all" / "backend" / "manage.py").touch()
    (tmp_path / "here").mkdir()
    for words in ("init -q -b main", "add .", "-c user.name=me -c user.email=me@example commit -q -m all"):
        subprocess.run(["git", *words.split()], cwd=tmp_path / "all", check=True)
    where = {"repo": f"file://{tmp_path}/all", "dest": str(tmp_path / "here")}
    return where | {"version": "main", "owner": getpass.getuser(), "moment": str(tmp_path / "mysite.code")}


def test_it_is_fetched_once(project, tmp_path):
    first = bring(project, False)
    assert first["changed"]
    assert (tmp_path / "here" / "backend" / "manage.py").exists()
    second = bring(project, False)
    assert (second["changed"], second["revision"]) == (False, first["revision"])
    moment = tmp_path / "mysite.code"
    assert not is_halfway(moment)
    moment.write_text(NOW)  # as a run leaves it that is killed
    assert [bring(project, check)["changed"] for check in (True, False, False)] == [True, True, False]


def test_the_cause_is_said_and_not_the_general_advice_behind_it(project):
    with pytest.raises(Failure, match=r"git ls-remote: .*'/nowhere' does not appear to be a git repository$"):
        bring(project | {"repo": "file:///nowhere"}, False)


@pytest.mark.parametrize("version", ["nowhere", "--upload-pack=touch ran;", "-x", "--all", "HEAD$(touch ran)"])
def test_a_version_that_is_none_is_named(project, tmp_path, version):
    with pytest.raises(Failure, match="no branch, tag or commit") as refused:
        bring(project | {"version": version}, False)
    assert version in str(refused.value)
    assert not list(tmp_path.rglob("ran"))


def test_a_server_that_never_answers_is_not_waited_for_without_end(project, monkeypatch):
    monkeypatch.setattr(project_git, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(Failure, match=r"git ls-remote: not done after"):
        bring(project | {"repo": f"git://127.0.0.1:{deaf.getsockname()[1]}/x.git"}, False)


def seen(token):
    """The command lines of this machine that hold it."""
    found = []
    for file in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [line for line in [Path(file).read_bytes()] if token.encode() in line]
    return found


@pytest.fixture
def private(project, tmp_path):
    """(address, what `ps` showed meanwhile) of the repository behind a server that wants `me` and a token."""
    subprocess.run(["git", "update-server-info"], cwd=tmp_path / "all", check=True)
    wanted = "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()
    shown = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            shown.extend(seen(TOKEN))
            if self.headers.get("Authorization") == wanted:
                super().do_GET()
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="here"')
                self.end_headers()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=tmp_path / "all" / ".git")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"me:{TOKEN.replace('/', '%2F')}@127.0.0.1:{server.server_port}/", shown
        server.shutdown()


TOKEN = "t0ken/of-nobody-else"


def test_a_token_of_an_address_is_in_no_command_line(project, private, tmp_path):
    address, shown = private
    assert bring(project | {"repo": f"http://{address}"}, False)["changed"]
    assert (tmp_path / "here" / "backend" / "manage.py").exists()
    assert shown == []
    for name in ("config", "FETCH_HEAD"):
        assert "t0ken" not in (tmp_path / "here" / ".git" / name).read_text()
    with pytest.raises(Failure) as refused:
        bring(project | {"repo": f"http://{address}".replace("of", "not-of"), "dest": str(tmp_path / "all")}, False)
    assert "t0ken" not in str(refused.value)

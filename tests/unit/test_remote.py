"""The command lines that reach a host, word for word."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys

import pytest
from celeryhost.errors import USAGE, Failure
from celeryhost.hosts.inventory import Host
from celeryhost.hosts.remote import AS_ROOT, command, plain_ssh, ssh

OURS = ["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
OURS += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"]


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "a name far too long for the path of a socket, of 108 bytes"))


def test_plain_host():
    assert command(Host("board", {}), ["status", "--json"]) == ["ssh", *OURS, "--", "board", "celeryhost status --json"]


def test_connection_variables():
    host = Host(
        "board",
        {
            "ansible_host": "192.0.2.7",
            "ansible_port": 2222,
            "ansible_user": "odroid",
            "ansible_ssh_private_key_file": "~/.ssh/board",
            "ansible_ssh_common_args": "-o ProxyCommand='ssh -W %h:%p jump'",
            "ansible_ssh_extra_args": "-o ConnectTimeout=30",
        },
    )
    key = os.path.expanduser("~/.ssh/board")
    chosen = ["-o", "ProxyCommand=ssh -W %h:%p jump", "-o", "ConnectTimeout=30"]
    reach = ["-p", "2222", "-l", "odroid", "-i", key]
    assert ssh(host, "-N") == ["ssh", *chosen, "-N", *reach, *OURS, "--", "192.0.2.7"]
    assert plain_ssh(host) == shlex.join(["ssh", *chosen, *reach, "192.0.2.7"])


def test_older_names_of_variables():
    host = Host("board", {"ansible_ssh_host": "192.0.2.7", "ansible_ssh_port": 22, "ansible_ssh_user": "pi"})
    assert ssh(host) == ["ssh", "-p", "22", "-l", "pi", *OURS, "--", "192.0.2.7"]


def test_words_are_quoted_once_for_the_shell_there():
    words = ["logs", "two words", "it's", "a;b", "$(id)", "*", ""]
    *_, line = command(Host("board", {}), words)
    assert line == """celeryhost logs 'two words' 'it'"'"'s' 'a;b' '$(id)' '*' ''"""
    assert shlex.split(line) == ["celeryhost", *words]


@pytest.mark.parametrize(("variables", "root"), [({}, True), ({"ansible_become": True}, False)])
def test_root_by_sudo_only_where_it_is_needed(variables, root):
    *_, line = command(Host("board", variables), ["apply"], root)
    assert shlex.split(line) == ["sh", "-c", AS_ROOT, "celeryhost", "apply"]


def test_local_connection_is_no_ssh():
    words = command(Host("here", {"ansible_connection": "local"}), ["status"])
    assert (words[0], words[1], words[-1]) == (sys.executable, "-I", "status")


def test_a_host_cannot_pass_for_an_option():
    assert ssh(Host("-oProxyCommand=touch /tmp/x", {}))[-2:] == ["--", "-oProxyCommand=touch /tmp/x"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ansible_connection": "winrm"}, "board: ansible_connection is winrm; celeryhost knows ssh and local"),
        ({"ansible_host": "{{ ip }}"}, "board: ansible_host is a template, {{ ip }}; give its value in the inventory"),
    ],
)
def test_variables_that_cannot_be_honoured(variables, said):
    with pytest.raises(Failure) as caught:
        ssh(Host("board", variables))
    assert (caught.value.code, str(caught.value)) == (USAGE, said)


def test_connections_are_shared_through_a_folder_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/tmp/ch-{os.getpid()}")
    folder = f"/tmp/ch-{os.getpid()}/celeryhost"
    one, two = (ssh(Host(name, {"ansible_host": "192.0.2.7"})) for name in ("one", "two"))
    assert "ControlMaster=auto" in one and "ControlPersist=10m" in one
    paths = [next(word for word in words if word.startswith(f"ControlPath={folder}/")) for words in (one, two)]
    assert paths[0] != paths[1]
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    os.chmod(folder, 0o755)
    assert not any("ControlPath" in word for word in ssh(Host("one", {})))
    os.rmdir(folder)
    os.rmdir(os.path.dirname(folder))


def test_a_local_connection_takes_no_module_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "celeryhost").mkdir()
    for name in ("celeryhost/__init__.py", "json.py", "runpy.py"):
        (tmp_path / name).write_text("print('taken')\n")
    monkeypatch.chdir(tmp_path)
    words = command(Host("here", {"ansible_connection": "local"}), ["--version"])
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("celeryhost ")

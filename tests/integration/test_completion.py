"""Completion in a real bash, and the answers that every shell gets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from celeryhost import errors
from sshd import sshd

LINE = """
eval "$(celeryhost completion bash)"
COMP_WORDS=({words} {last!r})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_celeryhost_completion celeryhost
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(autouse=True)
def private(tmp_path_factory, monkeypatch):
    runtime = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_CACHE_HOME", str(runtime))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    return runtime


def completed(daemon, line: str) -> list[str]:
    *words, last = line.split(" ")
    script = LINE.format(words=" ".join(words), last=last)
    path = {"PATH": f"{daemon.folder}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], **daemon.options(path, capture_output=True, timeout=180))
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_programs_and_hosts(daemon, tmp_path):
    for name in ("shop-worker", "shop-beat", "web"):
        daemon.program(name)
    daemon.program("many", numprocs=2, process_name="%(program_name)s_%(process_num)d")
    (tmp_path / "hosts.json").write_text(json.dumps({"board": {"hosts": {"odroid": {}, "web1": {}}}}))
    hosts = f"celeryhost -i {tmp_path}/hosts.json -H"
    assert completed(daemon, "celeryhost sta") == ["status", "start"]
    assert completed(daemon, "celeryhost status ") == []  # there is no supervisord yet
    daemon.start()
    assert completed(daemon, "celeryhost status ") == ["many", "shop", "shop-beat", "shop-worker", "web"]
    for command in ("start", "stop", "restart", "logs", "apply", "status"):
        assert completed(daemon, f"celeryhost {command} web sho") == ["shop", "shop-beat", "shop-worker"]
    for command in ("manage", "celery"):
        assert completed(daemon, f"celeryhost {command} ") == ["shop"]
    assert completed(daemon, f"{hosts} ") == ["all", "board", "odroid", "web1"]
    assert completed(daemon, f"{hosts} web1,o") == ["web1,odroid"]
    assert completed(daemon, "celeryhost -i /nowhere -H ") == []


def test_programs_of_hosts_complete_too(daemon, private):
    daemon.program("web")
    daemon.start()
    with sshd(private / "sshd") as host:
        (private / "hosts.json").write_text(
            json.dumps({"all": {"hosts": {"one": host, "two": {**host, "ansible_port": 1}}}})
        )
        line = f"celeryhost -c {daemon.config} -i {private}/hosts.json -H one,two restart w"
        assert completed(daemon, line) == ["web"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_what_the_shell_can_read(shell, daemon):
    done = daemon.run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{shell}_complete" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("# To keep it: ")
    assert daemon.run("completion", env={"SHELL": f"/bin/{shell}"}).stdout == done.stdout
    if shutil.which(shell):
        check = subprocess.run([shell, "-n"], input=done.stdout, text=True, capture_output=True, timeout=180)
        assert (check.returncode, check.stderr) == (0, "")


def test_names_with_a_colon_where_the_shell_can_take_them(daemon):
    daemon.program("many", numprocs=2, process_name="%(program_name)s_%(process_num)d")
    daemon.start()
    variables = {"_CELERYHOST_COMPLETE": "zsh_complete", "COMP_WORDS": "celeryhost status many", "COMP_CWORD": "2"}
    done = daemon.run(env=variables)
    assert "many_0" in done.stdout


def test_another_shell(daemon):
    done = daemon.run("completion", env={"SHELL": "/bin/tcsh"})
    assert (done.returncode, done.stdout) == (errors.USAGE, "")
    assert done.stderr == "celeryhost: no completion for shell 'tcsh'; name one of bash, zsh, fish\n"

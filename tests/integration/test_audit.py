"""Who did what: what commands note as root and as a member of group `supervisor`, and what is read of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from celeryhost import audit, errors
from celeryhost.cli import cli
from celeryhost.scripts import hold, source
from click.testing import CliRunner
from documented import fields
from sshd import sshd

CLI = Path(__file__).resolve().parents[2] / "cli"


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch):
    """The log of this test, in a folder that every account may enter."""
    folder = tmp_path / "log"
    folder.mkdir()
    for above in (folder, *folder.parents[:4]):
        if above.stat().st_uid == os.getuid() and above != Path("/tmp"):
            above.chmod(0o755)
    monkeypatch.setattr(hold, "LOG", str(folder / "audit.log"))
    monkeypatch.setattr(hold, "LOCK", str(tmp_path / "run" / "run.lock"))
    monkeypatch.setattr(hold, "BY_HAND", str(tmp_path / "by-hand"))
    return folder / "audit.log"


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="root's file")


def celeryhost(*words):
    done = CliRunner().invoke(cli, [*words], standalone_mode=False)
    return done.exception or done.return_value, done.output


@root_only
def test_each_outcome():
    with audit.entry("restart", ["mysite", "redis://:secret@host/0"]):
        pass
    with pytest.raises(KeyboardInterrupt), audit.entry("restart"):
        raise KeyboardInterrupt
    for code in (errors.FAILED, errors.DENIED, errors.TIMEOUT):
        with pytest.raises(errors.Failure), audit.entry("rollback"):
            raise errors.Failure("no", code)
    with audit.entry("stop") as entry:
        entry.exit_code = errors.FAILED
    found = audit.read()
    assert [one["outcome"] for one in found] == ["ok", "interrupted", "failed", "refused", "refused", "failed"]
    assert found[0]["arguments"] == ["mysite", "redis://:***@host/0"]
    assert [one["exit_code"] for one in found] == [0, 130, 1, 6, 9, 1]
    assert {one["witness"] for one in found} == {"root"}
    assert [one["command"] for one in audit.read(count=1)] == ["stop"]
    assert audit.read(since=time.time() + 1) == []


@root_only
def test_what_was_killed_was_interrupted_and_what_lives_is_running(log):
    code = (
        f"import sys; sys.path.insert(0, {str(CLI)!r}); from celeryhost.scripts import hold; hold.LOG = {str(log)!r}\n"
        "from celeryhost import audit; import time\n"
        "with audit.entry('apply'): print('in', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert [one["outcome"] for one in audit.read()] == ["running"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [one["outcome"] for one in audit.read()] == ["interrupted"]


@root_only
@pytest.mark.parametrize("end", [{"outcome": "ok", "exit_code": 0, "changed": True}, None])
def test_a_run_from_elsewhere(tmp_path, log, end):
    text = source(hold).replace('if __name__ == "__main__":', f"LOG = {str(log)!r}\nLOCK = {hold.LOCK!r}\nif True:")
    entry = {"user": "me@laptop", "command": "provision", "arguments": ["-H", "board"]}
    for asked in ("first", "second"):
        process = subprocess.Popen(
            ["/usr/bin/python3", "-I", "-S", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        process.stdin.write(json.dumps({"wait": False, "entry": entry}) + "\n")
        process.stdin.flush()
        process.stdout.readline()
        if asked == "first":
            first = process
    first.stdin.write(f"{json.dumps(end)}\n" if end else "")
    for one in (first, process):
        one.stdin.close()
        one.wait()
    ran, refused = audit.read()
    assert (ran["outcome"], refused["outcome"]) == (end["outcome"] if end else "interrupted", "refused")
    assert (ran["user"], ran["arguments"], ran["changed"]) == ("me@laptop", ["-H", "board"], True if end else None)


@root_only
def test_members_note_themselves_and_the_kernel_says_who(log):
    members = log.parent / audit.MEMBERS
    members.mkdir()
    members.chmod(0o1777)
    code = (
        f"import sys; sys.path.insert(0, {str(CLI)!r}); from celeryhost.scripts import hold; hold.LOG = {str(log)!r}\n"
        "from celeryhost import audit\n"
        "with audit.entry('restart', ['mysite'], user='somebody else'): pass"
    )
    python = ["/usr/bin/python3", "-I", "-c", code]
    subprocess.run(python, user=65534, group=65534, extra_groups=[], check=True, cwd="/")
    assert not log.exists()
    forged = json.loads((members / "65534.log").read_text().splitlines()[0])
    (members / "0.log").symlink_to(members / "65534.log")
    (members / "1.log").write_text(json.dumps(forged) + "\n")
    (members / "1.log").chmod(0o644)
    [one] = audit.read()
    assert (one["account"], one["user"], one["witness"], one["command"]) == ("nobody", None, "self", "restart")


@root_only
def test_the_command(log):
    log.parent.mkdir(exist_ok=True)
    assert celeryhost("lock", "-m", "a disk")[0] == errors.OK
    assert celeryhost("lock")[0] == errors.TIMEOUT
    assert celeryhost("lock", "-m", "me too")[0].code == errors.TIMEOUT
    assert celeryhost("unlock")[0] == errors.OK
    code, said = celeryhost("audit", "--json")
    found = [json.loads(line) for line in said.splitlines()]
    assert code == errors.OK
    assert [(one["command"], one["outcome"]) for one in found] == [
        ("lock", "ok"),
        ("lock", "refused"),
        ("unlock", "ok"),
    ]
    assert found[0]["arguments"] == ["--reason=a disk"]
    assert all(one.keys() <= fields("audit") for one in found)
    code, said = celeryhost("audit", "-n", "1")
    assert said.count("\n") == 1
    assert said.rstrip().endswith("ok  unlock")
    failure, _ = celeryhost("audit", "--since", "1h", "--until", "2h")
    assert failure.code == errors.USAGE


def test_where_nothing_was_provisioned_nothing_is_noted(log):
    log.parent.rmdir()
    with audit.entry("restart"):
        pass
    assert not log.parent.exists()
    assert celeryhost("audit")[0] == errors.OK


@root_only
def test_lines_that_are_none(log):
    log.write_text(
        '[]\n{"time": "x"}\n{"event": "begin"}\n\xff\n{"event": "begin", "time": 1, "command": "\\u001b[31m"}\n'
    )
    code, said = celeryhost("audit")
    assert code == errors.OK
    assert "\x1b" not in said
    assert said.count("\n") == 1


@root_only
def test_a_host_that_says_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    good = {"time": 1.0, "command": "restart", "outcome": "ok"}
    odd = [{}, {"time": "soon"}, {"time": 1e99, "outcome": "ok"}, {"time": 1, "outcome": []}, {"waiting": 5}]
    script = "#!/bin/sh\n" + "".join(f"echo '{json.dumps(each)}'\n" for each in [*odd, good])
    with sshd(tmp_path / "sshd", script) as host:
        (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"board": host}}}))
        code, said = celeryhost("-i", str(tmp_path / "hosts.json"), "audit")
    assert code == errors.FAILED
    assert said.count("speaks otherwise") >= 3, said
    assert [line for line in said.splitlines() if "  restart" in line], said

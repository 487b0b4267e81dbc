"""`celeryhost start`, `stop` and `restart`, and what `apply` builds on, against a real supervisord."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from xmlrpc.server import SimpleXMLRPCServer

import pytest
from celeryhost import errors
from celeryhost.supervisor import lifecycle
from conftest import wait_for
from test_status import on_terminal

CRASH = "sh -c 'echo the reason; exit 3'"
DEAF = "sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 0.1; done'"


def slow(seconds: float) -> str:
    return f"sh -c 'trap \"sleep {seconds}; exit\" TERM; while :; do sleep 0.1; done'"


def kinds(done) -> list[tuple[str, str]]:
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(event["version"] == 1 for event in events)
    return [(event["program"], event["kind"]) for event in events]


def test_start_stop_and_again(daemon):
    daemon.program("p", autostart="false", startsecs=1)
    daemon.start()
    done = daemon.run("start", "p")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"p  running  pid {daemon.pid('p')}\n", "")
    done = daemon.run("start", "p")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = daemon.run("stop", "p")
    assert (done.returncode, done.stdout, done.stderr) == (0, "p  stopped\n", "")
    done = daemon.run("stop", "p")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_restart_has_a_new_pid(daemon):
    daemon.program("p", startsecs=1)
    daemon.program("off", autostart="false")
    daemon.start(until=("RUNNING", "STOPPED"))
    before = daemon.pid("p")
    done = daemon.run("restart", "--json", "p", "off")
    assert done.returncode == errors.OK
    assert [kind for name, kind in kinds(done) if name == "p"] == ["stopping", "stopped", "starting", "running"]
    assert json.loads(done.stdout.splitlines()[-1])["pid"] == daemon.pid("p") != before
    assert daemon.state("off") == "RUNNING"


def test_members_of_a_group(daemon):
    daemon.program("many", numprocs=3, process_name="%(process_num)d")
    daemon.start()
    before = {p.name: p.pid for p in daemon.known()}
    assert daemon.run("restart", "many:1").returncode == errors.OK
    now = {p.name: p.pid for p in daemon.known()}
    assert [name for name in now if now[name] != before[name]] == ["many:1"]
    assert daemon.run("restart", "many").returncode == errors.OK
    assert not set(now.values()) & {p.pid for p in daemon.known()}


@pytest.mark.parametrize("command", ["start", "restart"])
def test_fatal_ends_with_the_log(daemon, command):
    daemon.program("bad", CRASH, startsecs=1, startretries=1)
    daemon.program("good")
    daemon.start(until=("FATAL", "RUNNING"))
    done = daemon.run(command, "bad", "good")
    assert done.returncode == errors.FAILED
    assert "bad: fatal: Exited too quickly" in done.stderr
    assert "    the reason" in done.stderr


def test_command_that_is_not_there(daemon):
    daemon.program("p", "/does/not/exist", startretries=0)
    daemon.start(until=("FATAL",))
    done = daemon.run("start", "p")
    assert done.returncode == errors.FAILED
    assert "can't find command '/does/not/exist'" in done.stderr


def test_program_that_ends_by_itself(daemon):
    daemon.program("once", "sh -c 'sleep 0.1'", autorestart="false", autostart="false", exitcodes=0)
    daemon.program("wrong", "sh -c 'sleep 0.1; echo why; exit 4'", autorestart="false", autostart="false", startsecs=1)
    daemon.start()
    assert daemon.run("start", "once").returncode == errors.OK
    done = daemon.run("start", "wrong", "--timeout", "1")
    assert done.returncode in (errors.TIMEOUT, errors.FAILED)


def test_backoff_is_stopped_at_once(daemon):
    daemon.program("loop", CRASH, startsecs=1, startretries=1000)
    daemon.start(until=("BACKOFF",))
    done = daemon.run("stop", "loop")
    assert (done.returncode, daemon.state("loop")) == (errors.OK, "STOPPED")


def test_backoff_is_waited_for_no_longer_than_told(daemon):
    daemon.program("loop", CRASH, startsecs=1, startretries=1000)
    daemon.start(until=("BACKOFF",))
    done = daemon.run("start", "loop", "--timeout", "1")
    assert done.returncode == errors.TIMEOUT
    assert "loop: timeout: still" in done.stderr
    assert "the reason" in done.stderr


def test_program_that_ignores_term_is_killed(daemon):
    daemon.program("deaf", DEAF, stopwaitsecs=2, killasgroup="true")
    daemon.start()
    wait_for(lambda: "deaf" in (daemon.folder / "log" / "deaf.log").read_text())
    before = daemon.pid("deaf")
    done = daemon.run("restart", "deaf")
    assert done.returncode == errors.OK
    assert "is stopping, 1 of at most 2 s" in done.stdout
    assert daemon.pid("deaf") != before


def test_stop_that_meets_a_program_before_it_is_one(daemon):
    daemon.program("p", autostart="false", stopwaitsecs=60)
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 100_000)
    daemon.config.write_text(daemon.config.read_text().replace("[supervisord]\n", f"[supervisord]\nminfds={most}\n"))
    daemon.start()
    for _ in range(3):  # while the child closes so many descriptors, it is supervisord still
        daemon.rpc.multicall([("startProcess", "p", False), ("stopProcess", "p", False)])
        assert [event.kind for event in lifecycle.stop(daemon.rpc, daemon.known())][-1] == "stopped"
    assert "SIGKILL" not in daemon.log.read_text()


def test_program_that_takes_ten_seconds_holds_up_no_other(daemon):
    daemon.program("slow", slow(10), stopwaitsecs=30)
    daemon.program("quick")
    daemon.start()
    done = daemon.run("restart", "slow", "quick")
    assert done.returncode == errors.OK
    names = [line.split()[:2] for line in done.stdout.splitlines()]
    assert names.index(["quick", "running"]) < names.index(["slow", "running"])
    assert done.stdout.count("slow  waiting  is stopping") >= 2


def test_timeout_of_a_stop(daemon):
    daemon.program("slow", slow(30), stopwaitsecs=60)
    daemon.start()
    done = daemon.run("restart", "slow", "--timeout", "0.5")
    assert (done.returncode, daemon.state("slow")) == (errors.TIMEOUT, "STOPPING")
    assert "slow: timeout: still STOPPING" in done.stderr


def test_start_of_what_is_stopping(daemon):
    daemon.program("slow", slow(1))
    daemon.start()
    assert daemon.run("stop", "--no-wait", "slow").returncode == errors.OK
    assert daemon.state("slow") == "STOPPING"
    assert daemon.run("start", "slow").returncode == errors.OK
    assert daemon.state("slow") == "RUNNING"


def test_no_wait(daemon):
    daemon.program("p", startsecs=1000, autostart="false")
    daemon.start()
    assert daemon.run("start", "p", "--no-wait").returncode == errors.OK
    assert daemon.state("p") == "STARTING"
    before = daemon.pid("p")
    assert daemon.run("restart", "p", "--no-wait").returncode == errors.OK
    assert daemon.pid("p") != before


def test_rolling(daemon):
    for name in "abc":
        daemon.program(name)
    daemon.program("bad", CRASH, startsecs=1, startretries=0, priority=1)
    daemon.start(until=("RUNNING", "FATAL"))
    one = ["stopping", "stopped", "starting", "running"]
    done = daemon.run("restart", "--rolling", "--json", "c", "a")
    assert kinds(done) == [("c", kind) for kind in one] + [("a", kind) for kind in one]
    before = daemon.pid("b")
    done = daemon.run("restart", "--rolling", "bad", "b")
    assert (done.returncode, daemon.pid("b")) == (errors.FAILED, before)
    assert "b: skipped" in done.stderr


def test_everything_is_stopped_only_when_confirmed(daemon):
    daemon.program("a")
    daemon.program("b")
    daemon.start()
    for words in (["all"], ["*"], ["a", "[ab]"]):
        done = daemon.run("stop", *words)
        assert (done.returncode, done.stdout) == (errors.USAGE, "")
        assert done.stderr.endswith("add --yes\n")
    code, shown = on_terminal(daemon, "stop", "all", keys="n\n")
    assert code == errors.INTERRUPTED
    assert "Stop all 2 programs? [y/N]" in shown
    assert {p.state for p in daemon.known()} == {"RUNNING"}
    assert on_terminal(daemon, "stop", "all", keys="y\n")[0] == errors.OK
    assert {p.state for p in daemon.known()} == {"STOPPED"}
    assert daemon.run("start", "all").returncode == errors.OK
    assert daemon.run("stop", "all", "--yes").returncode == errors.OK
    assert {p.state for p in daemon.known()} == {"STOPPED"}


def test_progress_stays_on_the_terminal(daemon):
    daemon.program("slow", slow(2))
    daemon.start()
    code, shown = on_terminal(daemon, "restart", "slow")
    assert code == errors.OK
    assert "under way: slow" in shown
    assert re.sub(r"\033\[\d+m", "", shown).endswith(f"slow  running  pid {daemon.pid('slow')}\r\n\r\033[K")


def test_unknown_and_usage(daemon):
    daemon.program("mysite-worker")
    daemon.start()
    before = daemon.pid("mysite-worker")
    for command in ("start", "stop", "restart"):
        done = daemon.run(command, "mysite-worker", "mysite-beat")
        assert (done.returncode, len(done.stderr.splitlines())) == (errors.UNKNOWN, 1)
        assert daemon.run(command).returncode == errors.USAGE
        assert daemon.run(command, "mysite", "--timeout", "0").returncode == errors.USAGE
    assert daemon.pid("mysite-worker") == before


def test_interrupted_says_what_it_leaves(daemon):
    daemon.program("slow", slow(3))
    daemon.program("quick")
    daemon.start()
    run = daemon.popen("restart", "slow", "quick")
    wait_for(lambda: daemon.state("slow") == "STOPPING" and daemon.state("quick") == "RUNNING")
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=180)
    assert run.returncode == errors.INTERRUPTED
    assert said == "celeryhost: interrupted; STOPPING: slow; finish with celeryhost start slow\n"


@pytest.mark.parametrize("command", ["restart", "stop"])
def test_supervisord_gone_in_the_middle(daemon, command):
    daemon.program("slow", slow(5))
    daemon.start()
    run = daemon.popen(command, "slow")
    wait_for(lambda: daemon.state("slow") == "STOPPING")
    left = daemon.pid("slow")
    daemon.process.kill()
    daemon.process.wait()
    _, said = run.communicate(timeout=180)
    os.killpg(left, signal.SIGKILL)
    assert run.returncode == errors.DOWN
    assert "last stopping: slow" in said
    assert len(said.splitlines()) == 1


def test_supervisord_that_is_shutting_down(daemon):
    daemon.program("slow", slow(5), stopwaitsecs=10)
    daemon.program("other", autostart="false")
    daemon.start()
    daemon.process.terminate()
    wait_for(lambda: "received SIGTERM" in daemon.log.read_text())
    done = daemon.run("start", "other")
    assert done.returncode == errors.DOWN
    assert "is shutting down" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_reader_that_goes_away_leaves_nothing_stopped(daemon):
    for name in "ab":
        daemon.program(name, slow(1))
    daemon.start()
    before = {p.name: p.pid for p in daemon.known()}
    run = daemon.popen("restart", "--json", "a", "b")
    run.stdout.readline()
    run.stdout.close()
    run.wait(20)
    assert {p.state for p in daemon.known()} == {"RUNNING"}
    assert not set(before.values()) & {p.pid for p in daemon.known()}


def test_replace(daemon):
    for name in ("same", "changed", "removed"):
        daemon.program(name)
    daemon.start()
    before = {p.name: p.pid for p in daemon.known()}
    daemon.program("changed", "sleep 2000", numprocs=2, process_name="%(process_num)d")
    daemon.program("added", startsecs=1)
    daemon.program("manual", autostart="false")
    daemon.program("bad", CRASH, startsecs=1, startretries=0)
    (daemon.folder / "conf.d" / "removed.conf").unlink()
    ((added, changed, removed),) = daemon.rpc.call("reloadConfig")
    events = list(lifecycle.replace(daemon.rpc, changed, added, removed))
    now = {p.name: p for p in daemon.known()}
    assert {name: p.state for name, p in now.items()} == {
        "same": "RUNNING",
        "changed:0": "RUNNING",
        "changed:1": "RUNNING",
        "added": "RUNNING",
        "manual": "STOPPED",
        "bad": "FATAL",
    }
    assert now["same"].pid == before["same"]
    assert lifecycle.exit_code(events) == errors.FAILED
    assert [event.kind for event in events if event.program == "removed"] == ["stopping", "stopped", "removed"]
    assert [event.kind for event in events if event.program == "manual"][-1] == "stopped"


def test_old_supervisor(old_daemon):
    """What 3.4 lacks: it does not tell commands, startsecs and stopwaitsecs, so no bound is named while waiting."""
    daemon = old_daemon
    daemon.program("p", slow(1.5), startsecs=1)
    daemon.program("bad", CRASH, startsecs=1, startretries=0)
    daemon.start(until=("RUNNING", "FATAL"))
    done = daemon.run("status")
    assert done.returncode == errors.NOT_RUNNING
    assert "the reason" in done.stdout
    before = daemon.pid("p")
    done = daemon.run("restart", "p")
    assert done.returncode == errors.OK
    assert daemon.pid("p") != before
    bound = "" if daemon.rpc.call("getSupervisorVersion") == "3.4.0" else " of at most 5"
    assert f"is stopping, 1{bound} s" in done.stdout
    assert daemon.run("start", "bad").returncode == errors.FAILED
    assert daemon.run("stop", "p").returncode == errors.OK
    daemon.program("added")
    daemon.rpc.call("reloadConfig")
    events = list(lifecycle.replace(daemon.rpc, ["p"], ["added"], ["bad"]))
    assert lifecycle.exit_code(events) == errors.OK
    assert {p.name: p.state for p in daemon.known()} == {"p": "RUNNING", "added": "RUNNING"}


def test_what_a_server_does_not_know_is_one_line(tmp_path):
    """Something else that speaks XML-RPC, say."""
    server = SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    done = subprocess.run(
        [sys.executable, "-m", "celeryhost", "-s", url, "stop", "web"], capture_output=True, text=True, timeout=180
    )
    server.shutdown()
    assert (done.returncode, len(done.stderr.splitlines())) == (errors.FAILED, 1), done.stderr
    assert "supervisord refuses it: " in done.stderr

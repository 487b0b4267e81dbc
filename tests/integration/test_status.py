"""`celeryhost status` against a real supervisord."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from celeryhost import errors
from conftest import PASSWORD, USER, wait_for
from documented import fields

CRASH = "sh -c 'echo the reason; exit 3'"


def rows(done) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(done.stdout)["programs"]}


def on_terminal(daemon, *args: str, columns: int = 80, keys: str = "", **env: str) -> tuple[int, str]:
    """Run celeryhost on a terminal; returns its exit code and all that it showed."""
    ours, theirs = pty.openpty()
    if keys:
        os.write(ours, keys.encode())
    env = {"COLUMNS": str(columns), "TERM": "xterm", **env}
    run = daemon.popen(*args, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return run.wait(60), shown.decode()


def test_all_run(daemon):
    daemon.program("mysite-worker")
    daemon.program("mysite-beat")
    daemon.start()
    done = daemon.run("status")
    assert done.returncode == errors.OK
    assert done.stderr == ""
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["PROGRAM", "STATE", "PID", "UPTIME", "CPU", "MEMORY", "RESTARTS"]
    assert [line.split()[:3] for line in lines] == [
        [name, "RUNNING", str(daemon.pid(name))] for name in ("mysite-beat", "mysite-worker")
    ]


def test_the_options_that_name_a_supervisord_need_no_click(daemon):
    daemon.program("p")
    daemon.start()
    code = "import sys; sys.modules['click'] = None; from celeryhost.__main__ import main; main()"
    for options in (["-c", daemon.config], ["--serverurl", f"unix://{daemon.socket}", "-u", "nobody"]):
        for words in (["status"], ["status", "p", "--json"]):
            done = subprocess.run(
                [sys.executable, "-c", code, *options, *words], cwd="/", capture_output=True, text=True
            )
            assert (done.returncode, done.stderr) == (errors.OK, "")
            assert "RUNNING" in done.stdout
    done = subprocess.run([sys.executable, "-c", code, "-c", daemon.config], cwd="/", capture_output=True, text=True)
    assert "click is missing" in done.stderr, "what is no plain `status` is click's to read"


def test_no_programs(daemon):
    daemon.start()
    done = daemon.run("status")
    assert (done.returncode, done.stdout, done.stderr) == (errors.OK, "no programs\n", "")


@pytest.mark.parametrize(
    ("state", "code", "settings"),
    [
        ("STOPPED", errors.NOT_RUNNING, {"autostart": "false"}),
        ("EXITED", errors.NOT_RUNNING, {"command": CRASH, "autorestart": "false"}),
        ("FATAL", errors.NOT_RUNNING, {"command": CRASH, "startsecs": 1, "startretries": 0}),
        ("BACKOFF", errors.STARTING, {"command": CRASH, "startsecs": 1, "startretries": 1000}),
        ("STARTING", errors.STARTING, {"startsecs": 1000}),
    ],
)
def test_exit_code_of_a_state(daemon, state, code, settings):
    daemon.program("odd", **settings)
    daemon.program("good")
    daemon.start(until=(state, "RUNNING"))
    done = daemon.run("status")
    assert done.returncode == code
    assert re.search(rf"^odd +{state}\b", done.stdout, re.MULTILINE)
    assert daemon.run("status", "good").returncode == errors.OK
    if state in ("FATAL", "BACKOFF"):
        assert "the reason" in done.stdout


def test_stopping_is_not_running_yet(daemon):
    daemon.program("slow", "sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'")
    daemon.start()
    daemon.run("stop", "--no-wait", "slow")
    assert daemon.run("status").returncode == errors.STARTING


def test_unknown_name(daemon):
    daemon.program("mysite-worker")
    daemon.start()
    done = daemon.run("status", "mysite-wroker")
    assert (done.returncode, done.stdout) == (errors.UNKNOWN, "")
    assert done.stderr == (
        "celeryhost: no program, group or app 'mysite-wroker' here; did you mean 'mysite-worker' or 'mysite'?\n"
    )


def test_supervisord_down(daemon):
    done = daemon.run("status")
    assert (done.returncode, done.stdout) == (errors.DOWN, "")
    assert len(done.stderr.splitlines()) == 1
    assert "systemctl start" in done.stderr


def test_usage(daemon):
    for args in (["status", "--sort", "colour"], ["status", "--watch=often"], ["status", "--what"]):
        assert daemon.run(*args).returncode == errors.USAGE


def test_over_http_with_user_and_password(daemon):
    daemon.program("p")
    daemon.start()
    remote = ("-s", daemon.url, "-u", USER)
    done = daemon.run(*remote, "status", env={"SUPERVISOR_PASSWORD": PASSWORD})
    assert done.returncode == errors.OK
    assert re.search(r"^p +RUNNING", done.stdout, re.MULTILINE)
    for env in ({"SUPERVISOR_PASSWORD": "wrong"}, {}):
        refused = daemon.run(*remote, "status", env=env)
        assert (refused.returncode, refused.stdout) == (errors.DENIED, "")
        assert len(refused.stderr.splitlines()) == 1


def test_socket_of_someone_else(daemon, root):
    daemon.start()
    daemon.socket.chmod(0)
    command, nobody = daemon.argv("status"), {}
    if os.getuid() == 0:  # who may open every socket, and whose checkout and Python nobody else may read
        daemon.folder.chmod(0o755)
        shutil.copytree(root / "cli" / "celeryhost", daemon.folder / "lib" / "celeryhost")
        main = "import sys; sys.path.insert(0, 'lib'); from celeryhost.__main__ import main; main()"
        command, nobody = ["/usr/bin/python3", "-c", main, "status"], {"user": 65534, "group": 65534}
    done = subprocess.run(command, cwd=daemon.folder, capture_output=True, text=True, timeout=180, **nobody)
    assert (done.returncode, done.stdout) == (errors.DENIED, "")
    assert done.stderr.endswith("join group `supervisor` and log in again, or use sudo\n")
    assert len(done.stderr.splitlines()) == 1


def test_json(daemon):
    daemon.program("n" * 120)
    daemon.program("forks", "sh -c 'sleep 1000 & sleep 1000'")
    daemon.program("bad", CRASH, startsecs=1, startretries=0)
    daemon.start(until=("RUNNING", "FATAL"))
    wait_for(lambda: subprocess.run(["pgrep", "-P", str(daemon.pid("forks"))], capture_output=True).returncode == 0)
    done = daemon.run("status", "--json", env={"COLUMNS": "20"})
    told = json.loads(done.stdout)
    assert told["version"] == 1
    assert told.keys() == fields("status")
    assert all(row.keys() == fields("status", "a program") for row in told["programs"])
    assert told["supervisord"]["pid"] == daemon.process.pid
    assert told["changes"] is None
    found = rows(done)
    assert found["n" * 120]["measure"] == "rss"
    assert found["forks"]["measure"] == "pss"
    assert found["forks"]["memory"] > 0
    assert found["bad"]["last_line"] == "the reason"
    assert found["bad"]["pid"] is None


def test_names(daemon):
    daemon.program("mysite-worker", numprocs=2, process_name="%(program_name)s_%(process_num)d")
    for name in ("mysite-beat", "mysite-two-worker", "mysite-two-beat", "other"):
        daemon.program(name)
    daemon.start()

    def named(*patterns):
        return list(rows(daemon.run("status", "--json", *patterns)))

    worker = ["mysite-worker:mysite-worker_0", "mysite-worker:mysite-worker_1"]
    assert named("mysite") == ["mysite-beat", *worker]
    assert named("mysite-two") == ["mysite-two-beat", "mysite-two-worker"]
    assert named("mysite-worker") == named("mysite-worker:*") == worker
    assert named(worker[1], "other", worker[1]) == [worker[1], "other"]
    assert named("*-beat") == ["mysite-beat", "mysite-two-beat"]
    assert len(named("all")) == len(named()) == 6


ODD = ["o'dd;$(id)&|<>", 'qu"ote`', "ünï™", "back\\slash", "star*[x]", "-dash"]


def test_odd_names(daemon):
    for at, name in enumerate(ODD):
        section = daemon.folder / "conf.d" / f"{at}.conf"
        section.write_text(f"[group:{name}]\nprograms=p{at}\n[program:p{at}]\ncommand=sleep 1000\nstartsecs=0\n")
    daemon.start()
    names = sorted(row.name for row in daemon.known())
    assert sorted(name.removesuffix(f":p{at}") for at, name in enumerate(n for n in names)) or names
    for at, name in enumerate(ODD):
        assert list(rows(daemon.run("status", "--json", "--", name))) == [f"{name}:p{at}"]
        done = daemon.run("restart", "--", name)
        assert (done.returncode, done.stderr) == (errors.OK, "")
        assert name in done.stdout


def test_restarts(daemon):
    daemon.program("again", autostart="true")
    daemon.program("never", autostart="false")
    daemon.start()
    for count in (1, 2):
        os.kill(daemon.pid("again"), signal.SIGKILL)
        wait_for(lambda: rows(daemon.run("status", "--json"))["again"]["restarts"] == count)  # noqa: B023
    found = rows(daemon.run("status", "--json"))
    assert found["again"]["restarts"] == 2
    assert found["never"]["restarts"] == 0
    daemon.log.unlink()
    assert rows(daemon.run("status", "--json"))["again"]["restarts"] is None


def test_newer_configuration_on_disk(daemon):
    path = daemon.program("old")
    daemon.program("changed")
    daemon.start()
    later = time.time() + 5
    daemon.program("added")
    daemon.program("changed", "sleep 2000")
    path.unlink()
    for place in (daemon.folder / "conf.d", *(daemon.folder / "conf.d").iterdir()):
        os.utime(place, (later, later))
    done = daemon.run("status")
    assert done.returncode == errors.OK
    assert "added (added), changed (changed), old (removed); bring it in with celeryhost apply" in done.stderr
    daemon.program("added", stdout_logfile="/does/not/exist/added.log")
    os.utime(daemon.folder / "conf.d" / "added.conf", (later, later))
    assert "cannot be read" in daemon.run("status").stderr


def test_touched_configuration_gives_no_hint(daemon):
    path = daemon.program("p")
    daemon.start()
    later = time.time() + 5
    os.utime(path, (later, later))
    assert daemon.run("status").stderr == ""


def test_fits_the_terminal(daemon):
    daemon.program("a-rather-long-name-of-a-program-that-does-not-fit")
    daemon.program("bad", f"sh -c 'echo {'x' * 200}; exit 1'", startsecs=1, startretries=0)
    daemon.start(until=("RUNNING", "FATAL"))
    for columns in (20, 40, 60, 80, 200):
        _, shown = on_terminal(daemon, "status", columns=columns)
        lines = re.sub(r"\033\[\d+m", "", shown).splitlines()
        assert len(lines) == 3
        assert max(map(len, lines)) <= columns


def test_colours(daemon):
    daemon.program("p")
    daemon.start()
    assert "\033[32mRUNNING\033[0m" in on_terminal(daemon, "status")[1]
    assert "\033" not in on_terminal(daemon, "status", NO_COLOR="1")[1]
    assert "\033" not in daemon.run("status").stdout


def test_a_log_cannot_change_the_terminal(daemon):
    daemon.program("bad", "printf '\\033[31m\\377\\r\\007evil\\033]0;title\\007'", startsecs=1, startretries=0)
    daemon.start(until=("FATAL",))
    shown = daemon.run("status").stdout
    assert "evil" in shown
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", shown)


def test_sort(daemon):
    daemon.program("a", autostart="false")
    daemon.program("b")
    daemon.program("c")
    daemon.start()
    by_pid = list(rows(daemon.run("status", "--sort", "pid", "--json")))
    assert by_pid == [*sorted("bc", key=daemon.pid, reverse=True), "a"]
    assert list(rows(daemon.run("status", "--sort", "name", "--json"))) == ["a", "b", "c"]


def test_watch(daemon):
    daemon.program("busy", "sh -c 'while :; do :; done'")
    daemon.start()
    watch = daemon.popen("status", "--watch=0.5", "--json")
    first, second = (json.loads(watch.stdout.readline()) for _ in range(2))
    watch.send_signal(signal.SIGINT)
    _, said = watch.communicate(timeout=180)
    assert watch.returncode == errors.INTERRUPTED
    assert said.strip() == "celeryhost: interrupted"
    assert first["programs"][0]["cpu"] > 1
    assert second["programs"][0]["cpu"] > 1

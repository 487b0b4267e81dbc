"""`celeryhost apply` and the reading of Supervisor's files, against a real supervisord."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from celeryhost.errors import DOWN, FAILED, INTERRUPTED, OK, TIMEOUT, UNKNOWN, USAGE, Failure
from celeryhost.supervisor import apply as engine
from celeryhost.supervisor import conffile, lifecycle
from conftest import wait_for

# Ends a second after it is told to; what it waits on ends with it.
SLOW = "sh -c 'trap \"sleep 1; exit 0\" TERM; while :; do sleep 0.1; done'"


def spawned(daemon, name: str) -> int:
    return len(re.findall(f"spawned: '{name}'", daemon.log.read_text()))


def groups(daemon) -> set[str]:
    return {process.group for process in daemon.known()}


@pytest.fixture
def three(daemon):
    for name in ("one", "two", "three"):
        daemon.program(name)
    return daemon.start()


def test_nothing_to_do(three):
    done = three.run("apply")
    assert (done.returncode, done.stdout, done.stderr) == (OK, "nothing to do: 3 programs as configured\n", "")


def test_changed_restarts_once_added_starts_removed_goes_unchanged_stays(three):
    before = {process.name: process.pid for process in three.known()}
    three.program("one", "sleep 2000")
    (three.folder / "conf.d/two.conf").unlink()
    three.program("four")
    done = three.run("apply")
    assert done.returncode == OK, done.stderr
    assert "command: sleep 1000 → sleep 2000" in done.stdout
    assert groups(three) == {"one", "three", "four"}
    assert three.pid("three") == before["three"]
    assert three.pid("one") != before["one"]
    assert [spawned(three, name) for name in ("one", "two", "three", "four")] == [2, 1, 1, 1]
    assert three.process.poll() is None
    assert three.log.read_text().count("supervisord started") == 1


def test_dry_run_changes_nothing(three):
    before = three.known()
    three.program("one", "sleep 2000")
    three.program("four")
    done = three.run("apply", "--dry-run", "--json")
    assert done.returncode == OK
    plan = json.loads(done.stdout)["plan"]
    assert [(change["program"], change["action"]) for change in plan["changes"]] == [("four", "add"), ("one", "change")]
    assert [p.pid for p in three.known()] == [p.pid for p in before]
    assert three.run("apply", "--dry-run").stdout.startswith("add     four\nchange  one\n")


def test_only_the_named_programs(three):
    three.program("one", "sleep 2000")
    three.program("two", "sleep 2000")
    three.program("app-worker")
    done = three.run("apply", "app", "two")
    assert done.returncode == OK
    assert "left alone: one" in done.stdout
    assert [spawned(three, name) for name in ("one", "two", "app-worker")] == [1, 2, 1]
    done = three.run("apply", "tow")
    assert (done.returncode, done.stdout) == (UNKNOWN, "")
    assert "did you mean 'two'?" in done.stderr


def test_a_deleted_log_line_is_seen(three):
    path = three.folder / "conf.d/one.conf"
    path.write_text("".join(line for line in path.open() if not line.startswith("stdout_logfile")))
    done = three.run("apply")
    assert f"stdout_logfile: {three.folder}/log/one.log → auto" in done.stdout
    assert [spawned(three, name) for name in ("one", "two")] == [2, 1]
    assert three.run("apply").stdout.startswith("nothing to do")


def test_a_program_without_a_log_line_is_no_change(daemon):
    daemon.program("quiet", stdout_logfile="AUTO", redirect_stderr="false")
    daemon.start()
    assert daemon.run("apply").stdout.startswith("nothing to do")


def test_a_program_stopped_by_hand_stays_so_unless_changed(three):
    assert three.run("stop", "one", "two").returncode == OK
    three.program("two", "sleep 2000")
    assert three.run("apply").returncode == OK
    assert (three.state("one"), three.state("two")) == ("STOPPED", "RUNNING")


def test_a_program_that_ran_without_autostart_runs_again(daemon):
    daemon.program("manual", autostart="false")
    daemon.program("idle", autostart="false")
    daemon.start()
    assert daemon.run("start", "manual").returncode == OK
    for name in ("manual", "idle"):
        daemon.program(name, "sleep 2000", autostart="false")
    assert daemon.run("apply").returncode == OK
    assert (daemon.state("manual"), daemon.state("idle")) == ("RUNNING", "STOPPED")


def test_every_kind_of_section(daemon):
    daemon.program("many", numprocs=2, process_name="%(program_name)s_%(process_num)d")
    daemon.program("left")
    daemon.program("right")
    group = daemon.folder / "conf.d/pair.conf"
    group.write_text("[group:pair]\nprograms=left,right\n")
    ears = "sh -c 'while :; do echo READY; read line; done'"
    daemon.program("ears", ears, kind="eventlistener", events="TICK_3600", redirect_stderr="false")
    gate = {"kind": "fcgi-program", "socket": f"unix://{daemon.folder}/fcgi.sock"}
    daemon.program("gate", **gate)
    daemon.start()
    assert groups(daemon) == {"many", "pair", "ears", "gate"}
    daemon.program("many", numprocs=3, process_name="%(program_name)s_%(process_num)d")
    daemon.program("left", "sleep 2000")
    daemon.program("ears", ears, kind="eventlistener", events="TICK_60", redirect_stderr="false")
    daemon.program("gate", "sleep 2000", **gate)
    done = daemon.run("apply")
    assert done.returncode == OK, done.stderr
    assert {p.name for p in daemon.known() if p.state == "RUNNING"} == {
        "many:many_0", "many:many_1", "many:many_2", "pair:left", "pair:right", "ears", "gate",
    }  # fmt: skip
    assert [spawned(daemon, name) for name in ("many_0", "left", "right", "ears", "gate")] == [2] * 5
    group.unlink()
    assert daemon.run("apply").returncode == OK
    assert groups(daemon) == {"many", "left", "right", "ears", "gate"}


def test_a_refused_file_is_named_in_one_line_and_nothing_changes(three):
    before = three.known()
    three.program("one", "sleep 2000")
    bad = three.program("bad", stdout_logfile="/nowhere/bad.log")
    done = three.run("apply")
    assert (done.returncode, done.stdout) == (USAGE, "")
    fix = "make it: mkdir -p /nowhere"
    assert done.stderr == f"celeryhost: {bad}: [program:bad]: the folder of /nowhere/bad.log does not exist; {fix}\n"
    assert [p.pid for p in three.known()] == [p.pid for p in before]


def test_a_program_that_fails_shows_the_end_of_its_log(three):
    command = "sh -c 'echo no module named mysite; exit 3'"
    three.program("one", command, startsecs=1, startretries=0)
    three.program("two", "sleep 2000")
    done = three.run("apply")
    assert done.returncode == FAILED
    assert "one: fatal" in done.stderr
    assert "no module named mysite" in done.stderr
    assert three.state("two") == "RUNNING"
    assert three.run("apply").stdout.startswith("nothing to do")


def test_killed_half_way_the_next_completes_it(daemon):
    for name in ("slow", "goner"):
        daemon.program(name, SLOW)
    daemon.program("calm")
    daemon.start()
    pid = daemon.pid("calm")
    daemon.program("slow", SLOW, startsecs=1)
    (daemon.folder / "conf.d/goner.conf").unlink()
    for name in ("goner", "slow"):  # killed once in each of its two steps
        first = daemon.popen("apply")
        wait_for(lambda name=name: daemon.state(name) == "STOPPING")
        first.kill()
        first.wait()
        first.stdout.close()
        first.stderr.close()
    done = daemon.run("apply")
    assert done.returncode == OK, done.stderr
    assert groups(daemon) == {"slow", "calm"}
    assert daemon.state("slow") == "RUNNING"
    assert daemon.pid("calm") == pid
    assert spawned(daemon, "slow") == 2


def test_interrupted_it_says_how_to_go_on(daemon):
    daemon.program("slow", SLOW)
    daemon.start()
    daemon.program("slow", SLOW, startsecs=1)
    running = daemon.popen("apply")
    wait_for(lambda: daemon.state("slow") == "STOPPING")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=180)
    assert running.returncode == INTERRUPTED
    assert said == "celeryhost: interrupted; celeryhost apply finishes what is left\n"


def test_two_at_once_take_turns(daemon):
    daemon.program("slow", SLOW)
    daemon.start()
    daemon.program("slow", SLOW, startsecs=1)
    first = daemon.popen("apply")
    wait_for(lambda: daemon.state("slow") == "STOPPING")
    with pytest.raises(Failure) as late, engine.exclusive(str(daemon.config), 0):
        pass
    assert late.value.code == TIMEOUT
    assert f"pid {first.pid} (" in str(late.value)
    second = daemon.run("apply")
    first.communicate(timeout=180)
    assert (first.returncode, second.returncode) == (OK, OK)
    assert second.stdout.startswith("nothing to do")
    assert spawned(daemon, "slow") == 2


def test_a_timeout_bounds_it(daemon):
    daemon.program("stubborn", "sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'", stopwaitsecs=30)
    daemon.start()
    daemon.program("stubborn", "sleep 2000", stopwaitsecs=30)
    done = daemon.run("apply", "--timeout=0.5")
    assert done.returncode == TIMEOUT
    assert "stubborn: timeout" in done.stderr


def test_what_runs_has_the_time_that_it_was_started_with(daemon, monkeypatch):
    daemon.program("slow", SLOW, stopwaitsecs=5)
    daemon.start()
    daemon.program("slow", SLOW, stopwaitsecs=0)
    monkeypatch.setattr(lifecycle, "STOP_MARGIN", 0.1)
    plan = engine.plan(daemon.rpc)
    assert lifecycle.exit_code(list(engine.apply(daemon.rpc, plan))) == OK


def test_by_url_alone(three):
    three.program("one", "sleep 2000")
    done = three.run("-s", f"unix://{three.socket}", "apply")
    assert done.returncode == OK, done.stderr
    assert spawned(three, "one") == 2


def test_no_supervisord(daemon):
    assert daemon.run("apply").returncode == DOWN


def test_an_old_supervisord(old_daemon):
    old_daemon.program("one")
    old_daemon.program("two")
    old_daemon.program("three")
    old_daemon.start()
    pid = old_daemon.pid("two")
    old_daemon.program("one", "sleep 2000")
    (old_daemon.folder / "conf.d/three.conf").unlink()
    old_daemon.program("four")
    done = old_daemon.run("apply")
    assert done.returncode == OK, done.stderr
    assert groups(old_daemon) == {"one", "two", "four"}
    assert (spawned(old_daemon, "one"), old_daemon.pid("two")) == (2, pid)
    assert old_daemon.run("apply").stdout.startswith("nothing to do")
    bad = old_daemon.program("bad", user="nobody-here")
    said = old_daemon.run("apply").stderr
    assert said.startswith(f"celeryhost: {bad}: [program:bad]: there is no user nobody-here; ")


def test_load_reads_what_supervisord_reads(daemon):
    daemon.program(
        "one",
        "sleep %(ENV_NAP)s",
        environment='A="1, 2",B="50%%"',
        directory="%(here)s",
        stopwaitsecs=7,
        numprocs=2,
        process_name="%(program_name)s_%(process_num)d",
        stdout_logfile="%(here)s/%(process_num)d.log",
    )
    os.environ["NAP"] = "1000"
    try:
        daemon.start()
    finally:
        del os.environ["NAP"]  # only supervisord's own environment has it
    (program,) = conffile.load(str(daemon.config)).values()
    assert program.name == program.group == "one"
    assert program.command == "sleep 1000"
    # supervisord's own, which the program inherits, and the entry's
    assert program.environment == os.environ | {"NAP": "1000", "A": "1, 2", "B": "50%"}
    assert program.directory == str(daemon.folder / "conf.d")
    assert (program.stopwaitsecs, program.numprocs, program.autostart) == (7, 2, True)
    assert program.file == str(daemon.folder / "conf.d/one.conf")
    assert program.logs == {
        f"one:one_{number}": (str(daemon.folder / f"conf.d/{number}.log"), None) for number in (0, 1)
    }


GOOD = "[program:new]\ncommand=sleep 1000\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "stdout_logfile=/nowhere/x.log\n", "[program:new]: the folder of /nowhere/x.log does not exist"),
        (GOOD + "user=nobody-here\n", "[program:new]: there is no user nobody-here; create it, or correct user="),
        ("[program:new]\ncommand=worker -n w@%h\n", "[program:new]: command = 'worker -n w@%h' has a single %"),
        ("[program:new]\ncommand=echo 100%\n", "[program:new]: command = 'echo 100%' has a single %; write it as %%"),
        ("[program:new]\ncommand=echo pa%ss\n", "[program:new]: command = 'echo pa%ss' has a single %"),
        ("[program:new]\ncommand=echo %(nope)s\n", "names 'nope', which supervisord does not know"),
        (GOOD + 'environment=A="1",PASSWORD="pa%ss"\n', "environment = PASSWORD=*** has a single %"),
        (GOOD + "environment=PASSWORD=secret,B\n", "environment= is no list of KEY=value"),
        (GOOD + 'environment=PASSWORD="secret\n', "environment= is no list of KEY=value"),
        ("[program:new]\nautostart=true\n", "[program:new]: command= is missing; add it"),
        ("[program:new]\ncommand\n", "line 2 is no [section] and no key=value"),
        ("command=secret\n", "line 1 stands before any [section]"),
        (GOOD + "startsecs=ten\n", "startsecs = 'ten' is no whole number"),
        (GOOD + "umask=ten\npriority=ten\n", "priority = 'ten' is no whole number"),  # not umask, which comes first
        (GOOD + "autostart=perhaps\n", "autostart: not a valid boolean value: 'perhaps'"),
        (GOOD + "stopsignal=TREM\n", "stopsignal: value 'TREM' is not a valid signal name"),
        (GOOD + GOOD, "section 'program:new' is there twice, again on line 3"),
        (GOOD + "command=true\n", "option 'command' in section 'program:new' is there twice"),
        ("[program:one]\ncommand=true\n", "one.conf' has this section too"),
        (GOOD + "[eventlistener:new]\ncommand=true\nevents=TICK_5\n", "another kind of section has the same name"),
        ("[group:all]\nprograms=nope\n", "[group:all]: programs= names nope, which is no program"),
        ("[program:a b]\ncommand=true\n", "the program name 'a b' holds ' '"),
    ],
)
def test_what_supervisord_would_refuse_or_misread(daemon, text, said):
    daemon.program("one")
    path = str(daemon.folder / "conf.d/new.conf")
    with pytest.raises(Failure) as refused:
        conffile.check(str(daemon.config), {path: text})
    message = str(refused.value)
    assert said in message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "secret" not in message
    assert refused.value.code == USAGE


def test_a_file_that_no_include_matches(daemon):
    with pytest.raises(Failure, match=r"new\.cfg is not included by"):
        conffile.check(str(daemon.config), {str(daemon.folder / "conf.d/new.cfg"): GOOD})


def test_the_error_of_another_file_is_that_file_s(daemon):
    bad = daemon.program("bad", user="nobody-here")
    with pytest.raises(Failure, match=re.escape(f"{bad}: [program:bad]: there is no user")):
        conffile.check(str(daemon.config), {str(daemon.folder / "conf.d/new.conf"): GOOD})
    bad.write_text("[group:all]\nprograms=nope\n")
    with pytest.raises(Failure, match=re.escape(f"{bad}: [group:all]: programs= names nope")):
        conffile.check(str(daemon.config), {str(daemon.folder / "conf.d/new.conf"): GOOD})
    (_, then), _ = conffile.check(str(daemon.config), {str(bad): GOOD})
    assert set(then.groups) == {"new"}


def test_a_look_ahead_takes_users_and_folders_for_granted(daemon):
    text = GOOD + "user=nobody-here\nstdout_logfile=/nowhere/x.log\n"
    path = str(daemon.folder / "conf.d/new.conf")
    (_, then), assumed = conffile.check(str(daemon.config), {path: text}, lenient=True)
    assert set(then.groups) == {"new"}
    assert assumed == ["there is no user nobody-here", "the folder of /nowhere/x.log does not exist"]
    with pytest.raises(Failure, match="has a single %"):
        conffile.check(str(daemon.config), {path: text + "directory=100%\n"}, lenient=True)


def test_hiding():
    text = (
        "[program:a]\n"
        'environment=PASSWORD="old, value",\n  ; a comment\n\n    TOKEN=\'it"s\',PLAIN=word\n'
        "command=worker -b redis://:hunter22@host/0\n"
    )
    shown = conffile.hide(text.replace("old, value", "new, value"), text)
    assert 'PASSWORD="*** (changed)"' in shown
    assert 'TOKEN="***"' in shown
    assert "redis://:***@host/0" in shown
    assert not re.search('old, value|new, value|it"s|word\\b|hunter22', shown)
    assert conffile.secrets(text) == {"old, value", "hunter22"}

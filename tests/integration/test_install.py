"""Installing a file and bringing supervisord to it: what the role's module does, against a real supervisord."""

from __future__ import annotations

import getpass
import grp
import os
import re
import subprocess
import sys

import pytest
from celeryhost.errors import DOWN, OK, USAGE, Failure
from celeryhost.states import supervisor_programs
from celeryhost.supervisor import apply as engine
from celeryhost.supervisor import lifecycle
from conftest import wait_for

SLOW = "sh -c 'trap \"sleep 1; exit 0\" TERM; while :; do sleep 0.1; done'"
OWN = (getpass.getuser(), grp.getgrgid(os.getgid()).gr_name)
INSTALL = """
import sys
from celeryhost.supervisor import apply, locate, rpc
path, text, owner, group, config = sys.argv[1:]
supervisor = rpc.Supervisor(locate.find(config))
with apply.exclusive(config):
    [plan] = apply.plan_files(supervisor, config, [apply.File(path, text, owner, group)])
    list(apply.apply(supervisor, plan))
"""


def section(name: str, command: str = "sleep 1000", **settings) -> str:
    lines = {"command": command, "startsecs": 0, "stopwaitsecs": 5} | settings
    return f"[program:{name}]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


class Installer:
    """One file, put into a Daemon's conf.d."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.config = str(daemon.config)
        self.path = daemon.folder / "conf.d/mysite-celery.conf"

    def plan(self, text: str | None, mend=True, lenient=False) -> engine.Plan:
        file = engine.File(str(self.path), text, *OWN)
        return engine.plan_files(self.daemon.rpc, self.config, [file], mend, lenient)[0]

    def __call__(self, text: str | None, mend=True) -> engine.Plan:
        """Do it, and see that all went well."""
        with engine.exclusive(self.config):
            plan = self.plan(text, mend)
            seen = list(engine.apply(self.daemon.rpc, plan))
        assert lifecycle.exit_code(seen) == OK, seen
        return plan

    def kill_while(self, text: str, program: str):
        """Begin, and end it with SIGKILL while `program` stops."""
        argv = [sys.executable, "-c", INSTALL, str(self.path), text, *OWN, self.config]
        running = subprocess.Popen(argv)
        wait_for(lambda: self.daemon.state(program) == "STOPPING")
        running.kill()
        running.wait()

    def spawned(self, name: str) -> int:
        return len(re.findall(f"spawned: '{name}'", self.daemon.log.read_text()))

    @property
    def states(self) -> dict[str, str]:
        return {process.name: process.state for process in self.daemon.known()}

    @property
    def pids(self) -> dict[str, int]:
        return {process.name: process.pid for process in self.daemon.known()}


@pytest.fixture
def install(daemon):
    daemon.program("foreign")
    daemon.start()
    return Installer(daemon)


def actions(plan: engine.Plan) -> list[tuple[str, str]]:
    return [(change.program, change.action) for change in plan.changes]


def test_added_and_idempotent(install):
    text = section("mysite-worker") + section("mysite-beat")
    plan = install.plan(text)
    assert actions(plan) == [("mysite-beat", "add"), ("mysite-worker", "add")]
    assert not install.path.exists()
    assert install.states == {"foreign": "RUNNING"}
    install(text)
    assert install.states == dict.fromkeys(("foreign", "mysite-worker", "mysite-beat"), "RUNNING")
    assert install.path.read_text() == text
    assert install.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in install.path.parent.iterdir() if path.name.startswith(".")] == []
    before = install.pids
    plan = install(text)
    assert (plan.changes, plan.unchanged, engine.is_stale(plan)) == ([], ["mysite-beat", "mysite-worker"], False)
    assert install.pids == before


def test_only_what_changed_restarts_and_once(install):
    install(section("mysite-worker") + section("mysite-beat"))
    before = install.pids
    plan = install(section("mysite-worker", "sleep 2000") + section("mysite-beat"))
    assert plan.changes == [engine.Change("mysite-worker", "change", {"command": ["sleep 1000", "sleep 2000"]})]
    assert install.spawned("mysite-worker") == 2
    after = install.pids
    assert after.pop("mysite-worker") != before.pop("mysite-worker")
    assert after == before


def test_a_look_sees_what_fails_over_and_over_and_what_stopped(install):
    text = section("mysite-worker") + section("mysite-beat", "false", startsecs=1, startretries=1000)
    wanted = {"path": str(install.path), "content": text, "state": "present", "config": install.config, "mode": "0600"}
    wanted |= dict(zip(("owner", "group"), OWN, strict=True)) | {"started": True, "timeout": None, "proof": None}
    install(section("mysite-worker"))
    assert supervisor_programs.bring(wanted, True)["changed"]
    install.path.write_text(text)
    install.daemon.rpc.call("reloadConfig")
    install.daemon.rpc.call("addProcessGroup", "mysite-beat")
    wait_for(lambda: install.daemon.state("mysite-beat") == "BACKOFF")
    look = supervisor_programs.bring(wanted, True)
    assert (look["changed"], look["plan"]["changes"]) == (True, []), "the task waits for it, and says why it fails"
    install.path.write_text(section("mysite-worker"))
    install(section("mysite-worker"))
    wanted["content"] = section("mysite-worker")
    assert not supervisor_programs.bring(wanted, True)["changed"]
    install.daemon.rpc.call("stopProcess", "mysite-worker")
    assert supervisor_programs.bring(wanted, True)["changed"]


def test_an_environment_s_values_are_masked(install):
    install(section("mysite-worker", environment='PASSWORD="old",SAME="1",GONE="2"'))
    plan = install(section("mysite-worker", environment='PASSWORD="new",SAME="1",MORE="3"'))
    assert plan.changes[0].options == {
        "environment.GONE": ["***", False],
        "environment.MORE": [False, "***"],
        "environment.PASSWORD": ["***", "***"],
    }


def test_a_deleted_log_line_is_seen(install):
    text = section("mysite-worker")
    install(text + f"stdout_logfile={install.daemon.folder}/log/x.log\n")
    install(text)
    assert install.spawned("mysite-worker") == 2


def test_a_renamed_program_is_gone_before_the_new_one_starts(install):
    install(section("mysite-beat", SLOW))
    install(section("mysite-clock"))
    assert install.states == {"foreign": "RUNNING", "mysite-clock": "RUNNING"}
    log = install.daemon.log.read_text()
    assert log.index("stopped: mysite-beat") < log.index("spawned: 'mysite-clock'")


def test_changes_of_other_files_are_left_alone(install):
    install(section("mysite-worker"))
    install.daemon.program("foreign", "sleep 2000")
    install.daemon.program("waiting")
    plan = install(section("mysite-worker", "sleep 2000"))
    assert plan.foreign == ["foreign", "waiting"]
    assert plan.warnings == ["changes of other files are left alone: foreign, waiting"]
    assert (install.spawned("foreign"), install.spawned("waiting"), install.spawned("mysite-worker")) == (1, 0, 2)


def test_a_group_over_programs_of_other_files(install):
    """What the file changes in other files' programs is done too: else `foreign` would run twice."""
    install("[group:pair]\nprograms=foreign\n")
    assert install.states == {"pair:foreign": "RUNNING"}
    install(None)
    assert install.states == {"foreign": "RUNNING"}


def test_absent(install):
    install(section("mysite-worker") + section("mysite-beat"))
    assert actions(install.plan(None)) == [("mysite-beat", "remove"), ("mysite-worker", "remove")]
    assert engine.is_stale(install(None))
    assert not install.path.exists()
    assert install.states == {"foreign": "RUNNING"}
    plan = install(None)
    assert (plan.changes, engine.is_stale(plan)) == ([], False)


def test_killed_half_way_the_next_completes_it(install):
    install(section("mysite-worker", SLOW) + section("mysite-old", SLOW) + section("mysite-beat"))
    pid = install.pids["mysite-beat"]
    text = section("mysite-worker", SLOW, startsecs=1) + section("mysite-beat")
    install.kill_while(text, "mysite-old")  # before the file is written
    install.kill_while(text, "mysite-worker")  # after
    plan = install(text)
    assert actions(plan) == [("mysite-worker", "change")]
    assert install.states == dict.fromkeys(("foreign", "mysite-worker", "mysite-beat"), "RUNNING")
    assert (install.spawned("mysite-worker"), install.pids["mysite-beat"]) == (2, pid)
    assert install(text).changes == []


def test_what_should_run_is_mended_if_wanted(install):
    text = section("mysite-worker") + section("mysite-beat") + section("mysite-manual", autostart="false")
    install(text)
    assert install.daemon.run("stop", "mysite-worker", "mysite-beat").returncode == OK
    assert install(text, mend=False).changes == []
    assert actions(install(text, mend=["mysite-beat"])) == [("mysite-beat", "start")]
    assert (install.states["mysite-beat"], install.states["mysite-worker"]) == ("RUNNING", "STOPPED")
    assert actions(install(text)) == [("mysite-worker", "start")]
    assert (install.states["mysite-worker"], install.states["mysite-manual"]) == ("RUNNING", "STOPPED")


def test_a_program_that_has_done_its_work_is_no_drift(install):
    text = section("mysite-migrate", "true", autorestart="false")
    install(text)
    wait_for(lambda: install.states["mysite-migrate"] == "EXITED")
    assert install(text).changes == []


def test_another_file_that_supervisord_refuses_is_named(install):
    bad = install.daemon.program("bad", user="nobody-here")
    with pytest.raises(Failure, match=re.escape(f"{bad}: [program:bad]: there is no user nobody-here")):
        install(section("mysite-worker"))
    assert not install.path.exists()


def test_a_file_spoilt_by_hand_is_put_right_without_a_restart(install):
    text = section("mysite-worker")
    install(text)
    for spoilt in (text.replace("1000", "3000"), "[program:mysite-worker]\nuser=nobody-here\n"):
        install.path.write_text(spoilt)
        install(text)
        assert install.path.read_text() == text
    assert install.spawned("mysite-worker") == 1


def test_owner_and_mode_alone(install):
    text = section("mysite-worker")
    install(text)
    install.path.chmod(0o644)
    assert engine.is_stale(install(text))
    assert install.path.stat().st_mode & 0o777 == 0o600
    assert install.spawned("mysite-worker") == 1


def test_a_folder_that_cannot_be_written_to_changes_nothing(install):
    text = section("mysite-worker")
    install(text)
    plan = install.plan(section("mysite-worker", "sleep 2000"))
    install.path.with_name(f".{install.path.name}.celeryhost").mkdir()
    with pytest.raises(Failure, match="cannot be written"):
        list(engine.apply(install.daemon.rpc, plan))
    assert install.path.read_text() == text
    assert install.spawned("mysite-worker") == 1


def test_without_a_supervisord_the_file_is_stored_and_that_is_said(daemon):
    install = Installer(daemon)
    text = section("mysite-worker")
    assert actions(install.plan(text, lenient=True)) == [("mysite-worker", "add")]
    with pytest.raises(Failure) as refused:
        install(section("mysite-worker", user="nobody-here"))
    assert refused.value.code == USAGE
    with pytest.raises(Failure, match="start it: ") as down:
        install(text)
    assert down.value.code == DOWN
    assert install.path.read_text() == text

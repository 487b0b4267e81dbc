"""The role's module supervisor_programs, run by ansible-playbook; what it does beyond test_install.py."""

from __future__ import annotations

import base64
import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest
from celeryhost.errors import OK, STARTING
from conftest import wait_for
from test_install import OWN, Installer, section

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter22-hunter22"
RESULT = {"content": "{{ result | to_json }}", "dest": "{{ playbook_dir }}/result.json", "mode": "0600"}
CONTENT = "{{ lookup('file', playbook_dir ~ '/entry.conf', rstrip=False) }}"


class Module(Installer):
    """Installer's file, put there by the module. Each call keeps all that Ansible printed at -vvv in `said`."""

    def __init__(self, daemon, folder: Path):
        super().__init__(daemon)
        self.folder = folder
        self.said = ""

    def __call__(self, text: str | None, *options: str, **more) -> dict:
        """The module's result; `None` stands for state=absent."""
        arguments = dict(zip(("owner", "group"), OWN, strict=True)) | {"path": str(self.path), "config": self.config}
        if text is None:
            arguments["state"] = "absent"
        else:
            (self.folder / "entry.conf").write_text(text)
            arguments["content"] = CONTENT
        arguments = {name: value for name, value in (arguments | more).items() if value is not None}
        return self.task("supervisor_programs", arguments, *options)

    def task(self, name: str, arguments: dict, *options: str) -> dict:
        """The result of any module of the collection."""
        tasks = [
            {f"celeryhost.celeryhost.{name}": arguments, "register": "result", "ignore_errors": True},
            {"copy": RESULT, "check_mode": False, "diff": False, "no_log": True},
        ]
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
        (self.folder / "play.yml").write_text(json.dumps([play]))
        argv = ["-vvv", *options, "-e", f"ansible_python_interpreter={sys.executable}", self.folder / "play.yml"]
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), *argv],
            env=os.environ
            | {
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "default",
                "ANSIBLE_NOCOLOR": "true",
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.said = done.stdout + done.stderr
        assert done.returncode == 0, self.said
        return json.loads((self.folder / "result.json").read_text())


@pytest.fixture
def module(daemon, tmp_path):
    daemon.program("foreign")
    daemon.start()
    return Module(daemon, tmp_path)


def actions(result: dict) -> list[tuple[str, str]]:
    return [(change["program"], change["action"]) for change in result["plan"]["changes"]]


def test_check_apply_again_and_absent(module):
    text = section("mysite-worker") + section("mysite-beat")
    result = module(text, "--check", "--diff")
    assert (result["changed"], actions(result)) == (True, [("mysite-beat", "add"), ("mysite-worker", "add")])
    assert [(diff["before"], diff["after"]) for diff in result["diff"]] == [("", text)]
    assert not module.path.exists()
    assert module.states == {"foreign": "RUNNING"}
    result = module(text)
    assert result["changed"]
    assert result["restarted"] == {name: [0, module.pids[name]] for name in ("mysite-beat", "mysite-worker")}
    for options in ((), ("--check",)):
        result = module(text, *options)
        assert (result["changed"], actions(result), result["restarted"]) == (False, [], {})
        assert result["plan"]["unchanged"] == ["mysite-beat", "mysite-worker"]
    before = module.pids
    result = module(section("mysite-worker", "sleep 2000") + section("mysite-beat"))
    assert result["restarted"] == {"mysite-worker": [before["mysite-worker"], module.pids["mysite-worker"]]}
    assert module.daemon.run("stop", "mysite-worker", "mysite-beat").returncode == 0
    assert actions(module(module.path.read_text(), "--check")) == [("mysite-beat", "start"), ("mysite-worker", "start")]
    result = module(module.path.read_text(), started=["mysite-beat"])
    assert list(result["restarted"]) == ["mysite-beat"]
    result = module(None)
    assert (result["changed"], actions(result)) == (True, [("mysite-beat", "remove"), ("mysite-worker", "remove")])
    assert module.states == {"foreign": "RUNNING"}
    assert not module(None)["changed"]


def test_several_files_come_up_together(module):
    worker, beat = section("mysite-worker", startsecs=2), section("mysite-beat", startsecs=2)
    first = {"path": str(module.path), "content": CONTENT}
    other = {"path": str(module.path.with_name("other.conf")), "content": beat}
    result = module(worker, path=None, content=None, files=[first, other])
    assert actions(result) == [("mysite-worker", "add"), ("mysite-beat", "add")]
    assert result["restarted"] == {name: [0, module.pids[name]] for name in ("mysite-beat", "mysite-worker")}
    result = module(worker, path=None, content=None, files=[first | {"state": "absent"}, other])
    assert actions(result) == [("mysite-worker", "remove")]
    assert result["plan"]["unchanged"] == ["mysite-beat"]


@pytest.mark.parametrize(
    "bad",
    [
        section("mysite-worker", stdout_logfile="/nowhere/x.log"),
        section("mysite-worker", user="nobody-here"),
        section("mysite-worker", "celery worker -n w@%h"),
        section("mysite-worker", environment=f'PASSWORD="{SECRET}%"'),
        section("mysite-worker", environment=f"PASSWORD={SECRET},B"),
        "[program:mysite-worker]\nautostart=true\n",
        section("foreign"),
    ],
    ids=["log folder", "user", "percent", "percent in a secret", "environment", "command", "name taken"],
)
def test_a_refused_text_changes_nothing(module, bad):
    good = section("mysite-worker")
    Installer.__call__(module, good)
    before = module.pids
    result = module(bad, "--diff")
    assert result["failed"]
    assert result["msg"].startswith(f"{module.path}: [program:")
    assert "\n" not in result["msg"]
    assert SECRET not in module.said
    assert "Traceback" not in module.said
    assert module.path.read_text() == good
    assert module.pids == before


def test_a_look_ahead_does_not_need_what_comes_first(module):
    result = module(section("mysite-worker", user="nobody-here", stdout_logfile="/nowhere/x.log"), "--check")
    assert actions(result) == [("mysite-worker", "add")]
    assert result["warnings"] == ["there is no user nobody-here", "the folder of /nowhere/x.log does not exist"]
    module.daemon.config.unlink()
    assert actions(module(section("mysite-beat"), "--check")) == [("mysite-beat", "add")]


def test_a_program_that_fails_shows_its_log_without_secrets(module):
    text = section(
        "mysite-worker",
        f"sh -c 'echo cannot connect to redis://:{SECRET}@host; echo $PASSWORD; exit 3'",
        startsecs=1,
        startretries=0,
        redirect_stderr="true",
        stdout_logfile=f"{module.daemon.folder}/log/worker.log",
        environment=f'PASSWORD="{SECRET}"',
    )
    for _ in range(2):  # it is still FATAL when the second comes
        result = module(text)
        assert result["failed"]
        assert "mysite-worker: fatal: " in result["msg"]
        assert "cannot connect to redis://:********@host" in result["msg"]
        assert SECRET not in module.said


def test_no_supervisord(daemon, tmp_path):
    module = Module(daemon, tmp_path)
    result = module(section("mysite-worker"))
    assert result["msg"].startswith("no supervisord answers at")
    assert "start it: " in result["msg"]
    assert module.path.exists()


def test_what_it_cannot_take(module):
    assert module(section("a"), mode="rw")["msg"] == """mode is 'rw'; write it in octal: "0600\""""
    assert module(section("a"), started="perhaps")["msg"].startswith("started is 'perhaps'; write true")
    assert module(section("a"), owner="nobody-here")["msg"].endswith("correct owner or group")
    assert module.states == {"foreign": "RUNNING"}


def test_secrets_are_in_no_output(module):
    old = section("mysite-worker", environment=f'DB_PASSWORD="{SECRET}-old",MODE="odd-old-value"')
    new = section("mysite-worker", f"sleep 1000 redis://:{SECRET}@host", environment=f'DB_PASSWORD="{SECRET}"')
    Installer.__call__(module, old)
    for more in ("--check", "--diff"):
        result = module(new, "--diff", more)
        assert 'DB_PASSWORD="*** (changed)"' in result["diff"][0]["after"]
        assert 'DB_PASSWORD="*** (changed)"' in module.said
        assert SECRET not in module.said + json.dumps(result)
        assert "odd-old-value" not in module.said + json.dumps(result)
    assert module.path.read_text() == new


def test_commands_run_while_programs_are_waited_for(module):
    worker = section("mysite-worker", startsecs=2)
    state = [sys.executable, "-m", "celeryhost", "-c", module.config, "status", "mysite-worker"]
    commands = {"state": state, "failing": ["sh", "-c", "echo no >&2; exit 3"]}
    assert "meanwhile" not in module(worker, "--check", meanwhile=commands)
    found = module(worker, meanwhile=commands)["meanwhile"]
    assert found["state"]["rc"] == STARTING, found
    assert found["failing"] == {"rc": 3, "stdout": "", "stderr": "no\n"}
    again = module(worker, meanwhile=commands)
    assert (again["changed"], again["meanwhile"]["state"]["rc"]) == (False, OK)


def test_a_program_that_fails_ends_the_commands(module):
    pid = module.folder / "pid"
    commands = {"long": ["sh", "-c", f"sleep 1000 & echo $! >{pid}; wait"]}
    result = module(section("mysite-worker", "false", startsecs=1, startretries=0), meanwhile=commands)
    assert result["failed"] and "mysite-worker: fatal: " in result["msg"]
    wait_for(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())


def test_several_files_are_planned_one_after_the_other(module):
    """A program may go from one to the next; where one is refused, none is touched."""
    own = dict(zip(("owner", "group"), OWN, strict=True)) | {"path": None, "content": None}
    other = module.path.with_name("other.conf")

    def install(first, second):
        files = [{"path": str(module.path), "content": first}, {"path": str(other), "content": second}]
        return module("", files=files, **own)

    one, two, three = (section(name) for name in ("one", "two", "three"))
    assert set(install(one + two, three)["restarted"]) == {"one", "two", "three"}
    pids = module.pids
    assert set(install(one, two + three)["restarted"]) == {"two"}
    assert {name: pid for name, pid in module.pids.items() if name != "two"} == {
        name: pid for name, pid in pids.items() if name != "two"
    }
    pids = module.pids
    refused = install(one + section("four"), two + section("three", user="nobody-here"))
    assert "there is no user nobody-here" in refused["msg"]
    assert (module.path.read_text(), module.pids) == (one, pids)


def test_a_variable_of_one_letter_is_not_struck_out_of_an_answer(module):
    """As Ansible does with each value of what is secret."""
    directory = str(ROOT / "examples" / "mysite")
    app = {"name": "mysite", "app": "mysite", "directory": directory, "virtualenv": sys.prefix, "extensions": {}}
    app |= {"user": pwd.getpwuid(os.getuid()).pw_name, "settings": [], "workers": []}
    environment = {"DJANGO_SETTINGS_MODULE": "mysite.settings", "KEY": SECRET, "A": "0", "B": ".", "C": "e", "D": "="}
    found = module.task("celery_app", {"app": app, "environment": environment})
    assert "versions" in found, found
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["versions"][0])
    assert json.loads(base64.b64decode(found["redis"], validate=True))
    assert SECRET not in module.said

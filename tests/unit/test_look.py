"""Many questions in one process: what the package on a host answers, and when it does not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import celeryhost
import pytest
from celeryhost.states import redis_server
from celeryhost.states.celeryhost_package import digest
from celeryhost.states.look import look

PACKAGE = celeryhost.__path__[0]


@pytest.fixture
def installed(tmp_path):
    """The package as role supervisor puts it on a host; returns a function that asks it."""
    shutil.copytree(PACKAGE, tmp_path / "celeryhost", ignore=shutil.ignore_patterns("__pycache__", "_ansible"))
    for module in tmp_path.rglob("*.py"):
        module.chmod(0o644)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from celeryhost.states import look; look.main()"

    def ask(questions, package=None, **asked):
        asked = json.dumps(asked | {"questions": questions, "package": package or digest(PACKAGE)})
        done = subprocess.run(
            [sys.executable, "-IS", "-c", code], input=asked, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    ask.folder = tmp_path / "celeryhost"
    return ask


def files(path, content):
    return ["install_files", {"files": {str(path): {"content": content}}}]


def test_the_same_package_answers_for_its_own_python_and_changes_nothing(installed, tmp_path):
    answers = installed({"one": files(tmp_path / "one", "1\n")}, digest(PACKAGE))
    assert answers == {"one": {"changed": True, "paths": [str(tmp_path / "one")]}}, "no diff, which may hold a secret"
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("change", ["edited", "added", "removed", "writable"])
def test_another_package_leaves_the_answer_to_ansible(installed, change):
    module = installed.folder / "logs" / "reader.py"
    if change == "removed":
        module.unlink()
    elif change == "writable":
        module.chmod(0o666)
    else:
        (module if change == "edited" else installed.folder / "more.py").write_text("x = 1\n")
    assert installed({"machine": ["machine_facts", {}]}, digest(PACKAGE)) == {}


def test_the_same_package_brings_a_state_about(installed, tmp_path):
    asked = {"state": "install_files", "arguments": files(tmp_path / "one", "1\n")[1]}
    assert installed({}, check=True, **asked)["changed"]
    assert not (tmp_path / "one").exists()
    assert installed({}, check=False, **asked)["paths"] == [str(tmp_path / "one")]
    assert (tmp_path / "one").read_text() == "1\n"
    assert not installed({}, check=False, **asked)["changed"]


def test_a_state_that_fails_says_why(installed, tmp_path):
    asked = {"state": "install_files", "arguments": files(tmp_path, "1\n")[1]}
    said = installed({}, check=False, **asked)
    assert said["failed"] and said["msg"].startswith(f"{tmp_path}: "), said
    said = installed({}, check=False, state="install_files", arguments={"file": {}})
    assert said == {"failed": True, "msg": "install_files has no argument file"}


def test_what_cannot_be_answered_is_told_beside_the_other_answers(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    wrong = ["owned_paths", {"folders": {str(tmp_path / "link"): {"owner": "root", "group": "root", "mode": "0755"}}}]
    answers = look({"wrong": wrong, "one": files(tmp_path / "one", "1\n")})
    assert "is there and is something else" in answers["wrong"]["failed"]
    assert answers["wrong"]["changed"], "so that its role runs, and says it"
    assert answers["one"]["changed"]


def test_the_parts_of_an_argument_have_their_defaults_and_are_checked(installed, tmp_path):
    asked = {"state": "supervisor_programs", "check": False}
    config = str(tmp_path / "supervisord.conf")
    file = {"path": str(tmp_path / "a.conf")}
    said = installed({}, **asked, arguments={"config": config, "files": [file]})
    assert said["msg"].endswith("a.conf' and no content; give it both")
    said = installed({}, **asked, arguments={"config": config, "files": [file | {"contents": ""}]})
    assert said["msg"] == "supervisor_programs has no argument contents"
    assert not (tmp_path / "a.conf").exists()


def test_a_number_may_come_as_text(monkeypatch):
    """As ansible-core before 2.19 writes it."""
    monkeypatch.setattr(redis_server, "configured_ports", lambda *files: [])  # this machine may have a Redis
    nobody = {"port": "1", "timeout": "5"}
    assert look({"redis": ["redis_server", nobody]})["redis"]["running"] is False

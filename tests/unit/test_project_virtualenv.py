"""What is in a virtual environment: the one that runs the tests, and new ones."""

from __future__ import annotations

import getpass
import subprocess
import sys
from pathlib import Path

import pytest
from celeryhost.errors import Failure
from celeryhost.states import project_virtualenv
from celeryhost.states.project_virtualenv import ARGUMENTS, Environment, bring


@pytest.fixture
def look(tmp_path):
    """`look(**params)`: the answer of a look at this environment, which is to be left as it is."""
    defaults = {name: argument.get("default") for name, argument in ARGUMENTS.items()}
    known = {"path": sys.prefix, "directory": str(tmp_path), "owner": getpass.getuser(), "managed": False}
    return lambda **params: bring(defaults | known | params, True)


def test_tools_that_are_there_change_nothing(look):
    found = look(tools=["celery>=1", "click"])
    assert (found["changed"], found["celery"]) == (False, look()["celery"])


def test_a_tool_that_somebody_elses_environment_lacks(look):
    with pytest.raises(Failure, match="lacks no-such-tool; install that there, or leave `requirements: false` out"):
        look(tools=["celery", "no-such-tool>=1,<2"])


def test_a_tool_that_our_environment_lacks(look):
    plain, asked = look(managed=True), look(managed=True, tools=["no-such-tool"])
    assert asked["changed"]
    assert asked["revision"] == plain["revision"], "no program restarts for it"


@pytest.fixture
def make(tmp_path):
    """The path of a new environment."""

    def make(name="made"):
        params = {"path": str(tmp_path / name), "directory": str(tmp_path), "owner": getpass.getuser()}
        Environment(params | {"python": sys.executable, "system_site_packages": False}).make(clear=False)
        return Path(params["path"])

    return make


def installed(environment):
    return said(environment / "bin/pip", "--disable-pip-version-check", "list", "--format=freeze")


def said(*command):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


def test_a_new_one_has_what_ensurepip_brings(make, tmp_path):
    made, usual = make(), tmp_path / "usual"
    said(sys.executable, "-m", "venv", usual)
    assert installed(made) == installed(usual)
    names = {entry.name for entry in (usual / "bin").iterdir()} - {entry.name for entry in (made / "bin").iterdir()}
    assert names <= {f"pip{sys.version_info[0]}.{sys.version_info[1]}"}
    assert said(made / "bin/pip3", "--version") == said(made / "bin/pip", "--version")


def test_pip_can_remove_all_that_is_in_a_new_one(make):
    made = make()
    names = [line.partition("==")[0] for line in installed(made).split()]
    said(made / "bin/python", "-m", "pip", "uninstall", "-q", "-y", *names)
    assert list(made.glob("lib/python3*/site-packages/*")) == []


def test_wheels_that_are_not_where_they_should_be(make, monkeypatch):
    monkeypatch.setattr(project_virtualenv, "UNPACK", project_virtualenv.UNPACK.replace("-*-py3", "-0-py3"))
    assert installed(make()).startswith("pip==")

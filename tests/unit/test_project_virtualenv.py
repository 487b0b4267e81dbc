"""What is in a virtual environment, looked at in the one that runs the tests."""

from __future__ import annotations

import getpass
import sys

import pytest
from celeryhost.errors import Failure
from celeryhost.states.project_virtualenv import ARGUMENTS, bring


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

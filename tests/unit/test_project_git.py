"""The checkout of a real git repository."""

from __future__ import annotations

import getpass
import subprocess

import pytest
from celeryhost.errors import Failure
from celeryhost.states.changing import NOW, is_halfway
from celeryhost.states.project_git import bring


@pytest.fixture
def project(tmp_path):
    """What the state is given for a repository of one commit, and an empty folder."""
    (tmp_path / "all" / "backend").mkdir(parents=True)
    (tmp_path / "all" / "backend" / "manage.py").touch()
    (tmp_path / "here").mkdir()
    for words in ("init -q -b main", "add .", "-c user.name=me -c user.email=me@example commit -q -m all"):
        subprocess.run(["git", *words.split()], cwd=tmp_path / "all", check=True)
    where = {"repo": f"file://{tmp_path}/all", "dest": str(tmp_path / "here")}
    return where | {"version": "main", "owner": getpass.getuser(), "moment": str(tmp_path / "mysite.code")}


def test_it_is_fetched_once(project, tmp_path):
    first = bring(project, False)
    assert first["changed"]
    assert (tmp_path / "here" / "backend" / "manage.py").exists()
    second = bring(project, False)
    assert (second["changed"], second["revision"]) == (False, first["revision"])
    moment = tmp_path / "mysite.code"
    assert not is_halfway(moment)
    moment.write_text(NOW)  # as a run leaves it that is killed
    assert [bring(project, check)["changed"] for check in (True, False, False)] == [True, True, False]


def test_the_cause_is_said_and_not_the_general_advice_behind_it(project):
    with pytest.raises(Failure, match=r"git ls-remote: .*'/nowhere' does not appear to be a git repository$"):
        bring(project | {"repo": "file:///nowhere"}, False)

"""Folders and logs that root makes where an app may write: the app gains nothing else by what it puts there."""

from __future__ import annotations

import os
import subprocess

import pytest
from celeryhost.errors import Failure
from celeryhost.states import owned_paths

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other accounts, so it needs root")
OWNED = {"owner": "daemon", "group": "adm", "mode": "2750"}
ROOTS = {"owner": "root", "group": "adm", "mode": "2750"}


def bring(folders=(), files=(), taken=(), absent=(), check=False):
    kinds = {"folders": dict(folders), "files": dict(files), "taken": dict(taken), "absent": [*absent]}
    return owned_paths.bring(kinds, check)


@pytest.fixture
def theirs(tmp_path):
    """A folder of an app's, made by bring."""
    log = tmp_path / "log"
    assert bring({str(log): OWNED})["changed"]
    assert not bring({str(log): OWNED})["changed"]
    return log


def test_what_is_made_has_owner_and_mode(theirs):
    file = theirs / "new" / "x.log"
    assert bring(files={str(file): OWNED | {"mode": "0640"}})["paths"] == [str(file)]
    assert (file.owner(), file.group(), file.stat().st_mode & 0o7777) == ("daemon", "adm", 0o640)


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_link_leads_nowhere(theirs, tmp_path, below):
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (theirs / "logs").symlink_to(victim)
    os.lchown(theirs / "logs", 1, -1)
    for kind in ("folders", "files"):
        with pytest.raises(Failure):
            bring(**{kind: {f"{theirs}/logs{below or '/x'}": OWNED}})
    assert (victim.owner(), os.listdir(victim)) == ("root", [])


def test_a_fifo_is_no_log(theirs):
    os.mkfifo(theirs / "x.log")
    with pytest.raises(Failure, match="is something else"):
        bring(files={str(theirs / "x.log"): OWNED})


def test_a_log_that_is_roots_file_by_another_name_stays_roots(theirs, tmp_path):
    """As an app may make one where fs.protected_hardlinks is 0; here root does it in its place."""
    victim = tmp_path / "shadow"
    victim.write_text("secret\n")
    victim.chmod(0o600)
    os.link(victim, theirs / "x.log")
    with pytest.raises(Failure, match="another name"):
        bring(files={str(theirs / "x.log"): OWNED | {"mode": "0640"}})
    assert (victim.owner(), victim.stat().st_mode & 0o777) == ("root", 0o600)


def test_a_folder_that_is_deeper_than_python_goes_can_be_taken_away(theirs):
    make = "i=0; while [ $i -lt 3000 ]; do mkdir d && cd -P d || exit 1; i=$((i+1)); done"
    subprocess.run(["sh", "-c", make], cwd=theirs, user="daemon", group="adm", extra_groups=[], check=True)
    assert bring(absent=[str(theirs)])["changed"]
    assert not theirs.exists()


def test_logs_of_before_are_taken_over_once(theirs, tmp_path):
    root = tmp_path / "captured"
    old, new = theirs / "web.log", root / "web.log"
    make = "echo now >web.log; echo before >web.log.1; ln -s /etc/shadow web.log.2; echo x >other; ln other web.log.3"
    subprocess.run(["sh", "-c", make], cwd=theirs, user="daemon", group="daemon", extra_groups=[], check=True)
    with open(old, "a") as still_open:
        assert bring({str(root): ROOTS}, taken={str(old): str(new)})["paths"] == [str(root), str(old)]
        still_open.write("by supervisord, until the program is started anew\n")
    assert new.read_text() == "now\nby supervisord, until the program is started anew\n"
    assert (root / "web.log.1").read_text() == "before\n"
    assert sorted(os.listdir(root)) == ["web.log", "web.log.1"]
    assert (new.owner(), new.group(), new.stat().st_mode & 0o777) == ("root", "adm", 0o640)
    old.write_text("the app's own")
    assert not bring(taken={str(old): str(new)})["changed"]


def test_what_goes_is_no_other_folders(theirs, tmp_path):
    victim = tmp_path / "victim"
    (victim / "venv").mkdir(parents=True)
    (theirs / "env").symlink_to(victim)
    os.lchown(theirs / "env", 1, -1)
    with pytest.raises(Failure):
        bring(absent=[f"{theirs}/env/venv"])
    assert (victim / "venv").is_dir()
    (theirs / "link").symlink_to(victim)
    (theirs / "full" / "below").mkdir(parents=True)
    (theirs / "full" / "link").symlink_to(victim)
    gone = [f"{theirs}/link", f"{theirs}/full"]
    assert bring(absent=gone, check=True)["paths"] == gone
    assert bring(absent=[*gone, f"{theirs}/none"])["paths"] == gone
    assert (os.listdir(theirs), os.listdir(victim)) == (["env"], ["venv"])

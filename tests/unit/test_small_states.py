"""States that are about one small thing, against the real files, packages and groups of this machine or a folder."""

from __future__ import annotations

import fcntl
import grp
import os
import shutil
import stat
import threading
import time

import celeryhost
import pytest
from celeryhost.controller.halves import completed
from celeryhost.errors import Failure
from celeryhost.states import accounts, celeryhost_package, packages, role_record, running_service, setting_line

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg"), reason="needs Debian's packages")


def line(path, value="/etc/x.conf", check=False):
    return setting_line.bring({"path": str(path), "name": "ARGS", "value": value}, check)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "ARGS=/etc/x.conf\n"),
        ("# ARGS=1\n", "# ARGS=1\nARGS=/etc/x.conf\n"),
        ("ARGS=1\nOTHER=2\nARGS=3\nLAST=4", "ARGS=1\nOTHER=2\nARGS=/etc/x.conf\nLAST=4\n"),
    ],
)
def test_the_last_line_of_a_name_counts_and_is_replaced(tmp_path, before, after):
    path = tmp_path / "defaults"
    if before is not None:
        path.write_text(before)
        path.chmod(0o600)
    assert line(path, check=True)["changed"]
    assert (path.read_text() if path.exists() else None) == before
    assert line(path)["changed"]
    assert path.read_text() == after
    assert before is None or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not line(path)["changed"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_a_file_of_an_account_that_is_gone_keeps_its_owner(tmp_path):
    path = tmp_path / "defaults"
    path.write_text("ARGS=1\n")
    os.chown(path, 54321, 54321)
    assert line(path)["changed"]
    assert (path.stat().st_uid, path.stat().st_gid) == (54321, 54321)


def record(folder, state, check=False, **roles):
    return role_record.bring({"roles": roles, "state": state, "folder": str(folder)}, check)["differ"]


def test_a_run_that_did_not_end_is_not_forgotten(tmp_path):
    assert record(tmp_path, "complete", check=True, redis="1") == ["redis"]
    record(tmp_path, "begun", redis="1", celery="2")
    assert record(tmp_path, "complete", check=True, redis="1") == ["redis"]
    record(tmp_path, "complete", redis="1")
    assert record(tmp_path, "complete", check=True, redis="1", celery="2") == ["celery"]
    assert record(tmp_path, "complete", check=True, redis="another") == ["redis"]
    record(tmp_path, "begun", redis="1")
    assert record(tmp_path, "complete", check=True, redis="1") == ["redis"]


def test_a_run_that_was_started_in_the_middle_notes_nothing(tmp_path):
    record(tmp_path, "complete", redis="1")
    assert record(tmp_path, "complete", check=True, redis="1") == ["redis"]


def test_nobody_else_reads_or_writes_what_is_noted(tmp_path):
    record(tmp_path, "begun", redis="1")
    record(tmp_path, "complete", redis="1")
    (tmp_path / "redis").chmod(0o666)
    assert record(tmp_path, "complete", check=True, redis="1") == ["redis"]


def test_the_package_is_brought_whole_and_found_again(tmp_path):
    path = str(tmp_path / "celeryhost")
    asked, given = (completed("celeryhost_package", {"path": path}, asked) | {"path": path} for asked in (True, False))
    assert celeryhost_package.bring(asked | {"files": None}, True) == {"changed": True}
    assert celeryhost_package.bring(given, False)["changed"]
    assert celeryhost_package.digest(path) == celeryhost_package.digest(celeryhost.__path__[0])
    assert celeryhost_package.bring(asked | {"files": None}, True) == {"changed": False}
    (tmp_path / "celeryhost" / "apps.py").chmod(0o666)
    assert celeryhost_package.bring(asked | {"files": None}, True) == {"changed": True}


def wants(*names, state="present"):
    return {"names": list(names), "state": state, "quiet": []}


@needs_dpkg
def test_packages_that_are_there_are_left_alone():
    assert packages.bring(wants("dpkg"), check=False) == {"changed": False, "missing": [], "diff": {}}
    found = packages.bring(wants("dpkg", "no-such-package"), check=True)
    assert (found["changed"], found["missing"], found["diff"]["after"]) == (
        True,
        ["no-such-package"],
        "package no-such-package\n",
    )
    assert packages.bring(wants("dpkg", "no-such-package", state="purged"), check=True)["missing"] == ["dpkg"]


def test_apt_of_another_is_waited_for_and_what_it_has_installed_is_not_installed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "LOCK", str(tmp_path / "apt.lock"))
    there = []
    monkeypatch.setattr(packages, "installed", lambda: there)
    with open(packages.LOCK, "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Timer(0.5, there.append, ["redis-server"]).start()
        began = time.monotonic()
        with packages._turn(["redis-server"], True) as ours:
            assert not ours
    assert time.monotonic() - began >= 0.4


def test_apt_that_is_never_done_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "LOCK", str(tmp_path / "apt.lock"))
    monkeypatch.setattr(packages, "LOCK_SECONDS", 0)
    with open(packages.LOCK, "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Failure, match="half an hour"), packages._turn(["no-such-package"], True):
            pass


def test_a_service_that_is_not_there_does_not_run():
    assert running_service.bring({"name": "no-such-service"}, True) == {"changed": True}


def test_members_and_accounts_that_are_missing_are_found(monkeypatch):
    own = grp.getgrgid(0).gr_name
    monkeypatch.setenv("SUDO_USER", "nobody")
    assert accounts.people(["$SUDO_USER", "root", "daemon"]) == ["nobody", "daemon"]
    given = {"groups": {own: ["$SUDO_USER", "root"], "no-such-group": []}, "users": {"no-such-user": {"home": "/"}}}
    assert accounts.bring(given, True)["accounts"] == [
        f"nobody in group {own}",
        "group no-such-group",
        "user no-such-user",
    ]


def test_an_account_that_is_there_is_compared_or_left():
    root = {"group": "root", "home": "/root"}
    assert not accounts.bring({"groups": {}, "users": {"root": root}}, True)["changed"]
    other = root | {"home": "/elsewhere"}
    assert accounts.bring({"groups": {}, "users": {"root": other}}, True)["changed"]
    assert not accounts.bring({"groups": {}, "users": {"root": other | {"made": True}}}, True)["changed"]

"""Releases on a disk: their code, their virtual environments, and what outlives them."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
from pathlib import Path

import pytest
from celeryhost.errors import Failure
from celeryhost.project import releases
from celeryhost.scripts import shared
from celeryhost.states import environment, project_release, project_shared, releases_proven

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def base(tmp_path, monkeypatch):
    """The folder of an app with code to make releases of."""
    monkeypatch.setattr(releases, "RELEASES", str(tmp_path / "notes"))
    base = tmp_path / "mysite"
    (base / "source/.git").mkdir(parents=True)
    (base / "source/manage.py").write_text("one\n")
    return base


def release(base, commit, check=False, **more):
    given = {"app": "mysite", "base": str(base), "source": f"{base}/source", "commit": commit, "owner": USER}
    return project_release.bring(given | {"version": "", "again": False, "by": "", "origin": ""} | more, check)


def prove(base, made, keep=5, check=False, virtualenv=None):
    for name in ("entry", "environment"):
        (base / name).write_text(f"{name} of {made['id']}")
    app = {"name": "mysite", "id": made["id"], "base": str(base), "virtualenv": virtualenv or f"{base}/venvs/x.1"}
    app |= {"owner": USER, "keep": keep, "entry": f"{base}/entry", "environment": f"{base}/environment"}
    return releases_proven.bring({"apps": [app | {"migrated": [], "verify": []}], "config": None}, check)["changed"]


def test_a_commit_is_made_once_and_not_under_check(base):
    assert release(base, "1" * 40, check=True) == {"changed": True, "id": "", "code": "", "remark": ""}
    assert not (base / "releases").exists()
    made = release(base, "1" * 40)
    assert Path(made["code"], "manage.py").read_text() == "one\n"
    assert sorted(os.listdir(made["code"])) == ["manage.py"]
    (base / "source/manage.py").write_text("two\n")
    assert Path(made["code"], "manage.py").read_text() == "one\n", "what is made never changes"
    assert release(base, "1" * 40) == made | {"changed": False}
    other = release(base, "2" * 40)
    assert (other["changed"], Path(other["code"], "manage.py").read_text()) == (True, "two\n")


def test_a_check_before_the_first_commit_is_known(base):
    assert release(base, "", check=True)["changed"]
    with pytest.raises(Failure, match=r"^app mysite has no release yet; deploy it, too$"):
        release(base, "")


def test_what_was_cut_off_is_made_anew(base):
    half = base / "releases"
    half.mkdir()
    made = release(base, "1" * 40)
    shutil.move(made["code"], f"{made['code']}.part")
    again = release(base, "1" * 40)
    assert (again["changed"], Path(again["code"], "manage.py").read_text()) == (True, "one\n")


def test_python_that_was_changed_by_hand_is_found_and_made_anew(base):
    (base / "source/app").mkdir()
    (base / "source/app/tasks.py").write_text("good\n")
    made = release(base, "1" * 40)
    for name in ("app/cache.pyc", "log.txt", "manage.py"):  # what the app writes, and what no worker imports by itself
        Path(made["code"], name).write_text("x")
    assert release(base, "1" * 40, check=True)["why"] == f"manage.py of release {made['id']} was changed by hand"
    again = release(base, "1" * 40)
    assert (again["changed"], Path(again["code"], "manage.py").read_text()) == (True, "one\n")
    assert releases.load("mysite").of_id(made["id"]).state == releases.FAILED_STATE
    assert release(base, "1" * 40, check=True) == again | {"changed": False}


def test_no_room_or_no_rights_is_one_line(base):
    shutil.rmtree(base / "source")
    with pytest.raises(Failure, match=r"^release .* could not be made: .*source.*No such file"):
        release(base, "1" * 40)
    assert releases.load("mysite").releases == []


def test_what_somebody_went_back_from_is_not_run_again_but_when_told(base):
    first, second = release(base, "1" * 40), release(base, "2" * 40)
    for made in (first, second):
        assert prove(base, made)
    record = releases.load("mysite")
    record.of_id(second["id"]).state, record.current = releases.ROLLED_BACK, first["id"]
    releases.save(record)
    held = release(base, "2" * 40)
    assert (held["id"], held["changed"]) == (first["id"], False)
    assert f"{second['id']} of app mysite was rolled back: {first['id']} stays" in held["remark"]
    assert release(base, "2" * 40, again=True)["id"] == second["id"]
    assert release(base, "")["id"] == first["id"], "an app that is left out stays with what runs"


def test_proven_is_noted_once_and_older_ones_go(base):
    made = []
    for number in range(1, 5):
        made.append(each := release(base, str(number) * 40))
        assert prove(base, each, keep=2, check=True)
        assert prove(base, each, keep=2)
        assert not prove(base, each, keep=2, check=True)
    assert os.path.realpath(base / "current") == made[-1]["code"]
    assert sorted(os.listdir(base / "releases")) == sorted(each["id"] for each in made[-2:])
    kept = releases.kept_files("mysite", made[-1]["id"])
    assert Path(kept["entry"]).read_text() == f"entry of {made[-1]['id']}"
    assert os.stat(kept["environment"]).st_mode & 0o777 == 0o600
    assert not os.path.exists(releases.kept_files("mysite", made[0]["id"])["entry"])


def test_an_environment_stays_as_long_as_a_release_wants_it(base, tmp_path):
    link, folder = f"{base}/venv", f"{base}/venvs"
    place = environment.Place(link, USER, folder)
    first = place.new("a" * 12)
    place.switch(first)
    assert environment.stamp(link) == "a" * 12
    second = environment.Place(link, USER, folder, kept=[first]).new("b" * 12)
    environment.Place(link, USER, folder, kept=[first]).switch(second)
    third = environment.Place(link, USER, folder, kept=[first]).new("c" * 12)
    assert [os.path.isdir(path) for path in (first, second, third)] == [True, True, True]
    assert environment.Place(link, USER, folder, kept=[first]).other("a" * 12) == first
    environment.Place(link, USER, folder).new("d" * 12)
    assert [os.path.isdir(path) for path in (first, second, third)] == [False, True, False]


def database(path, *, rows):
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode=wal")
    connection.execute("create table if not exists t (n)")
    connection.executemany("insert into t values (?)", [(number,) for number in range(rows)])
    connection.commit()
    return connection


def count(path):
    with sqlite3.connect(path) as connection:
        return connection.execute("select count(*) from t").fetchone()[0]


def test_a_database_of_code_that_was_changed_in_place_is_taken_over(base):
    made = release(base, "1" * 40)
    writer = database(base / "db.sqlite3", rows=1000)  # its log is not written back yet
    (base / "media").mkdir()
    (base / "media/photo").write_text("photo")
    Path(made["code"], "db.sqlite3").touch()  # as a settings module makes one that is looked into
    given = {"app": "mysite", "base": str(base), "code": made["code"], "owner": USER, "config": None}
    given |= {"found": [f"{made['code']}/db.sqlite3", "/var/lib/else.sqlite3"], "named": ["media", "cache/files"]}
    assert project_shared.bring(given, True)["changed"]
    assert not (base / "shared").exists()
    done = project_shared.bring(given, False)
    assert done == {"changed": True, "shared": ["media", "cache/files", "db.sqlite3"]}
    assert not project_shared.bring(given, True)["changed"]
    for place in (base, Path(made["code"]), base / "shared"):
        assert count(place / "db.sqlite3") == 1000
        assert (place / "media/photo").read_text() == "photo"
    writer.execute("insert into t values (1)")
    writer.commit()
    assert count(f"{made['code']}/db.sqlite3") == 1001, "who has it open goes on with the same one"

    prove(base, made)
    other = release(base, "2" * 40)
    assert count(f"{other['code']}/db.sqlite3") == 1001, "known from then on, before its code is loaded"


def test_what_a_release_brings_does_not_take_the_place_of_what_outlives_it(tmp_path):
    code, place = tmp_path / "code", tmp_path / "shared"
    (code / "media").mkdir(parents=True)
    (code / "media/logo").write_text("new")
    (place / "media").mkdir(parents=True)
    (place / "media/photo").write_text("photo")
    shared.share(str(code), "", str(place), ["media"])
    assert os.listdir(code / "media") == ["photo"]
    assert (code / "media.release/logo").read_text() == "new"

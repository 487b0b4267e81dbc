"""What a record of an answer is drawn from, and when it stands: the core, on real files, without a process."""

from __future__ import annotations

import os
import time

import pytest
from celeryhost.states import evidence

KEY = "key"


@pytest.fixture
def read(tmp_path):
    """A file that was read, in a folder that was listed; old enough to be known."""
    path = tmp_path / "code/settings.py"
    path.parent.mkdir()
    path.write_text("x = 1\n")
    return path


def seen(path, /, **more):
    return {"alien": [], "files": [str(path)], "folders": [str(path.parent)], "databases": []} | more


def kept(path, /, later=10**10, **more):
    """A record as if the process had started `later`, in ns."""
    return evidence.record(KEY, seen(path, **more), time.time_ns() + later, {"answer": 1})


def test_it_stands_for_its_question_while_nothing_changes(read):
    record = kept(read)
    assert record["answer"] == {"answer": 1}
    assert evidence.holds(record, KEY)
    assert not evidence.holds(record, "another")
    assert not evidence.holds(None, KEY)
    assert not evidence.holds({"key": KEY, "files": [], "folders": {}}, KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("x = 2\n"),
        lambda path: path.unlink(),
        lambda path: path.chmod(0o600),
        lambda path: path.parent.chmod(0o700),
        lambda path: (path.parent / ".env").touch(),
        lambda path: path.parent.rename(path.parents[1] / "old"),
    ],
)
def test_it_ends_with(read, change):
    record = kept(read)
    time.sleep(0.02)  # a tick of the clock that files have
    change(read)
    assert not evidence.holds(record, KEY)


def test_a_link_that_leads_elsewhere(read, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "settings.py").write_text("x = 1\n")
    link = tmp_path / "current"
    link.symlink_to("code")
    record = kept(link / "settings.py")
    link.unlink()
    link.symlink_to("other")
    assert not evidence.holds(record, KEY)


def test_what_does_not_count(read):
    record = kept(read, databases=[str(read.parent / "db.sqlite3")])
    for name in ("db.sqlite3-wal", "db.sqlite3-shm", "old.pyc"):
        (read.parent / name).touch()
    (read.parent / "__pycache__").mkdir()
    assert evidence.holds(record, KEY)
    (read.parent / "db.sqlite3-wal").write_text("rows")
    assert not evidence.holds(record, KEY)


def test_what_is_not_there_counts(read, tmp_path):
    absent = tmp_path / "elsewhere/local.py"
    absent.parent.mkdir()
    record = kept(read, files=[str(absent)])
    assert evidence.holds(record, KEY)
    absent.touch()
    assert not evidence.holds(record, KEY)


@pytest.mark.parametrize(
    "more",
    [
        {"alien": ["socket.connect"]},
        {"files": [f"/nowhere/{number}" for number in range(evidence.MOST)]},
        {"files": ["/a\0b"]},
        {"files": [1]},
        {"files": None},
    ],
)
def test_what_cannot_be_recorded(read, more):
    assert kept(read, **more) is None


@pytest.mark.parametrize("said", [None, [], {}, 1, "text"])
def test_a_process_that_says_something_else(said):
    assert evidence.record(KEY, said, time.time_ns(), 1) is None


def test_a_change_while_it_ran_makes_it_unknown(read, tmp_path):
    assert kept(read, later=0) is None
    later = evidence.SLACK + 10**9
    assert kept(read, later)
    (read.parent / "db.sqlite3").touch()
    began = time.time_ns() + later
    os.utime(read.parent, ns=(began, began))
    assert evidence.record(KEY, seen(read), began, 1) is None, "a name may have come and gone"
    database = [str(read.parent / "db.sqlite3")]
    assert evidence.record(KEY, seen(read, databases=database), began, 1), "SQLite makes files beside its own"


def test_it_is_kept_for_its_owner(read, tmp_path):
    path = str(tmp_path / "cache/mysite.loads")
    assert evidence.load(path) is None
    evidence.save(path, kept(read))
    assert evidence.holds(evidence.load(path), KEY)
    assert os.listdir(os.path.dirname(path)) == ["mysite.loads"]
    os.chmod(path, 0o640)
    assert evidence.load(path) is None


def test_where_it_cannot_be_kept(tmp_path):
    (tmp_path / "file").touch()
    evidence.save(str(tmp_path / "file/mysite.loads"), {})
    assert evidence.load(str(tmp_path / "file/mysite.loads")) is None


def test_folders_of_very_many_names_are_no_evidence(read, monkeypatch):
    """A process may name one folder of a million files in twenty thousand ways."""
    monkeypatch.setattr(evidence, "NAMES", 30)
    for number in range(10):
        (read.parent / str(number)).touch()
    ways = [f"{read.parent}{'/.' * number}" for number in range(4)]
    whole = kept(read, folders=ways[:1])
    assert evidence.holds(whole, KEY)
    assert kept(read, folders=ways) is None
    assert not evidence.holds(whole | {"folders": dict.fromkeys(ways, whole["folders"][ways[0]])}, KEY)

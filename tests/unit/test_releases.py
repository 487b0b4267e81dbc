"""What is noted of releases, and which of them stay or can be gone back to."""

import pytest
from celeryhost import apps
from celeryhost.errors import UNKNOWN, Failure
from celeryhost.project import releases
from celeryhost.project.releases import FAILED_STATE, PREPARED, PROVEN, ROLLED_BACK, Record, Release


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Four releases that worked, a day apart, the last of them current."""
    monkeypatch.setattr(releases, "RELEASES", str(tmp_path / "notes"))
    found = Record("mysite")
    for day in range(1, 5):
        name = f"2026010{day}T000000-{day}{day}{day}{day}aaaa0000"
        code = tmp_path / "releases" / name
        code.mkdir(parents=True)
        commit = name.partition("-")[2]
        found.releases.append(Release(name, commit, str(code), float(day), state=PROVEN, proven=float(day)))
    found.current = found.releases[-1].id
    return found


def test_what_was_noted_is_read_again(record):
    record.shared = ["db.sqlite3"]
    record.releases[0].migrated = ["app.0002"]
    releases.save(record)
    assert releases.load("mysite") == record
    assert releases.apps() == ["mysite"]
    assert releases.load("another") == Record("another")


@pytest.mark.parametrize("text", ["", "{}", '{"current": "x", "releases": [{"id": "../x"}]}', "[]"])
def test_a_note_that_is_none_is_said(record, text):
    releases.save(record)
    with open(releases.path_of("mysite"), "w") as file:
        file.write(text)
    with pytest.raises(Failure, match=r"releases\.json is not what celeryhost has written"):
        releases.load("mysite")


def test_back_is_what_worked_last_before(record):
    first, second, third, _ = record.releases
    assert record.before() is third
    third.state = FAILED_STATE
    assert record.before() is second
    first.proven = 9.0  # somebody has gone back to it since
    assert record.before() is first
    for release in record.releases:
        release.state = PREPARED
    assert record.before() is None


def test_only_what_worked_counts_among_those_that_stay(record):
    record.releases.insert(0, Release("20250101T000000-1", "1", "/x", 0.0, state=FAILED_STATE))
    record.releases[-2].state = FAILED_STATE
    kept = [each.id[:8] for each in record.kept(2)]
    assert kept == ["20260102", "20260104"]
    record.current = record.releases[1].id
    assert "20260101" in [each.id[:8] for each in record.kept(1)], "what runs stays"
    record.releases[2].state = ROLLED_BACK
    assert record.releases[2] in record.kept(1), "or its commit would be deployed again"


def test_a_person_names_one_by_what_tells_it_from_others(record):
    assert record.chosen("20260102").id[:8] == "20260102"
    assert record.chosen("3333") is record.releases[2]
    with pytest.raises(Failure, match=r"'202601' is several; did you mean 20260101") as failure:
        record.chosen("202601")
    assert failure.value.code == UNKNOWN
    with pytest.raises(Failure, match=r"app mysite has no release 'x'; celeryhost releases mysite lists them"):
        record.chosen("x")


def test_the_migrations_since_then(record):
    record.releases[2].migrated, record.releases[3].migrated = ["a.0002"], ["a.0003", "b.0001"]
    assert record.since(record.releases[2]) == ["a.0003", "b.0001"]
    assert record.since(record.releases[0]) == ["a.0002", "a.0003", "b.0001"]
    assert record.since(record.releases[3]) == []


def test_a_commit_is_found_where_its_code_still_is(record):
    assert record.of_commit("2222aaaa0000") is record.releases[1]
    record.releases[1].code = "/nowhere"
    assert record.of_commit("2222aaaa0000") is None


def test_a_step_that_fails_is_noted_with_its_release(record):
    record.releases[3].state = PREPARED
    releases.save(record)
    with pytest.raises(Failure), releases.preparing(f"{record.releases[3].code}/backend"):
        raise Failure("does not load")
    with pytest.raises(Failure), releases.preparing(record.releases[2].code):
        raise Failure("one that worked stays one that worked")
    with pytest.raises(Failure), releases.preparing(record.releases[3].code, really=False):
        raise Failure("a check")
    found = releases.load("mysite").releases
    assert [(each.state, each.reason) for each in found[2:]] == [(PROVEN, ""), (FAILED_STATE, "does not load")]


@pytest.mark.parametrize(
    ("keep", "problem"), [(0, "from 1"), ("many", "a whole number"), (True, "a whole number"), (-1, "from 1")]
)
def test_how_many_stay_is_a_number(keep, problem):
    with pytest.raises(Failure, match=rf"^keep of app mysite is {keep!r}, which is not a.*{problem}|{problem}"):
        apps.describe({"name": "mysite", "source": "/x", "keep": keep})


def test_code_that_is_there_already_has_no_releases():
    with pytest.raises(Failure, match=r"^keep of app mysite is 5, which is not possible without a source"):
        apps.describe({"name": "mysite", "keep": 5})


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b"])
def test_what_outlives_a_release_lies_in_it(path):
    with pytest.raises(Failure, match=r"^shared of app mysite is"):
        apps.describe({"name": "mysite", "source": "/x", "keep": 5, "shared": [path]})


def test_programs_name_the_folders_of_their_release():
    given = {
        "name": "mysite",
        "source": "/x",
        "subfolder": "backend",
        "keep": 5,
        "environment": {"PYTHONPATH": "/srv/mysite/current/lib:/opt", "NOTE": "see /srv/mysite/current"},
        "programs": [{"name": "web", "command": "gunicorn -c /srv/mysite/current/conf.py x", "directory": "/srv"}],
    }
    described = apps.describe_all([given])
    assert (described[0]["directory"], described[0]["checkout"]) == (
        "/srv/mysite/current/backend",
        "/srv/mysite/source",
    )
    place = {"code": "/srv/mysite/releases/1", "virtualenv": "/srv/mysite/venvs/2"}
    (app,) = apps.placed(described, {"mysite": place})
    assert (app["directory"], app["virtualenv"]) == ("/srv/mysite/releases/1/backend", "/srv/mysite/venvs/2")
    assert app["environment"]["PYTHONPATH"] == "/srv/mysite/releases/1/lib:/opt"
    (web,) = app["programs"]
    assert web["command"] == ["/srv/mysite/venvs/2/bin/gunicorn", "-c", "/srv/mysite/releases/1/conf.py", "x"]
    assert web["directory"] == "/srv"
    assert described[0]["directory"] == "/srv/mysite/current/backend", "the description itself is left alone"
    assert apps.placed(described, {}) == described

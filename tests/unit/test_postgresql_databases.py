"""What PostgreSQL is asked to do for the databases that are wanted, from what it says of itself."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from celeryhost.states import postgresql_databases as state

PASSWORD = "p'w"


@pytest.fixture
def wanted(tmp_path, monkeypatch):
    """`wanted(roles, databases, why)`: what is to be done for mysite, and what speaks against it."""
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    monkeypatch.setattr(state, "verifier", lambda password: f"kept of {len(password)}")

    def ask(roles, databases, why="FATAL: password authentication failed", utf8=True):
        monkeypatch.setattr(state, "refused", lambda *_: why)
        found = {"port": "5432", "utf8": utf8, "roles": {"postgres": False, **roles}, "databases": databases}
        return state.wanted("mysite", str(path), found)

    return ask


def test_a_new_one(wanted):
    told, problem = wanted({}, {})
    assert problem is None
    assert told[0] == "create role \"mysite\" login password 'kept of 3'"
    assert "'celeryhost app mysite'" in told[1]
    assert told[2].startswith('create database "mysite" owner "mysite" encoding \'UTF8\'')
    assert "C.UTF-8" not in told[2], "the locale that the cluster has"
    assert "C.UTF-8" in wanted({}, {}, utf8=False)[0][2]
    assert PASSWORD not in str(told)


def test_as_it_is_to_be(wanted):
    assert wanted({"mysite": True}, {"mysite": "mysite"}, why=None) == ([], None)
    assert wanted({"mysite": False}, {"mysite": "mysite"}, why=None) == ([], None), "a person wrote the password down"


def test_a_run_that_was_killed_goes_on(wanted):
    told, problem = wanted({"mysite": True}, {})
    assert [line.split()[0] for line in told] == ["alter", "create"]
    assert problem is None


def test_other_peoples_are_left_alone(wanted):
    told, problem = wanted({"mysite": False}, {"mysite": "mysite"})
    assert told == []
    assert "role of other people's" in problem
    assert "password authentication failed" in problem
    told, problem = wanted({"mysite": False}, {})
    assert (told, "role of other people's" in problem) == ([], True)
    told, problem = wanted({}, {"mysite": "postgres"})
    assert (told, "belongs to 'postgres'" in problem) == ([], True)


def test_only_what_was_made_here_goes():
    there = {"roles": {"mysite": True, "theirs": False}, "databases": {"mysite": "mysite", "theirs": "theirs"}}
    assert state.unwanted("mysite", there) == ['drop database "mysite"', 'drop role "mysite"']
    assert state.unwanted("theirs", there) == []
    assert state.unwanted("absent", there) == []


def test_a_password_is_kept_as_a_server_checks_it():
    """As https://www.rfc-editor.org/rfc/rfc5802#section-3 reckons."""
    _, settings, keys = state.verifier("secret").split("$")
    rounds, salt = settings.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", b"secret", base64.b64decode(salt), int(rounds))
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    stored, server = (base64.b64decode(key) for key in keys.split(":"))
    assert hashlib.sha256(client).digest() == stored
    assert hmac.new(salted, b"Server Key", hashlib.sha256).digest() == server


def test_a_machine_without_postgresql(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "ACCOUNT", "nobody-of-that-name")
    found = state.bring({"databases": {"mysite": ""}, "state": "present", "record": None, "timeout": 0}, True)
    assert (found["changed"], found["answers"], found["problems"]) == (True, False, [])

"""Databases in the PostgreSQL on this machine, each with a role of its name that owns it and logs in with a password.

Asks Debian's psql, as the account postgres, so that a host needs no client library. A role made here says so in its
comment; other people's roles, databases and settings are left as they are.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pwd
import secrets
import time
from typing import Any

from ..account import converse, last_line, variables
from ..errors import Failure
from .install_files import read

ARGUMENTS = {
    "databases": {"type": "dict", "required": True, "no_log": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "record": {"type": "path"},
    "timeout": {"type": "int", "default": 60},
}

ACCOUNT = "postgres"
SECONDS = 120  # for an answer; a database is copied from a template
MARK = "celeryhost app "
OWN = ("postgres", "template0", "template1")
# A database in another encoding than UTF8, as a cluster has that was made without a locale, is none for Django.
LOOK = f"""
select json_build_object(
    'port', current_setting('port'),
    'utf8', (select pg_encoding_to_char(encoding) = 'UTF8' from pg_database where datname = 'template0'),
    'roles', (select json_object_agg(rolname, coalesce(shobj_description(oid, 'pg_authid'), '') like '{MARK}%')
              from pg_roles),
    'databases', (select json_object_agg(datname, pg_get_userbyid(datdba)) from pg_database));
"""
UTF8 = "encoding 'UTF8' template template0"
LOCALE = "lc_collate 'C.UTF-8' lc_ctype 'C.UTF-8'"


class Refusal(Exception):
    """What psql said."""


def psql(query: str, **environment: str) -> str:
    """What PostgreSQL answers; raises Refusal, also where there is none.

    The query comes by stdin: in a command line `ps` would show it.
    """
    try:
        account = pwd.getpwnam(ACCOUNT)
        given = variables(account) | {"PGCONNECT_TIMEOUT": "10", "PGDATABASE": ACCOUNT} | environment
        words = ["psql", "-XqAtw", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        code, answer, said = converse(words, account, query.encode(), SECONDS, env=given)
    except (KeyError, OSError) as error:  # TimeoutError is one
        raise Refusal(f"none that answers is here: {error}") from None
    if code:
        raise Refusal(last_line(said.decode(errors="replace")))
    return answer.decode()


def refused(name: str, password: str, port: str | int) -> str | None:
    """What PostgreSQL says to a program that logs in as the app's do; None when it lets them in."""
    access = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": name, "PGDATABASE": name, "PGPASSWORD": password}
    try:
        psql("select 1;", **access)
    except Refusal as refusal:
        return str(refusal)
    return None


def verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), so that its log never shows the password itself."""
    salt, rounds = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client = hmac.digest(salted, b"Client Key", "sha256")
    keys = hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")
    shown, stored, server = (base64.b64encode(part).decode() for part in (salt, *keys))
    return f"SCRAM-SHA-256${rounds}:{shown}${stored}:{server}"


def look(timeout: float) -> dict[str, Any]:
    """What LOOK says, of a PostgreSQL that may still start; raises Refusal."""
    end = time.monotonic() + timeout
    while True:
        try:
            found: dict[str, Any] = json.loads(psql(LOOK))
            return found
        except Refusal:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def wanted(name: str, path: str, found: dict[str, Any]) -> tuple[list[str], str | None]:
    """(statements that make the database and its role, what speaks against that) of a look `found`."""
    roles, databases = found["roles"], found["databases"]
    password = (read(path) or "").strip()
    if databases.get(name, name) != name:
        return [], f"database of app {name}: {name!r} is there and belongs to {databases[name]!r}"
    why = refused(name, password, found["port"]) if name in roles and name in databases and password else ""
    if name in roles and why is None:
        return [], None
    if name in roles and not roles[name]:
        return [], f"database of app {name}: {name!r} is a role of other people's there" + (f": {why}" if why else "")
    told = [f"{'alter' if name in roles else 'create'} role \"{name}\" login password '{verifier(password)}'"]
    if name not in roles:
        told.append(f"comment on role \"{name}\" is '{MARK}{name}'")
    if name not in databases:
        told.append(f'create database "{name}" owner "{name}" {UTF8} {"" if found["utf8"] else LOCALE}')
    return told, None


def unwanted(name: str, found: dict[str, Any]) -> list[str]:
    """Statements that take the database and its role away, where they were made here."""
    if not found["roles"].get(name):
        return []
    drop = [f'drop database "{name}"'] if found["databases"].get(name) == name else []
    return [*drop, f'drop role "{name}"']


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    given, present = params["databases"], params["state"] == "present"
    installed = os.path.exists(params["record"] or "")
    result: dict[str, Any] = {
        "changed": bool(given) and present,
        "answers": False,
        "installed": installed,
        "problems": [],
        "port": "",
    }
    result |= {"alone": False, "diff": {}}
    try:
        found = look(0 if check else params["timeout"])
        done = []
        for name, path in given.items():
            told, problem = wanted(name, path, found) if present else (unwanted(name, found), None)
            if problem:
                fix = f"leave `database` out and write its DATABASE_URL, or put its password into {path}"
                result["problems"].append(f"{problem}; {fix}")
            elif told:
                done.append(name)
                if not check:
                    psql("".join(f"{statement};\n" for statement in told))
                    why = refused(name, (read(path) or "").strip(), found["port"]) if present else None
                    if why:
                        raise Failure(f"database of app {name}: {why}", fix="see pg_hba.conf and listen_addresses")
    except Refusal as refusal:
        if check:
            return result
        raise Failure(f"PostgreSQL: {refusal}", fix="see pg_lsclusters and /var/log/postgresql") from None
    if result["problems"] and not check:
        raise Failure("\n".join(result["problems"]))
    others = found["databases"].keys() - set(OWN) - set(given)
    after = "".join(f"database {name}\n" for name in done)
    shown = ("", after) if present else (after, "")
    diff = dict(zip(("before", "after"), shown, strict=True)) if done else {}
    return result | {
        "changed": bool(done),
        "answers": True,
        "port": found["port"],
        "alone": not others,
        "diff": diff,
    }

"""What the roles make of an app's description for the states that their tasks ask for: filters, on the controller."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from .. import apps
from ..errors import USAGE, Failure
from ..paths import COMMAND, noted
from ..project.preflight import project_problems
from ..project.rendering import render
from ..scripts.requirements import Unfit, declared
from ..states.celeryhost_package import digest
from ..states.project_folder import SOURCE_LIMIT

# What the preflight on the host reads; the rest of a description, above all its environment, stays here.
LOOKED_AT = (
    *("name", "user", "data", "logs", "source_kind", "checkout", "directory", "python", "virtualenv", "requirements"),
    *("app", "extensions", "keep", "base"),
)
LOADED = ("name", "user", "app", "directory", "virtualenv", "settings", "extensions", "keep")
FOLDERS = {".git", ".hg", ".svn", ".idea", ".vscode", ".tox", ".nox", ".celeryhost", "node_modules", "__pycache__"}
CACHES = ("_cache",)
FILES = (".pyc", ".pyo", ".sqlite3", ".sqlite3-journal", ".sqlite3-wal", ".sqlite3-shm", ".celeryhost-new", "~")


def source_files(src: str) -> dict[str, str]:
    """For each file below `src`, by its path there: its SHA-256, after an `x` if executable; `->` and a link's target.

    Left out are version control, virtual environments (wherever a pyvenv.cfg is), caches and SQLite's databases,
    which on the host hold the host's own data. Raises OSError for a file that can't be read, or makes it too much.
    """
    found, room = {}, SOURCE_LIMIT
    for folder, folders, names in os.walk(src):
        keep = [name for name in folders if name not in FOLDERS and not name.endswith(CACHES)]
        folders[:] = sorted(name for name in keep if not os.path.exists(os.path.join(folder, name, "pyvenv.cfg")))
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*names, *links]):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[os.path.relpath(path, src)] = f"->{os.readlink(path)}"
            elif os.path.isfile(path) and not name.endswith(FILES):
                with open(path, "rb") as file:
                    state = os.fstat(file.fileno())
                    room -= state.st_size
                    if room < 0:
                        told = f"brings the folder above {SOURCE_LIMIT >> 30} GiB; keep data out of it"
                        raise OSError(errno.EFBIG, told, path)
                    digest = hashlib.sha256()
                    while block := file.read(1 << 20):
                        digest.update(block)
                found[os.path.relpath(path, src)] = f"{'x' if state.st_mode & 0o100 else ''}{digest.hexdigest()}"
    return found


def source_problems(described: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the folders that are to be brought from here, one line each."""
    return [
        problem
        for app in described
        if app["source_kind"] == "folder"
        for problem in project_problems(app, os.path.normpath(os.path.join(app["source"], app["subfolder"])), "source")
    ]


def looked_at(described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What state project_look is given. Raises Failure for requirements that can't be read."""
    return [{key: app[key] for key in LOOKED_AT} | {"for_python": _for_python(app)} for app in described]


def brought(described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The apps whose code git has just brought, as if it had been there: what is wrong with it is known only now."""
    return [
        app | {"source_kind": None, "directory": os.path.normpath(os.path.join(app["checkout"], app["subfolder"]))}
        for app in described
        if app["source_kind"] == "git"
    ]


def loadable(app: dict[str, Any]) -> dict[str, Any]:
    """What state celery_app is given of an app: all but its environment, which would be struck out of what it says."""
    workers = [{key: worker[key] for key in ("settings", "queues")} for worker in app["workers"]]
    return {key: app[key] for key in LOADED} | {"workers": workers}


def accounts(described: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The accounts that the apps run as; those that are there are left as they are."""
    return {
        app["user"]: {
            "home": app["data"],
            "shell": "/usr/sbin/nologin",
            "comment": f"celeryhost app {app['name']}",
            "made": True,
        }
        for app in described
    }


def databases(described: list[dict[str, Any]]) -> dict[str, str]:
    """For each app that has a database beside it, the file of its password."""
    return {app["name"]: noted(f"{app['name']}-postgresql", "password") for app in described if app["database"]}


def database_access(files: dict[str, str], made: list[dict[str, Any]], port: str) -> dict[str, dict[str, Any]]:
    """How each of those apps logs in: `made` are the results of state password_file."""
    return {
        name: {"port": port or "5432", "password": done["password"]} for name, done in zip(files, made, strict=True)
    }


def entries(
    described: list[dict[str, Any]],
    templates: str,
    folder: str,
    startsecs: int,
    log_size: str,
    broker_url: str | None,
    redis_url: str | None,
    releases: dict[str, str],
) -> list[dict[str, Any]]:
    """Each app's entry for Supervisor, as state supervisor_programs takes it."""
    return [
        {
            "path": f"{folder}/{app['name']}-celery.conf",
            "state": "present" if app["workers"] or app["programs"] or app["beat"] or app["flower"] else "absent",
            "content": render(
                templates,
                "celery.conf.j2",
                app=app,
                celery_startsecs=startsecs,
                machine_log_size=log_size,
                broker_url=broker_url,
                redis_url=redis_url,
                release=releases.get(app["name"], ""),
            ),
        }
        for app in described
    ]


def files(listed: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A role's list of files as state install_files takes them: those that are wanted, by `path`."""
    return {
        file["path"]: {key: value for key, value in file.items() if key not in ("path", "when")}
        for file in listed
        if file.get("when", True)
    }


def verifications(described: list[dict[str, Any]], config: str, startsecs: int | str) -> dict[str, list[str]]:
    """The command that sends a task through the worker of each app which has one here. One that has just been told to
    start is given the time for it."""
    return {
        app["name"]: [
            *(COMMAND, "-c", config, "run", "--json", "--starting", f"--app={app['name']}"),
            f"--timeout={app['verify']['timeout'] + int(startsecs)}",
            f"--kwargs={json.dumps(app['verify']['kwargs'])}",
            "--",
            *([app["verify"]["task"]] if app["verify"]["task"] else []),
            *map(json.dumps, app["verify"]["args"]),
        ]
        for app in described
        if app["workers"] and app["verify"]
    }


def beat_logs(described: list[dict[str, Any]]) -> dict[str, str]:
    """By app the log that its beat writes to."""
    return {
        app["name"]: (app["workers"][0] if app["beat"]["embedded"] else app["beat"])["log"]
        for app in described
        if app["beat"]
    }


def beats_beside(
    hostvars: Mapping[str, Any], hosts: list[str], redis_hosts: list[str], broker: str
) -> dict[str, list[Any]]:
    """The apps of each of `hosts` whose broker is that one, a URL or the host of a Redis."""

    def broker_of(host: str) -> Any:
        return hostvars[host].get("celery_broker_url", host if host in redis_hosts else next(iter(redis_hosts), ""))

    return {host: hostvars[host].get("celery_apps", []) for host in hosts if broker_of(host) == broker}


def key(app: dict[str, Any]) -> dict[str, Any]:
    """What state git_key is given for an app. Raises Failure for a file that can't be read."""
    text = None
    if app["git_key"] != "generate":
        try:
            with open(app["git_key"], encoding="utf-8") as file:
                text = file.read()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "is no text"
            raise Failure(f"git_key of app {app['name']}: {app['git_key']}: {why}", USAGE, "name another") from None
    return {"path": app["key"], "text": text, "repo": app["source"], "owner": app["user"]}


def places(
    described: list[dict[str, Any]],
    made: list[dict[str, Any]],
    environments: list[dict[str, Any]],
    migrated: list[dict[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Where each app with releases is to run: from the results of states project_release and project_look, and what
    state project_migrations has applied for it."""
    applied = [(done.get("pending") or []) if done.get("changed") else [] for done in migrated or []]
    return {
        app["name"]: {
            "id": release["id"],
            "code": release["code"],
            "virtualenv": environment["path"],
            "migrated": applied[number] if applied else [],
        }
        for number, (app, release, environment) in enumerate(zip(described, made, environments, strict=True))
        if app["keep"] and release.get("code")
    }


def released(
    described: list[dict[str, Any]], found: dict[str, dict[str, Any]], folder: str, commands: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """What states releases_proven and releases_return are given: the apps that have `places` and an entry here."""
    return [
        {
            **{key: app[key] for key in ("name", "base", "virtualenv", "keep")},
            "owner": app["user"],
            "id": found[app["name"]]["id"],
            "migrated": found[app["name"]].get("migrated", []),
            "entry": f"{folder}/{app['name']}-celery.conf",
            "environment": noted(app["name"], "env"),
            "verify": commands.get(app["name"], []),
        }
        for app in described
        if app["name"] in found
    ]


def returning(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What state releases_return wants of `released`."""
    return [{key: app[key] for key in ("name", "id", "entry")} for app in given]


def release_ids(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """{app: the id of its release}, from `places`."""
    return {name: place["id"] for name, place in found.items()}


FILTERS = {
    "places": places,
    "release_ids": release_ids,
    "returning": returning,
    "released": released,
    "accounts": accounts,
    "beat_logs": beat_logs,
    "beats_beside": beats_beside,
    "brought": brought,
    "database_access": database_access,
    "databases": databases,
    "digest": digest,
    "entries": entries,
    "files": files,
    "git_key": key,
    "loadable": loadable,
    "looked_at": looked_at,
    "results_given": apps.results_given,
    "source_problems": source_problems,
    "verifications": verifications,
}


def _for_python(app: dict[str, Any]) -> str:
    """The Pythons that the code in a folder here is for. Raises Failure for requirements that cannot be read."""
    if app["source_kind"] != "folder" or app["requirements"] is False:
        return ""
    folder = os.path.normpath(os.path.join(app["source"], app["subfolder"]))
    try:
        return str(declared(folder, app["source"], app["requirements"])["python"])
    except Unfit as problem:
        raise Failure(f"app {app['name']}: {problem}", USAGE) from None

"""The project: whether its app loads, what of Celery it uses that is gone, what is brought in from outside."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from .. import masking, others
from ..celery import redis_places, resp
from ..errors import DENIED, Failure
from ..paths import noted
from ..project.preflight import sources
from ..scripts import mysql as mysql_script
from . import ROOT, Finding, Skip, fail, ok, skip, warn
from .host import App, Host, modules, section

UNPARSED = (SyntaxError, ValueError, RecursionError, MemoryError)  # the last two of what is nested without an end
# Gone with Celery 4 and 5, and where it is now.
# https://docs.celeryq.dev/en/stable/history/whatsnew-5.0.html, …/whatsnew-4.0.html
REMOVED = {
    "celery.task": "from celery import shared_task; a periodic_task becomes an entry of beat_schedule",
    "celery.task.schedules": "from celery.schedules import crontab",
    "celery.decorators": "from celery import shared_task",
    "celery.execute": "app.send_task",
    "celery.registry": "app.tasks",
    "celery.messaging": "app.amqp",
    "celery.log": "from celery.utils.log import get_task_logger",
    "celery.conf": "app.conf",
    "celery.contrib.batches": "the package celery-batches",
    "celery.contrib.methods": "a function as task, with the object's key as argument",
    "celery.utils.encoding": "kombu.utils.encoding",
    "celery.utils.timeutils": "celery.utils.time",
    "celery.utils.mail": "a handler of Django's logging",
    "celery.five": "Python 3's own names",
    "celery.backends.amqp": "result_backend = 'rpc://'",
    "djcelery": "django-celery-beat and django-celery-results",
}


def app(host: Host, app: App) -> Iterator[Finding]:
    """Loads it as its worker does: same Python, user, folder and environment."""
    try:
        answer = app.answer
    except Failure as failure:
        if failure.code == DENIED:
            yield skip(app.name, ROOT)
            return
        answer = {"error": "project", "message": failure.message}
    if "error" in answer:
        part = app.parts[0]
        yield fail(
            app.name,
            "Unable to load celery application.",
            answer["message"],
            f"try it: cd {part.program.directory or '/'} && {part.read.python} -m celery -A {part.read.app} report",
        )
    else:
        yield ok(app.name, f"loads as {app.parts[0].program.user or 'this user'}")


def removed(host: Host, app: App) -> Iterator[Finding]:
    """By ast over the project's files, since a module that is imported late breaks late."""
    directory = app.parts[0].program.directory
    if not directory:
        raise Skip("directory= is not set")
    found = 0
    for path in sources(directory):
        try:
            text = others.read(path)
        except PermissionError:
            raise Skip(ROOT) from None
        except OSError:  # no source, or none that a person writes
            continue
        for line, name in removed_imports(text):
            found += 1
            module = gone(name) or name
            missing = "celery.task" if module.startswith("celery.task.") else module
            yield fail(
                app.name,
                f"ModuleNotFoundError: No module named {missing!r}",
                f"{path}:{line} imports {name}, which Celery no longer has",
                f"use {REMOVED[module]}",
            )
    if not found:
        yield ok(app.name, f"nothing of {directory} imports what Celery has removed")


def removed_imports(text: bytes) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import in a source that Celery can no longer serve; a caught one is none."""
    if b"celery" not in text:
        return
    try:
        tree = ast.parse(text)
    except UNPARSED:
        return
    caught = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any(map(_catches_imports, node.handlers))
        for part in node.body
        for inner in ast.walk(part)
    }
    for node in ast.walk(tree):
        if id(node) in caught:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if gone(name))


def gone(name: str) -> str | None:
    """The module of REMOVED that a dotted name is in."""
    while name and name not in REMOVED:
        name = name.rpartition(".")[0]
    return name or None


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    names = (
        {name.id for name in ast.walk(handler.type) if isinstance(name, ast.Name)} if handler.type else {"Exception"}
    )
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception"})


def publisher(host: Host, app: App) -> Iterator[Finding]:
    """Celery issue 6370: what does not import the app publishes with Celery's default broker, amqp."""
    program = app.parts[0].program
    name = (app.parts[0].read.app or "").partition(":")[0]
    package = os.path.join(program.directory or "/", *name.split("."))
    if not os.path.isfile(os.path.join(package, "celery.py")):
        return
    path = os.path.join(package, "__init__.py")
    try:
        tree = ast.parse(others.read(path))
    except PermissionError:
        raise Skip(ROOT) from None
    except (OSError, *UNPARSED):
        return
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [
        alias.name for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names
    ]
    if not any("celery" in module for module in modules):
        yield warn(
            app.name,
            "[Errno 111] Connection refused in the web process, though Redis is healthy",
            f"{path} does not import the app, so .delay() of a @shared_task goes to amqp://localhost",
            "write there: from .celery import app as celery_app",
        )


def settings(host: Host, app: App) -> Iterator[Finding]:
    """What the command line and the environment bring in beside the project's settings, never silently.

    https://docs.celeryq.dev/en/stable/userguide/configuration.html; measured: everything behind `--` overrides the
    project, of the environment only CELERY_BROKER_URL and CELERY_RESULT_BACKEND do.
    """
    brought = app.probe["brought"]
    same = [f"module {name}" for part in app.parts for name in modules(part)]
    for name, entry in brought.items():
        value, own = (_written(entry[key]) for key in ("value", "own"))
        if not entry["differs"]:
            same.append(name if value == "***" else f"{name}={value}")
        elif name in ("broker_url", "result_backend"):
            yield warn(
                app.name,
                f"{name} of the project has no effect",
                f"CELERY_{name.upper()} in the environment overrides it; the web process needs the same",
                f"have the project read CELERY_{name.upper()} too ({noted(app.name, 'env')} has it)",
            )
        else:
            yield warn(
                app.name,
                f"{name}={own} of the project has no effect",
                f"the command line overrides it with {value}",
                "say the same under `settings` of the app in celery_apps, or leave it out of the project",
            )
    if same:
        yield ok(app.name, f"brought in from outside, nothing overridden: {', '.join(same)}")


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def databases(host: Host, app: App) -> Iterator[Finding]:
    """A task needs it, and a worker is RUNNING without; a project that does not read DATABASE_URL does without, too."""
    found = section(app, "databases")
    for alias, entry in found["known"].items():
        if entry["refused"]:
            yield fail(
                app.name,
                masking.hide_passwords(entry["refused"]),
                f"database {alias!r} of the project ({entry['backend']}) does not let it in",
                "see that it runs, and that DATABASES of the project has its address and password",
            )
        elif entry["file"] and alias == "default" and found["given"]:
            yield warn(
                app.name,
                "DATABASE_URL has no effect",
                "the project's settings do not read it and keep the data in SQLite",
                "have DATABASES read DATABASE_URL or PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD",
            )
        elif entry["backend"] != "unknown":
            yield ok(app.name, f"{alias}: {entry['backend']}{'' if entry['file'] else ' answers'}")


def redis(host: Host, app: App) -> Iterator[Finding]:
    """A cache or a channel layer that this machine's Redis refuses; `celeryhost provision` names the same."""
    for place in section(app, "redis")["places"]:
        place = redis_places.located(place)
        if not (place["here"] and _is_locked(place)):
            continue
        name, where = redis_places.shown(place["name"]), redis_places.shown(place["shown"])
        yield warn(
            app.name,
            f"Authentication required: {name} of Django's settings is {where}",
            "that Redis asks for a password, and it has none",
            f"let it read a variable; in celery_apps: environment: {{REDIS_URL: {redis_places.variable(place)}}}",
        )


def _is_locked(place: dict[str, Any]) -> bool:
    """Whether a Redis there asks for a password."""
    try:
        resp.ask(urlsplit(f"redis://{place['host']}:{place['port']}"), [("PING",)])
    except resp.Refused as refusal:
        return "NOAUTH" in str(refusal)
    except (OSError, ValueError):
        pass
    return False


def mysql(host: Host, app: App) -> Iterator[Finding]:
    """Before `migrate` finds out; see scripts/mysql.py."""
    found = section(app, "mysql")["too_long"]
    if found:
        yield fail(app.name, mysql_script.SYMPTOM, mysql_script.cause(found), f"{found['fix']}, then migrate")

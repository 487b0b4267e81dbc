"""Whether a project's Celery app and tasks load, in its own Python and with the environment its worker will have."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from typing import Any

from ..account import error as cause
from ..account import inherited, last_line, legible, named, run
from ..apps import WORKER_SETTINGS
from ..celery import redis_places
from ..errors import Failure
from ..project import releases
from ..project.preflight import not_installed
from ..scripts import redis as redis_script
from ..scripts import source
from ..scripts import waiting as waiting_script
from . import evidence
from .install_files import read
from .project_migrations import SECONDS, pending_of
from .project_virtualenv import OLDER_PYTHON

ARGUMENTS = {
    "app": {"type": "dict", "required": True, "no_log": False},
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "environment_file": {"type": "path"},
    "results": {"type": "bool", "default": True},
    "migrations": {"type": "bool", "default": False},
    "unmigrated": {"type": "bool", "default": False},
    "record": {"type": "path"},
    "keep": {"type": "bool", "default": False},
    "drop_unknown": {"type": "bool", "default": True},
}
UNASKED = ("environment", "drop_unknown")  # a look takes that of the file, for what it rests on may not be known yet

# With -c the first place of modules is the working directory, as for `celery -A`. One Python for all questions: on a
# small board it takes seconds to import Django and Celery.
SCRIPT = """
import gc
gc.disable()  # a sixth of the time; what is imported stays
import contextlib, difflib, io, json, os, runpy, sys
from importlib import metadata
from celery.app.defaults import flatten, NAMESPACES
from celery.app.utils import find_app
from celery.utils.log import get_multiprocessing_logger
name, settings, extensions, migrations, transport, queues = json.loads(sys.argv[1])
plan = io.StringIO()
if migrations:
    sys.argv[:] = ["manage.py", "showmigrations", "--plan"]
    try:
        with contextlib.redirect_stdout(plan):
            runpy.run_path("manage.py", run_name="__main__")
    except SystemExit as end:  # many a manage.py says sys.exit(main())
        if end.code:
            raise
app = find_app(name)
app.loader.import_default_modules()  # a worker's first step: `imports`, `include` and what autodiscover_tasks finds
app.finalize()
get_multiprocessing_logger()  # as it sets up its log; a billiard for an older Python fails here
absent = []
if extensions:
    import django
    from django.conf import settings as project
    installed = {name.partition(".")[0] for name in project.INSTALLED_APPS}
    absent = [module for module in extensions if module not in installed]
    django.setup()
options = dict(app.conf.broker_transport_options or {})
known = {key for key, option in flatten(NAMESPACES)}
near = {key: difflib.get_close_matches(key, known, 2) for key in settings if key not in known}
if transport:
    app.connection_for_write().transport_cls  # fails for one that kombu does not know or can't import
try:
    metadata.version("redis")
    versions = [metadata.version(name) for name in ("celery", "kombu")]
except metadata.PackageNotFoundError:
    versions = None
def outlives():  # SQLite's databases and MEDIA_ROOT, which a release of other code needs as well
    try:
        from django.conf import settings as project
        found = [part for part in project.DATABASES.values() if "lite" in str(part.get("ENGINE"))]
        names = [str(part.get("NAME") or "") for part in found] + [str(project.MEDIA_ROOT or "")]
    except Exception:  # no Django, or none that is set up
        return []
    return [os.path.abspath(name) for name in names if name and ":" not in name]
redis = {"backend": backend(app), "settings": in_settings(app)}
found = {"options": options, "near": near, "absent": absent, "plan": plan.getvalue(), "versions": versions}
waiting = {}
if queues is not None:
    app.conf.broker_transport_options = options | {"socket_connect_timeout": 5, "socket_timeout": 5}
    with contextlib.suppress(Exception):  # no broker yet, or one that tells nothing
        waiting = strangers(app, queues or list(app.amqp.queues))
found |= {"redis": redis, "outlives": outlives(), "waiting": waiting}
print("\\nceleryhost:", json.dumps(found))
"""
ANSWERS = {"options", "near", "absent", "plan", "versions", "redis", "outlives", "waiting"}
FUTURE = "from __future__ import annotations\n"  # before all else
SCRIPT = FUTURE + "".join(source(script).replace(FUTURE, "") for script in (redis_script, waiting_script)) + SCRIPT
WATCHED = FUTURE + evidence.WATCH + SCRIPT.removeprefix(FUTURE) + evidence.TELL
# Exceptions of a database, whose tables may come with the migrations.
OF_DATABASE = re.compile(r"[\w.]*(OperationalError|ProgrammingError):")
# How Python, django-environ, environs and python-decouple say that a variable is not set.
UNSET = re.compile(
    r"KeyError: '(?P<os>\w+)' |Set the (\w+) environment variable|"
    r"""variable "?(\w+)"? not set|UndefinedValueError: (\w+) not found"""
)
# How Django and Python say that something is not installed, and what to write for it.
MISSING = {
    "No module named 'pkg_resources'": "add setuptools<81 to the project's requirements",
    "Error loading psycopg2 or psycopg module": (
        "add psycopg[binary] to the project's requirements (on a 32-bit ARM board psycopg, all Python)"
    ),
    "Error loading MySQLdb module": "write packages: [python3-mysqldb] and system_site_packages: true for the app",
}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    with releases.preparing(params["app"]["directory"], really=not check):
        return _bring(params, check)


def _bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    app = params["app"]
    name, python = app["name"], f"{app['virtualenv']}/bin/python"
    nothing = {"changed": False, "transport_options": {}, "unsupported": [], "pending": None, "versions": None}
    nothing |= {"redis": "", "outlives": []}
    if check and not os.access(python, os.X_OK):
        return nothing
    settings = sorted({*app["settings"], *(key for worker in app["workers"] for key in worker["settings"])})
    # A look, which gives no environment, does without redis-py: importing it is a seventh of the time.
    transport = bool(params["environment"])
    question = [app["app"], settings, list(app["extensions"]), params["migrations"] and check, transport]
    queues = [queue for worker in app["workers"] for queue in worker.get("queues", ())]
    question.append(queues if app["workers"] and not (check or params.get("drop_unknown", True)) else None)
    try:
        named(app["user"])
    except KeyError:
        if check:
            return nothing
        raise Failure(f"user of app {name} is {app['user']!r}, and there is no such account here") from None
    try:
        found, new = _answer(app, python, question, params, check)
    except OSError as error:
        if check:
            return nothing
        message = f"virtualenv of app {name} is {app['virtualenv']!r}: {error}"
        raise Failure(message, fix="name one with Celery in it") from None
    if found is None:
        return nothing | {"unknown": True}
    if waiting := found["waiting"]:
        names = ", ".join(f"{count} of {task}" for task, count in sorted(waiting.items())[:5])
        fix = "have the code know that name until they are done, or let them go: -e project_drop_unknown=true"
        raise Failure(f"app {name}: tasks wait that the new code does not know and would throw away: {names}", fix=fix)
    for extension in found["absent"]:
        raise Failure(not_installed(extension, app["extensions"][extension], "INSTALLED_APPS does not have it"))
    unsupported = [key for key in found["near"] if _is_ours(key, app)]
    for key, close in found["near"].items():
        if key in unsupported:
            continue
        fix = f"did you mean {' or '.join(close)}?" if close else "see Celery's list of settings"
        raise Failure(f"settings of app {name}: Celery has no setting {key!r}", fix=fix)
    pending = pending_of(found["plan"]) if params["migrations"] and check else None
    if new and not pending:
        evidence.save(params["record"], new)
    return {
        "changed": False,
        "transport_options": found["options"],
        "unsupported": unsupported,
        "pending": pending,
        "versions": found["versions"],
        "redis": _located(found["redis"]),
        "outlives": [str(path) for path in found["outlives"]],
    }


def _is_ours(key: str, app: dict[str, Any]) -> bool:
    """Whether a setting is a default of ours, and nobody has written another value."""
    written = [part["settings"][key] for part in (app, *app["workers"]) if key in part["settings"]]
    return key in WORKER_SETTINGS and all(value == WORKER_SETTINGS[key] for value in written)


def _answer(
    app: dict[str, Any], python: str, question: list[Any], params: dict[str, Any], check: bool
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """What SCRIPT says, or has said when all it read was as it is now; and what to keep for the next look, or None.
    Twice None where only the migrations that are still to come can tell.

    Raises Failure when the app does not load, OSError without the Python.
    """
    environment = params["environment"] or variables(params["environment_file"])
    if not params.get("results", True):  # what an earlier load has found is no answer to this one
        environment.pop("CELERY_RESULT_BACKEND", None)
    recorded = check and params["record"] and not params["environment"]
    asked = ""
    if recorded:
        account = named(app["user"])
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
        place = [account, sorted(groups), os.path.realpath(app["directory"]), os.path.realpath(python)]
        asked = evidence.key(SCRIPT, question, inherited(), environment, place)
        kept = evidence.load(params["record"])
        if kept and evidence.holds(kept, asked):
            return kept["answer"], None
    watched = recorded and params["keep"]
    began = time.time_ns()
    code, output = run(
        app["user"],
        *(python, "-c", WATCHED if watched else SCRIPT, json.dumps(question)),
        cwd=app["directory"],
        environment=environment,
        seconds=SECONDS,
    )
    # A project may say something before it and, as it ends, behind it.
    said = [line.partition(" ")[2] for line in output.splitlines() if line.startswith("celeryhost: ")]
    if code or not said:
        why = cause(output, app["directory"]) if "Traceback (" in output else _ended(code, output)
        if params["unmigrated"] and OF_DATABASE.match(why):
            return None, None
        why = f"is {app['app']!r}, which does not load in {app['directory']}: {why}"
        raise Failure(f"app of app {app['name']} {why}", fix=_fix(app, output))
    try:
        found, *rest = map(json.loads, said)
        told = rest[0] if rest else {}
        if not isinstance(found, dict) or ANSWERS - found.keys() or set(found["absent"]) - app["extensions"].keys():
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise Failure(f"app of app {app['name']}: the project writes celeryhost's own lines: {said[0][:80]}") from None
    return found, evidence.record(asked, told, began, found) if watched else None


def _ended(code: int, output: str) -> str:
    said = f": {last_line(output)}" if output.strip() else ""
    return f"it ended by itself, with exit code {code}{said}"


def _fix(app: dict[str, Any], output: str) -> str:
    output = legible(output)
    why = cause(output, app["directory"])
    if driver := next((fix for words, fix in MISSING.items() if words in why), None):
        return driver
    absent = re.search(rf"FileNotFoundError: .*'({re.escape(app['directory'])}/[^']+)/[^/']+'", why)
    if absent and not os.path.isdir(absent[1]):
        return f"{absent[1]} is not in its code: add that folder, with a file in it, or have it write elsewhere"
    if OLDER_PYTHON.search(why):
        python = os.path.basename(os.path.realpath(f"{app['virtualenv']}/bin/python"))
        return f"""its requirements are for an older Python than {python}: take newer releases, or python: "3.11\""""
    unset = UNSET.search(why)
    name = next(filter(None, unset.groups())) if unset else ""
    if unset and name and (not unset["os"] or " os>" in output or "/os.py" in output):
        return f"write {name} under `environment` of app {app['name']} in celery_apps"
    if app.get("keep"):
        return "mend it and deploy again: what runs is not touched"
    return "mend it and provision again: no program has been touched, but one that starts now runs this code"


def _located(found: dict[str, Any]) -> str:
    """The places of scripts/redis.py, each with what this machine makes of its host."""
    backend, places = found["backend"], list(map(redis_places.located, found["settings"]))
    return redis_places.packed({"backend": backend and redis_places.located(backend), "settings": places})


def variables(path: str | None) -> dict[str, str]:
    """What a file of lines `NAME='value'` (apps.shell_environment) holds; nothing when it is not there."""
    lines = (read(path) or "").splitlines() if path else []
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))

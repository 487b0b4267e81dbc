"""The description of an app, as a person writes it, checked and completed.

`describe` is the one reading of it: Ansible (filter `celeryhost_apps`), `init` and `dev` all start from its result.
Keys are Celery's and Supervisor's own words. The other functions write values the way the files on a host need them.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
from collections.abc import Callable, Collection, Container
from itertools import combinations, count
from typing import Any
from urllib.parse import quote, urlsplit

from .celery import redis_places
from .celery.remote_control import TRANSPORT, told
from .errors import USAGE, Failure
from .paths import AUDIT, AUDIT_MEMBERS, LIB, LOGS, PYTHON, named, noted, redis_paths

WORKER: dict[str, Any] = {
    "name": None,  # None: this is mysite-worker; else mysite-worker-NAME
    "concurrency": 2,  # never the processor count: eight children fill a board's memory
    "queues": [],  # none: Celery's default queue
    "loglevel": "INFO",
    "prefetch_multiplier": 1,
    "max_tasks_per_child": 10_000,  # 0: no limit; 1000 tasks that do nothing take two seconds
    "max_memory_per_child": 300_000,  # KiB, Celery's unit; 0: no limit
    "time_limit": None,  # seconds; None: the project's own, or no limit
    "stopwaitsecs": None,  # None: time_limit + 30, or 300: longer than the longest task
    "environment": {},
    "settings": {},
    "arguments": [],  # added to the command line as they are
}
BEAT: dict[str, Any] = {
    "scheduler": None,  # None: the project's beat_scheduler, or Celery's own; django: django-celery-beat's
    "loglevel": "INFO",
    "embedded": False,  # the first worker's -B
    "environment": {},
    "arguments": [],
}
FLOWER: dict[str, Any] = {
    "port": None,  # None: 5555, or the next that no other app's Flower has
    "max_tasks": 1000,  # the latest, about 7 KB each
    "max_workers": 100,
    "memory": 300,  # MB of data; what takes more ends and is started again
    "environment": {},
    "arguments": [],  # added to the command line as they are
}
PROGRAM: dict[str, Any] = {
    "name": None,
    "command": None,  # a first word without a slash is looked up in the virtualenv
    "directory": None,
    "environment": {},
    "startsecs": 5,
    "stopsignal": "TERM",
    "stopwaitsecs": 30,
}
VERIFY: dict[str, Any] = {
    "task": None,  # None: one that every worker has
    "args": [],
    "kwargs": {},
    "timeout": 60,  # seconds
}
APP: dict[str, Any] = {
    "name": None,
    "source": None,  # a git URL, a folder on the controller, or None: the code is in `directory` already
    "version": "HEAD",  # of a git source: branch, tag or commit
    "keep": None,  # proven releases that stay, each a folder of its own; None: KEEP; false: code changed in place
    "shared": [],  # of the code, what outlives a release, beside SQLite's databases and MEDIA_ROOT
    "build": [],  # commands that a new release is built with, before it is loaded
    "git_key": None,  # generate: a key made on the host; a private key's file on the controller
    "app": None,  # celery -A
    "directory": None,  # where the code is
    "subfolder": None,  # of the code: where manage.py is; None: at its top
    "virtualenv": None,
    "python": PYTHON,  # makes the virtual environment; or a version, such as "3.12"
    "system_site_packages": False,
    "requirements": None,  # None: what requirements.declared finds; False: the virtual environment is not ours
    "packages": [],  # of apt
    "user": None,
    "broker_database": 0,  # number of Redis's database: apps that share one take each other's tasks
    "environment": {},
    "settings": {},
    "results": None,  # None: the project's result_backend; django: django-celery-results; redis: celeryhost's Redis
    "database": None,  # None: the project's own; postgresql: one on this host, named after the app
    "migrate": True,
    "workers": [{}],
    "beat": {},
    "flower": False,  # True: with the defaults of FLOWER
    "programs": [],
    "verify": {},
    "new_privileges": False,  # True: its programs may gain rights by sudo, ping, sendmail and other set-uid programs
    "development": False,
    "logs": None,
    "captured": None,  # of what Supervisor writes, as root, so that nobody else may write there
    "data": None,  # home of the user; beat's schedule and lock
}

# What a worker needs to lose no task when it, a child, Supervisor or Redis is restarted or killed.
WORKER_SETTINGS = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "broker_connection_retry_on_startup": True,
    "worker_eta_task_limit": 1000,
}
# The words of Celery's entry points for django-celery-beat and django-celery-results, and what they stand for.
DJANGO = "django"
DATABASE_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
DATABASE_RESULTS = "django-db"
REDIS = "redis"
POSTGRESQL = "postgresql"
TAKEN = ("postgres", "public", "none", "template0", "template1")  # of PostgreSQL's own, as is what begins with pg_
# What stands in `environment` for a part of the access to the app's database (roles/postgresql/vars/main.yml).
_ACCESS = re.compile(r"<<postgresql\.(\w+)>>")
FLOWER_PORT = 5555
# From 2.2 it saves its state whole, and begins anew with one that it cannot read.
FLOWER_REQUIREMENT = "flower>=2.2,<3"
VISIBILITY_TIMEOUT = 3600  # seconds, kombu's default: a task that runs longer is started a second time
KEEP = 5
LONGEST_TASK = 300  # seconds that a stop waits for running tasks when no time limit says how long they may take
LOGLEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SIGNALS = ("TERM", "HUP", "INT", "QUIT", "KILL", "USR1", "USR2")
SUPPORT = f"{LIB}/celeryhost/scripts/inside"  # modules for the project's own Python, on a host
RESERVED = ("HOME", "CELERYHOST_RELEASE")
TAKEN_NAMES = ("celeryhost", "supervisor", "redis", "root")  # accounts, groups, programs and folders of a host

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,23}")
_PROGRAM_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_QUEUE = re.compile(r"[^\s,]+")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_][\w.]*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SETTING = re.compile(r"[a-z][a-z0-9]*_[a-z0-9_]+")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?")
_GIT = re.compile(r"(https?|ssh|git|file)://.+|[\w.-]+@[\w.-]+:.+")
_VERSION = re.compile(r"[^\s:+^-][^\s:]*")  # to git the others are an option, or more than one ref
# What playbooks/group_vars/all.yml makes of redis_url: the inventory and all that is made of it hold no password.
_PROVIDED = re.compile(r"redis://celeryhost\.invalid/(\d+)")
_QUERY = re.compile(r"[\w.=&%+,:-]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")  # the last three end lines too, for Jinja and YAML


def describe_all(apps: Any, workers: bool = True, beat: bool = True, flower: bool = True) -> list[App]:
    """`describe` for each of a list; what a host does not run (`workers`, `beat`, `flower`) is left out.

    Raises Failure also for two apps that would share a name, a program, a directory, a log folder or Flower's port.
    """
    if not isinstance(apps, (list, tuple)):
        raise _wrong("celery_apps", apps, "a list", "write one `- name: …` for each app")
    described: list[App] = []
    for app in apps:
        described.append(describe(app, [other["flower"]["port"] for other in described if other["flower"]]))
    _unique([app["base"] for app in described], "directory of two apps")
    for key in ("name", "virtualenv", "logs", "captured", "data"):
        _unique([app[key] for app in described], f"{key} of two apps")
    _unique([program["program"] for app in described for program in _programs(app)], "program of two apps")
    _unique([app["flower"]["port"] for app in described if app["flower"]], "port of the Flower of two apps")
    _apart(described)
    for app in described:
        if not workers:
            app["workers"] = app["programs"] = []
        if not beat:
            app["beat"] = None
        if not flower:
            app["flower"], app["tools"] = None, []
    return described


App = dict[str, Any]  # a description, checked and completed


def describe(app: dict[str, Any], taken: Container[int] = ()) -> dict[str, Any]:
    """The whole description of `app`: every key of APP, defaults filled in, values checked.

    In it `directory` is where manage.py is. Added are `base` (the folder of all that belongs to the app), `top` (of the
    code that runs), `checkout` (where it is brought to: with `keep` releases are made of that), `source_kind` (git,
    folder or None), `key` (the file of the key that git uses), `support` (the folder of celeryhost's modules for a
    worker), `extensions` (the Django apps that must be in INSTALLED_APPS: {module: the key that wants it}), `tools`
    (packages that pip installs and the project does not use), `results_place` (database and query of the results on
    celeryhost's Redis, where they go there), `transport_options` (of the project's own settings, once its app has been
    loaded), in each worker `events` (whether it tells Flower what it does) and, in each worker, beat, Flower and
    program, `program` (its name in Supervisor), `log` (Celery's own file) and `captured` (Supervisor's). Flower's port
    is one that is not in `taken`, unless it is given. Raises Failure (USAGE)
    naming key, value and fix. `app` itself is not changed.
    """
    if not isinstance(app, dict):
        raise _wrong("entry of celery_apps", app, "a mapping", "write - name: mysite")
    name = app.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(
            "name of an app in celery_apps",
            name,
            "a name for programs and a user",
            "write a lower-case letter, then up to 23 of a-z, 0-9, _ and -",
        )
    name = str(name)
    if name in TAKEN_NAMES:
        raise _wrong("name of an app in celery_apps", name, "free: celeryhost needs it itself", "choose another name")
    of = f"of app {name}"
    app = _complete(app, APP, of)
    app["name"] = name
    app["user"] = _text(app["user"] or name, f"user {of}", _USER, "an account's name")
    if app["user"] == "root":
        raise _wrong(f"user {of}", "root", "an account of its own", "leave `user` out, or name a plain account")
    app["app"] = _text(app["app"] or name.replace("-", "_"), f"app {of}", _MODULE, "a module, as for celery -A")
    app["source_kind"], app["source"] = _source(app["source"], f"source {of}")
    app["base"] = _path(app["directory"] or f"/srv/{name}", f"directory {of}")
    app["keep"] = _keep(app, f"keep {of}")
    app["shared"] = [_subfolder(path, f"shared {of}") for path in app["shared"]]
    app["checkout"] = app["base"] + ("/source" if app["keep"] else "")
    app["subfolder"] = _subfolder(app["subfolder"], f"subfolder {of}")
    app["top"] = app["base"] + ("/current" if app["keep"] else "")
    app["directory"] = os.path.normpath(os.path.join(app["top"], app["subfolder"]))
    app["virtualenv"] = _path(app["virtualenv"] or app["base"] + "/venv", f"virtualenv {of}")
    if f"{app['directory']}/".startswith(f"{app['virtualenv']}/"):
        raise _wrong(f"virtualenv {of}", app["virtualenv"], "a folder of its own", "leave it out, or name another")
    app["python"] = _python(app["python"], f"python {of}")
    app["logs"] = _path(app["logs"] or f"/var/log/{name}", f"logs {of}")
    app["captured"] = _path(app["captured"] or f"{LOGS}/{name}", f"captured {of}")
    app["data"] = _path(app["data"] or f"/var/lib/{name}", f"data {of}")
    for key in ("base", "logs", "data"):
        if f"{app['captured']}/".startswith(f"{app[key]}/") and not app["development"]:
            raise _wrong(
                f"captured {of}", app["captured"], f"out of reach for the app: {app[key]} is its own", "leave it out"
            )
    app["support"] = SUPPORT
    app["transport_options"] = {}
    app["git_key"] = _git_key(app, f"git_key {of}")
    app["key"] = noted(name, "git-key") if app["git_key"] else None
    app["version"] = _text(app["version"], f"version {of}", _VERSION, "a branch, tag or commit")
    app["requirements"] = _requirements(app["requirements"], f"requirements {of}")
    app["packages"] = [_text(package, f"packages {of}", _PACKAGE, "an apt package") for package in app["packages"]]
    app["broker_database"] = _number(app["broker_database"], f"broker_database {of}", least=0)
    app["environment"] = _environment(app["environment"], f"environment {of}")
    app["settings"] = _settings(app["settings"], f"settings {of}")
    app["build"] = _build(app, f"build {of}")
    app["results"] = _results(app, f"results {of}")
    app["database"] = _database(app, of)
    app["results_place"] = f"/{app['broker_database']}" if app["results"] == REDIS else None
    app["flower"] = _flower(app, of, taken)
    app["workers"] = _each(_worker, app, "workers")
    app["beat"] = _beat(app, of)
    app["extensions"] = _extensions(app, of)
    app["tools"] = [FLOWER_REQUIREMENT] if app["flower"] else []
    app["programs"] = _each(_program, app, "programs")
    app["verify"] = _verify(app["verify"], f"verify {of}")
    _unique([program["program"] for program in _programs(app)], f"program {of}")
    return app


def beat_problems(apps_by_host: dict[str, Any]) -> list[str]:
    """One line for each app whose beat several hosts of one broker would run: each of them would send every task."""
    hosts: dict[str, list[str]] = {}
    for host, apps in apps_by_host.items():
        for app in describe_all(apps):
            if app["beat"]:
                hosts.setdefault(app["name"], []).append(str(host))
    return [
        f"beat of app {name} is on {' and '.join(found)}, and each would send every task; keep one of them in group "
        "celery_beat, or write `beat: false` in the celery_apps of the others"
        for name, found in hosts.items()
        if len(found) > 1
    ]


def database_problems(apps_by_host: dict[str, Any]) -> list[str]:
    """One line for each app that several hosts would each give a database of its own."""
    hosts: dict[str, list[str]] = {}
    for host, apps in apps_by_host.items():
        for app in describe_all(apps):
            if app["database"]:
                hosts.setdefault(app["name"], []).append(str(host))
    return [
        f"database of app {name} is {POSTGRESQL!r} on {' and '.join(found)}, and each would have one of its own; leave "
        "it out and write the DATABASE_URL of one that all of them reach under `environment`"
        for name, found in hosts.items()
        if len(found) > 1
    ]


def flower_problems(apps: list[dict[str, Any]], listening: dict[str, str], host: str) -> list[str]:
    """One line for each Flower whose port something else has on `host`.

    `listening` has the process behind each port, as module machine_facts has found it.
    """
    problems = []
    for app in apps:
        port = app["flower"]["port"] if app["flower"] else None
        other = listening.get(str(port), "celery")
        if port and not re.match(r"celery|\?", other):
            problems.append(
                f"port of flower of app {app['name']} is {port}, which is taken on {host} by {other}; "
                f"choose another, such as flower: {{port: {port + 1}}}"
            )
    return problems


def environment(
    app: dict[str, Any],
    part: dict[str, Any],
    broker_url: str | None = None,
    release: str | None = None,
    redis_url: str | None = None,
) -> dict[str, str]:
    """What `part` (a worker, beat, Flower or program of `app`) finds in its environment.

    `redis_url` is of the Redis that celeryhost provides, where that is not the broker. The broker's URL is there and
    not on the command line, where `ps` would show it. `release` changes with the code, so that a new release changes
    the entry and with it restarts the program. supervisord started at boot has no HOME and no LANG
    (http://supervisord.org/subprocess.html#subprocess-environment).
    """
    base = {
        "HOME": app["data"],
        "LANG": "C.UTF-8",
        "PATH": f"{app['virtualenv']}/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
    }
    if not redis_url and str(broker_url).startswith(("redis://", "rediss://")):
        redis_url = broker_url
    if broker_url and app["broker_database"]:
        broker_url = _at(broker_url, f"/{app['broker_database']}")
    results = DATABASE_RESULTS if app["results"] == DJANGO else None
    if app["results_place"] and redis_url:
        results = _at(redis_url, app["results_place"])
    found = {"CELERY_BROKER_URL": broker_url, "CELERY_RESULT_BACKEND": results, "CELERYHOST_RELEASE": release}
    if part in app["workers"] or part is app["beat"]:  # for what asks the broker without the project
        found[TRANSPORT] = told(part.get("settings", {}).get("broker_transport_options", app["transport_options"]))
    own = _provided(app["environment"] | part["environment"], redis_url, f"environment of app {app['name']}")
    whole = base | {key: str(value) for key, value in found.items() if value} | own
    if part in app["workers"]:
        whole["PYTHONPATH"] = os.pathsep.join(filter(None, [whole.get("PYTHONPATH"), app["support"]]))
    return whole


def with_databases(apps: list[dict[str, Any]], access: dict[str, Any]) -> list[dict[str, Any]]:
    """`apps` with what their programs find of their database in the environment, which `environment` may override.

    `access` has, by app, the port and the password that role postgresql has found or made; what is not there yet is
    left empty. Parts of it also stand where an environment says `{{ postgresql.password }}`. Raises Failure (USAGE) for
    one that says so without a database.
    """
    for app in apps:
        parts = {}
        if app["database"]:
            name, known = app["name"], access.get(app["name"], {})
            parts = {"host": "127.0.0.1", "port": "5432", "name": name, "user": name, "password": ""} | known
            login = f"{name}:{quote(parts['password'], safe='')}@{parts['host']}:{parts['port']}"
            parts["url"] = f"{POSTGRESQL}://{login}/{name}"
            given = {"HOST": "host", "PORT": "port", "DATABASE": "name", "USER": "user", "PASSWORD": "password"}
            found = {"DATABASE_URL": parts["url"]} | {f"PG{end}": parts[part] for end, part in given.items()}
            app["environment"] = found | app["environment"]
        app["environment"] = _filled(app["environment"], parts, f"of app {app['name']}")
        for part in _programs(app):
            part["environment"] = _filled(part["environment"], parts, f"of {part['program']}")
    return apps


def _filled(environment: dict[str, Any], parts: dict[str, Any], of: str) -> dict[str, Any]:
    if not parts and (says := next((name for name, value in environment.items() if _ACCESS.search(value)), None)):
        raise Failure(
            f"{says} in environment {of} says {{{{ postgresql.… }}}}, and the app has no such database",
            USAGE,
            "write database: postgresql for it",
        )
    return {name: _ACCESS.sub(lambda found: parts[found[1]], value) for name, value in environment.items()}


def _at(url: str, place: str) -> str:
    """`url` with another database, and perhaps a query."""
    database, _, query = place.partition("?")
    return urlsplit(url)._replace(path=database, query=query or urlsplit(url).query).geturl()


def _provided(variables: dict[str, str], redis_url: str | None, where: str) -> dict[str, str]:
    """`variables` with the URL of celeryhost's Redis for what `{{ redis_url }}` and `{{ redis_urls[1] }}` stand for."""
    for name, value in variables.items():
        if not redis_url and _PROVIDED.search(value):
            fix = "name a host in group redis, or write the URL of another"
            raise Failure(f"{name} in {where} says redis_url, and celeryhost provides no Redis here", USAGE, fix)
    return {
        name: _PROVIDED.sub(lambda found: _at(redis_url or "", f"/{found[1]}"), value)
        for name, value in variables.items()
    }


def watchdog(
    apps: list[dict[str, Any]], broker_url: str, command: str = "", webhook: str = "", redis_url: str | None = None
) -> str:
    """What the watchdog of a host is given in its environment (watchdog/listener.py): JSON.

    Raises Failure (USAGE) for a command that is no command line and a webhook that is no URL.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise _wrong("celery_watchdog_command", command, f"a command line ({error})", "close the quotes") from None
    if webhook and not webhook.startswith(("http://", "https://")):
        raise _wrong("celery_watchdog_webhook", "***", "a URL", "begin it with https://")
    watched = []
    for app in apps:
        for part in _programs(app):
            kind = "worker" if part in app["workers"] else "beat" if part is app["beat"] else "other"
            known = {"name": part["program"], "kind": kind}
            if kind != "other":
                variables = environment(app, part, broker_url, None, redis_url)
                known["broker"] = variables.get("CELERY_BROKER_URL")
                if TRANSPORT in variables:
                    known["transport"] = variables[TRANSPORT]
            if kind == "worker":
                known |= {"grace": part["stopwaitsecs"], "threads": "threads" in " ".join(part["arguments"])}
            watched.append(known)
    settings = json.dumps({"programs": watched, "command": words, "webhook": webhook})
    return settings.replace("'", "\\u0027")  # a Supervisor file cannot hold both kinds of quotes


def code_places(apps: list[dict[str, Any]], groups: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Folders of code and data, with owner, group (`groups`, by app) and mode, as module owned_paths takes them.

    The project may write beside its code (an SQLite database, uploads), and nobody else may read its settings.py. Code
    that was there before keeps its owner.
    """
    folders = {}
    for app in apps:
        owned = {"owner": app["user"], "group": groups[app["name"]], "mode": "0750"}
        folders[app["data"]] = owned
        if app["source"]:
            for folder in dict.fromkeys((app["base"], app["checkout"])):
                folders[folder] = owned | {"made": True}
    return folders


def log_places(apps: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Folders and files of the logs, for module owned_paths.

    Celery writes its own as the app's user. What supervisord captures it opens as root, so that nobody else may write
    in that folder. `taken`: the logs that it wrote into the app's folder before.
    """
    folders, files, taken = {}, {}, {}
    roots = {"owner": "root", "group": "supervisor", "mode": "2750"}
    for app in apps:
        owned = {"owner": app["user"], "group": "supervisor"}
        if os.path.dirname(app["captured"]) == LOGS:
            folders[LOGS] = roots
            # Where members of the group note what they do (audit.py): none may touch another's file.
            folders[AUDIT_MEMBERS] = roots | {"mode": "3770"}
            files[AUDIT] = {"owner": "root", "group": "supervisor", "mode": "0640"}
        folders |= {app["captured"]: roots, app["logs"]: owned | {"mode": "2750"}}
        for program in _programs(app):
            if program in app["workers"] or program is app["beat"]:
                files[program["log"]] = owned | {"mode": "0640"}
            else:
                taken[program["log"]] = program["captured"]
    return {"folders": folders, "files": files, "taken": taken}


def environment_files(
    apps: list[dict[str, Any]], groups: dict[str, Any], broker_url: str, redis_url: str | None = None
) -> dict[str, dict[str, Any]]:
    """The file with the environment of each app (paths.noted), for module install_files: `files` and `secrets`."""
    files, secrets = {}, {}
    for app in apps:
        path = noted(app["name"], "env")
        files[path] = {"group": groups[app["name"]], "mode": "0640"}
        secrets[path] = shell_environment(environment(app, {"environment": {}}, broker_url, None, redis_url))
    return {"files": files, "secrets": secrets}


def merged(
    apps: list[dict[str, Any]], results: list[dict[str, Any]], redis_url: str | None = None, here: bool = True
) -> list[dict[str, Any]]:
    """`apps` with what follows from each project's own settings and Celery, without defaults that its Celery lacks.

    Celery replaces the project's broker_transport_options by those behind `--`, and without a key of theirs,
    global_keyprefix say, the worker would read other queues than the project writes. A result backend on the Redis of
    `redis_url`, on that host if `here`, lacks its password. Module celery_app has returned all of it in `results`.
    """
    for app, found in zip(apps, results, strict=True):
        backend = redis_places.unpacked(found.get("redis"))["backend"]
        if backend and not results_given(app) and redis_places.is_on(backend, redis_url, here):
            query = backend["query"] if _QUERY.fullmatch(backend["query"]) else ""
            app["results_place"] = f"/{backend['database']}?{query}".rstrip("?")
        app["transport_options"] = found.get("transport_options", {})
        for worker in app["workers"]:
            for name in found.get("unsupported", ()):
                worker["settings"].pop(name, None)
            options = worker["settings"].get("broker_transport_options")
            if options is not None:
                worker["settings"]["broker_transport_options"] = found.get("transport_options", {}) | options
    return apps


def results_given(app: dict[str, Any]) -> bool:
    """Whether the description says where results go."""
    return bool(app["results"]) or "CELERY_RESULT_BACKEND" in app["environment"]


def remarks(apps: list[dict[str, Any]], results: list[dict[str, Any]], redis_url: str | None, here: bool) -> list[str]:
    """What uses the Redis of celeryhost without its password, a line each, from what module celery_app returned."""
    return [
        line
        for app, found in zip(apps, results, strict=True)
        for line in redis_places.remarks(
            app["name"], redis_places.unpacked(found.get("redis")), redis_url, here, results_given(app)
        )
    ]


def redis_problems(apps: list[dict[str, Any]], provided: bool) -> list[str]:
    """A line for each app whose results or variables are to be on a Redis that celeryhost does not provide."""
    fix = "name a host in group redis, or write the URL of another under `environment`"
    return [
        f"{what} of app {app['name']} is on celeryhost's Redis, and there is none; {fix}"
        for app in apps
        for what in [
            *(["results"] if app["results"] == REDIS else []),
            *(f"{name} under environment" for part in (app, *_programs(app)) for name in provided_in(part)),
        ]
        if not provided
    ]


def provided_in(part: dict[str, Any]) -> list[str]:
    """The variables of an app or program that say redis_url."""
    return [name for name, value in part["environment"].items() if _PROVIDED.search(value)]


def releases(apps: list[dict[str, Any]], *results: list[dict[str, Any]]) -> dict[str, str]:
    """By app, what changes with its code and its virtual environment: the `revision` that each task returned for it.
    An app with releases changes the paths in its entry instead."""
    return {
        str(app["name"]): "-".join(str(done["revision"])[:12] for done in of_app if done.get("revision"))
        for app, *of_app in zip(apps, *results, strict=True)
        if not app["keep"]
    }


def proof(apps: list[dict[str, Any]], tasks: dict[str, dict[str, Any]], fired: dict[str, str]) -> list[str]:
    """Lines that say what the last checks of each app have shown, from the results of role celery's tasks."""
    lines = []
    for app in apps:
        if app["name"] in tasks:
            ran = json.loads(tasks[app["name"]]["stdout"])
            result = ran["remark"] or f"returned {json.dumps(ran['result'])}"
            lines.append(f"{app['name']}: task {ran['task']}, {ran['seconds']:.1f} s: {result}")
        if app["beat"]:
            lines.append(f"{app['name']}: beat: {fired.get(app['name'], 'nothing was due yet')}")
    return lines


def supervisor_value(value: str) -> str:
    """`value` as a Supervisor file holds it: `%` doubled, and nothing that supervisord would take for its own.

    It cuts a value at a blank followed by `;` or `#`, quoted or not, and replaces `%(here)s` even behind another `%`.
    What expands to nothing keeps them apart.
    """
    return re.sub(r"(?<=\s)(?=[;#])|(?<=%)(?=\(here\)s)", "%(program_name).0s", str(value).replace("%", "%%"))


def log_size(value: str) -> str:
    """`machine_log_size`, which logrotate reads as it is, in Supervisor's words. Raises Failure for what is no size."""
    if not re.fullmatch(r"\d+[kMG]", str(value)):
        raise _wrong("machine_log_size", value, "a size that Supervisor and logrotate know", "write one such as 10M")
    return f"{value}B"


def supervisor_environment(variables: dict[str, str]) -> str:
    """`environment=` of a Supervisor file, a variable a line, that supervisord reads back exactly.

    Its reader (supervisor.datatypes.dict_of_key_value_pairs) knows no escapes and strips quotes at both ends, so what
    it cannot hold is refused: Failure (USAGE), naming the variable but not its value, which may be a secret.
    """
    lines = []
    for name, value in variables.items():
        quote = "'" if '"' in value else '"'
        if quote in value or value[:1] in ("'", '"') or value[-1:] in ("'", '"') or _CONTROL.search(value):
            raise Failure(
                f"environment variable {name} has both kinds of quotes, one at an end, or a line break, "
                "which a Supervisor file cannot hold",
                USAGE,
                "let the project read it from a file",
            )
        lines.append(f"{name}={quote}{supervisor_value(value)}{quote}")
    return ",\n".join(lines)


def shell_environment(variables: dict[str, str]) -> str:
    """Lines `NAME='value'` that sh and systemd's EnvironmentFile= read alike."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())


def celery_settings(settings: dict[str, Any]) -> list[str]:
    """Celery settings as `celery … --` takes them: `task.acks_late=(json)true`.

    The type is always given: without it Celery looks the setting up and ends with a KeyError when it is not one of its
    own (celery.loaders.base.BaseLoader.cmdline_config_parser).
    """
    words = []
    for name, value in settings.items():
        namespace, key = name.split("_", 1)
        words.append(shlex.quote(f"{namespace}.{key}=(json){json.dumps(value, separators=(',', ':'))}"))
    return words


def placed(
    apps: list[dict[str, Any]], places: list[dict[str, Any]] | dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """`apps` with the real paths of the release that each is to run, where else the links to the current one are.

    So a process and all that it imports later come from one release. `places` has for each app, in their order or by
    name, the `code` of its release and, where that is known, its `virtualenv`.
    """
    apps = copy.deepcopy(apps)
    by_name = places if isinstance(places, dict) else dict(zip([app["name"] for app in apps], places, strict=True))
    for app in apps:
        place = by_name.get(app["name"], {})
        moves = {f"{app['base']}/current": place.get("code"), app["virtualenv"]: place.get("virtualenv")}
        if not app["keep"] or not any(moves.values()):
            continue
        for part in (app, *_programs(app)):
            part["environment"] = {name: _moved(value, moves) for name, value in part["environment"].items()}
        for program in app["programs"]:
            program["command"] = [_moved(word, moves) for word in program["command"]]
            program["directory"] = _moved(program["directory"], moves)
        app["build"] = [[_moved(word, moves) for word in command] for command in app["build"]]
        for key in ("top", "directory", "virtualenv"):
            app[key] = _moved(app[key], moves)
    return apps


def _moved(text: str, moves: dict[str, str | None]) -> str:
    """`text` with each path in it that is or lies below one of `moves` at its new place."""
    for old, new in moves.items():
        if new:
            text = re.sub(rf"(?<![^:=]){re.escape(old)}(?=/|:|$)", new.replace("\\", r"\\"), text)
    return text


FILTERS = {
    "apps": describe_all,
    "placed": placed,
    "beat_problems": beat_problems,
    "database_problems": database_problems,
    "with_databases": with_databases,
    "flower_problems": flower_problems,
    "environment": environment,
    "environment_files": environment_files,
    "code_places": code_places,
    "proof": proof,
    "redis_problems": redis_problems,
    "remarks": remarks,
    "merged": merged,
    "log_places": log_places,
    "log_size": log_size,
    "noted": noted,
    "path": named,
    "redis_paths": redis_paths,
    "releases": releases,
    "watchdog": watchdog,
    "supervisor_value": supervisor_value,
    "supervisor_environment": supervisor_environment,
    "celery_settings": celery_settings,
    "shell_word": lambda value: shlex.quote(str(value)),
}


def _worker(app: dict[str, Any], given: dict[str, Any], of: str) -> dict[str, Any]:
    worker = _complete(given, WORKER, of)
    if worker["name"] is not None:
        worker["name"] = _text(worker["name"], f"name {of}", _PROGRAM_NAME, "a program's name")
    short = f"worker-{worker['name']}" if worker["name"] else "worker"
    for key in ("prefetch_multiplier", "max_tasks_per_child", "max_memory_per_child"):
        worker[key] = _number(worker[key], f"{key} {of}", least=0)
    worker["concurrency"] = _number(worker["concurrency"], f"concurrency {of}")
    if worker["time_limit"] is not None:
        worker["time_limit"] = _number(worker["time_limit"], f"time_limit {of}")
    grace = worker["time_limit"] + 30 if worker["time_limit"] else LONGEST_TASK
    worker["stopwaitsecs"] = _number(worker["stopwaitsecs"] or grace, f"stopwaitsecs {of}")
    worker["queues"] = [_text(queue, f"queues {of}", _QUEUE, "a queue's name") for queue in worker["queues"]]
    worker["loglevel"] = _one_of(worker["loglevel"], LOGLEVELS, f"loglevel {of}")
    worker["arguments"] = [_text(argument, f"arguments {of}") for argument in worker["arguments"]]
    worker["environment"] = _environment(worker["environment"], f"environment {of}")
    worker["settings"] = WORKER_SETTINGS | app["settings"] | _settings(worker["settings"], f"settings {of}")
    if worker["time_limit"] and worker["time_limit"] >= VISIBILITY_TIMEOUT:
        options = worker["settings"].get("broker_transport_options", {})
        worker["settings"]["broker_transport_options"] = {"visibility_timeout": worker["time_limit"] + 60} | options
    worker["events"] = bool(app["flower"])
    return worker | _placed(app, short)


def _beat(app: dict[str, Any], of: str) -> dict[str, Any] | None:
    if app["beat"] is False:
        return None
    beat = _complete({} if app["beat"] is True else app["beat"], BEAT, f"of beat {of}")
    beat["loglevel"] = _one_of(beat["loglevel"], LOGLEVELS, f"loglevel of beat {of}")
    if beat["scheduler"] == DJANGO:
        beat["scheduler"] = DATABASE_SCHEDULER
    elif beat["scheduler"] is not None:
        beat["scheduler"] = _text(beat["scheduler"], f"scheduler of beat {of}", _MODULE, "a class, module:Class")
    beat["arguments"] = [_text(argument, f"arguments of beat {of}") for argument in beat["arguments"]]
    beat["environment"] = _environment(beat["environment"], f"environment of beat {of}")
    if beat["embedded"] and not app["development"]:
        raise _wrong(
            f"embedded of beat {of}",
            True,
            "allowed in production: each worker with -B sends every task once more",
            "leave it out, or set `development: true`",
        )
    if beat["embedded"] and not app["workers"]:
        raise _wrong(f"embedded of beat {of}", True, "possible without a worker", "name a worker, or leave it out")
    return beat | _placed(app, "beat")


def _results(app: dict[str, Any], where: str) -> str | None:
    if app["results"] not in (None, DJANGO, REDIS):
        fix = "write one of them, or another backend as CELERY_RESULT_BACKEND under `environment`"
        raise _wrong(where, app["results"], "django or redis", fix)
    if app["results"] and "CELERY_RESULT_BACKEND" in app["environment"]:
        what = "possible beside CELERY_RESULT_BACKEND under `environment`"
        raise _wrong(where, app["results"], what, "keep one of the two")
    results: str | None = app["results"]
    return results


def _database(app: dict[str, Any], of: str) -> str | None:
    if app["database"] not in (None, POSTGRESQL):
        raise _wrong(
            f"database {of}", app["database"], POSTGRESQL, "write database: postgresql, or another's DATABASE_URL"
        )
    if app["database"] and "DATABASE_URL" in app["environment"]:
        raise _wrong(
            f"database {of}", POSTGRESQL, "possible beside DATABASE_URL under `environment`", "keep one of the two"
        )
    if app["database"] and (app["name"] in TAKEN or app["name"].startswith("pg_")):
        raise _wrong(f"name {of}", app["name"], "free in PostgreSQL for a database", "rename the app")
    database: str | None = app["database"]
    return database


def _extensions(app: dict[str, Any], of: str) -> dict[str, str]:
    found = {}
    if app["beat"] and str(app["beat"]["scheduler"]).startswith("django_celery_beat."):
        found["django_celery_beat"] = f"scheduler of beat {of}"
    if app["results"] == DJANGO:
        found["django_celery_results"] = f"results {of}"
    return found


def _flower(app: dict[str, Any], of: str, taken: Container[int]) -> dict[str, Any] | None:
    if app["flower"] is False:
        return None
    of = f"of flower {of}"
    flower = _complete({} if app["flower"] is True else app["flower"], FLOWER, of)
    free = next(port for port in count(FLOWER_PORT) if port not in taken)
    flower["port"] = _number(free if flower["port"] is None else flower["port"], f"port {of}", least=1024, most=65535)
    for key in ("max_tasks", "max_workers"):
        flower[key] = _number(flower[key], f"{key} {of}")
    flower["memory"] = _number(flower["memory"], f"memory {of}", least=150)  # it begins with a hundred
    known = {"FLOWER_USER": "flower", "FLOWER_PASSWORD_FILE": noted(f"{app['name']}-flower", "password")}
    flower["environment"] = known | _environment(flower["environment"], f"environment {of}")
    flower["arguments"] = [_text(argument, f"arguments {of}") for argument in flower["arguments"]]
    return flower | _placed(app, "flower")


def _program(app: dict[str, Any], given: dict[str, Any], of: str) -> dict[str, Any]:
    program = _complete(given, PROGRAM, of)
    name = program["name"] = _text(program["name"], f"name {of}", _PROGRAM_NAME, "a program's name")
    if name == "beat" or name == "worker" or name.startswith("worker-"):
        raise _wrong(f"name {of}", name, "free: it is beat's or a worker's", "choose another name")
    program["command"] = _command(app, program["command"], f"command {of}")
    program["directory"] = _path(program["directory"] or app["directory"], f"directory {of}")
    program["environment"] = _environment(program["environment"], f"environment {of}")
    program["startsecs"] = _number(program["startsecs"], f"startsecs {of}", 0)
    program["stopwaitsecs"] = _number(program["stopwaitsecs"], f"stopwaitsecs {of}")
    program["stopsignal"] = _one_of(program["stopsignal"], SIGNALS, f"stopsignal {of}")
    return program | _placed(app, name)


def _verify(given: Any, where: str) -> dict[str, Any] | None:
    if given is False:
        return None
    if isinstance(given, str):
        given = {"task": given}
    verify = _complete(given, VERIFY, where)
    if verify["task"] is not None:
        verify["task"] = _text(verify["task"], f"task {where}")
    verify["timeout"] = _number(verify["timeout"], f"timeout {where}")
    return verify


def _placed(app: dict[str, Any], short: str) -> dict[str, str]:
    files = {key: f"{app[folder]}/{short}.log" for key, folder in (("log", "logs"), ("captured", "captured"))}
    return {"program": f"{app['name']}-{short}", **files}


def _programs(app: dict[str, Any]) -> list[dict[str, Any]]:
    beat = [app["beat"]] if app["beat"] and not app["beat"]["embedded"] else []
    flower = [app["flower"]] if app["flower"] else []
    return [*app["workers"], *beat, *flower, *app["programs"]]


def _apart(apps: list[dict[str, Any]]) -> None:
    """Refuse two apps that read one queue: a worker drops the tasks that it does not know."""
    for one, other in combinations((app for app in apps if "CELERY_BROKER_URL" not in app["environment"]), 2):
        queues = [
            {queue for worker in app["workers"] for queue in worker["queues"] or ["celery"]} for app in (one, other)
        ]
        if one["broker_database"] == other["broker_database"] and queues[0] & queues[1]:
            raise Failure(
                f"apps {one['name']} and {other['name']} both read queue {min(queues[0] & queues[1])!r} of "
                f"broker_database {one['broker_database']}, and each would drop the other's tasks",
                USAGE,
                f"write broker_database: {one['broker_database'] + 1} in {other['name']}, or name other queues",
            )


def _each(reader: Callable[[App, Any, str], App], app: dict[str, Any], key: str) -> list[dict[str, Any]]:
    parts = []
    for number, given in enumerate(app[key], 1):
        label = given.get("name") if isinstance(given, dict) else None
        parts.append(reader(app, given, f"of {key} {label or number} of app {app['name']}"))
    return parts


def _complete(given: Any, defaults: dict[str, Any], of: str) -> dict[str, Any]:
    """`given` with `defaults` for what it lacks; each value of the type that its default has."""
    if not isinstance(given, dict):
        raise _wrong(f"entry {of}", given, "a mapping", "write key: value")
    whole = {key: _copy(value) for key, value in defaults.items()}
    for key, value in given.items():
        if key not in defaults:
            from .errors import near

            raise Failure(
                f"unknown key {key!r} {of}", USAGE, near(str(key), defaults) or f"known are {', '.join(defaults)}"
            )
        wanted = {list: "a list", dict: "a mapping", bool: "true or false"}.get(type(defaults[key]))
        if value is None:  # `beat:` with nothing behind it
            continue
        short = key in ("beat", "flower", "verify") and isinstance(value, (bool, str, dict))
        if wanted and not short and not isinstance(value, type(defaults[key])):
            raise _wrong(f"{key} {of}", value, wanted, f"write {key} as {wanted}")
        whole[str(key)] = _copy(value)
    return whole


def _copy(value: Any) -> Any:
    """A copy in plain types: Ansible's own are tagged, and json and Supervisor's reader need not know them."""
    if isinstance(value, dict):
        return {str(key): _copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    raise Failure(f"a value of type {type(value).__name__} has no place in celery_apps: {value!r}", USAGE, "quote it")


def _source(source: Any, where: str) -> tuple[str | None, str | None]:
    if source is None:
        return None, None
    source = _text(source, where)
    if source.startswith("-"):
        raise _wrong(where, source, "a git URL or a whole path", "write it like https://git.example/me/mysite.git")
    if _GIT.fullmatch(source):
        if re.match(r"https?://[^/@]*@", source):
            raise Failure(
                f"{where} has a password or token in its URL, which would show in `ps` and in .git/config",
                USAGE,
                "use git@HOST:PATH with a deploy key in the user's ~/.ssh on the host",
            )
        return "git", source
    folder = os.path.expanduser(source)
    if not os.path.isabs(folder):
        raise _wrong(where, source, "a git URL or a whole path", 'begin a folder with "{{ inventory_dir }}/" or ~/')
    return "folder", os.path.normpath(folder)


def _keep(app: dict[str, Any], where: str) -> int | None:
    if app["keep"] is False:
        return None
    if app["keep"] is None:
        return KEEP if app["source"] else None
    if not app["source"]:
        raise _wrong(where, app["keep"], "possible without a source to make releases of", "name one, or leave it out")
    return _number(app["keep"], where)


def _build(app: dict[str, Any], where: str) -> list[list[str]]:
    if app["build"] and not app["keep"]:
        raise _wrong(where, app["build"], "possible without releases", "leave it out, or leave `keep: false` out")
    commands = [_command(app, command, where) for command in app["build"]]
    manage = f"{app['virtualenv']}/bin/manage.py"
    python = f"{app['virtualenv']}/bin/python"
    return [[python, "manage.py", *words[1:]] if words[0] == manage else words for words in commands]


def _command(app: dict[str, Any], command: Any, where: str) -> list[str]:
    """The words of a command; a first one without a slash is a program of the virtual environment."""
    try:
        if not isinstance(command, (str, list, tuple, type(None))):
            raise ValueError(f"but {type(command).__name__}")
        words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command or []]
    except ValueError as error:
        raise _wrong(where, command, f"a command line ({error})", "close the quotes") from None
    if not words or _CONTROL.search(" ".join(words)):
        raise _wrong(where, command, "a command on one line", "write it like gunicorn mysite.wsgi")
    if "/" not in words[0]:
        words[0] = f"{app['virtualenv']}/bin/{words[0]}"
    return [str(word) for word in words]


def _git_key(app: dict[str, Any], where: str) -> str | None:
    value: str | None = app["git_key"]
    if value is None or value == "generate":
        return value
    file = os.path.expanduser(_text(value, where))
    if not os.path.isabs(file):
        raise _wrong(where, value, "generate, or a file's whole path", "write git_key: generate")
    return file


def _requirements(value: Any, where: str) -> list[str] | bool | None:
    if value is None or value is False:
        return value
    files = [value] if isinstance(value, str) else value
    if not isinstance(files, list) or not files:
        raise _wrong(where, value, "a file, a list of files, or false", "write requirements: requirements.txt")
    return [_text(file, where) for file in files]


def _python(value: Any, where: str) -> str:
    """A path, or a version, in quotes: 3.10 is 3.1 to YAML."""
    if isinstance(value, (int, float)):
        raise _wrong(where, value, "text", 'write it in quotes: python: "3.12"')
    return value if re.fullmatch(r"3\.\d{1,2}(\.\d+)?", str(value)) else _path(value, where)


def _environment(variables: dict[str, Any], where: str) -> dict[str, str]:
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise _wrong(where, name, "a variable's name", "write letters, digits and _, no digit first")
        if name in RESERVED:
            raise _wrong(where, name, "free: celeryhost sets it", "choose another name")
        if isinstance(value, (bool, dict, list)) or value is None:
            raise Failure(f"{name} in {where} is no text but {type(value).__name__}", USAGE, "put it in quotes")
        if _CONTROL.search(str(value)):
            raise Failure(f"{name} in {where} has a line break", USAGE, "let the project read it from a file")
    return {name: str(value) for name, value in variables.items()}


def _settings(settings: dict[str, Any], where: str) -> dict[str, Any]:
    for name in settings:
        if not _SETTING.fullmatch(name):
            raise _wrong(where, name, "a Celery setting that can be brought in", "write it like task_acks_late")
        if name in ("broker_url", "broker_read_url", "broker_write_url", "result_backend") or name.endswith("password"):
            raise Failure(
                f"{where}: {name} would show in `ps`", USAGE, f"write CELERY_{name.upper()} under `environment`"
            )
    return settings


def _path(value: Any, where: str) -> str:
    path = _text(value, where)
    if not path.startswith("/") or "'" in path or '"' in path:
        raise _wrong(where, path, "a whole path", "begin it with /")
    return os.path.normpath(path)


def _subfolder(value: Any, where: str) -> str:
    value = os.path.normpath(_text(value or ".", where))
    if value.startswith(("/", "..")) or "'" in value or '"' in value:
        raise _wrong(where, value, "a folder below `directory`", "write it as seen from there")
    return "" if value == "." else value


def _text(value: Any, where: str, pattern: re.Pattern[str] | None = None, what: str = "text on one line") -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value or _CONTROL.search(value) or (pattern and not pattern.fullmatch(value)):
        raise _wrong(where, value, what, f"write {what}")
    return value


def _number(value: Any, where: str, least: int = 1, most: int | None = None) -> int:
    if isinstance(value, str) and value.isdecimal():  # "{{ 2 }}" is text to Ansible
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most and value > most):
        bounds = f"from {least} to {most}" if most else f"from {least}"
        raise _wrong(where, value, f"a whole number {bounds}", "write it as a number")
    return value


def _one_of(value: Any, known: Collection[str], where: str) -> str:
    if str(value).upper() not in known:
        raise _wrong(where, value, f"one of {', '.join(known)}", "choose one")
    return str(value).upper()


def _unique(values: list[Any], what: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise _wrong(what, value, "given once only", "rename one")


def _wrong(where: str, value: Any, what: str, fix: str) -> Failure:
    return Failure(f"{where} is {value!r}, which is not {what}", USAGE, fix)

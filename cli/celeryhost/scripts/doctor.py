"""Tell what a project's Celery app is and sees. Runs in the project's own Python, beside task.py (see there) and
mysql.py and redis.py.

The request, besides `app`, `options` and `settings`:

    instead     {setting: value}, what options of the worker's command line say in place of settings
    at_most     {setting: number}, what celeryhost's modules make of greater ones
    nodes       what each worker's `-n` says, as written; an empty one for Celery's default
    time_limit  of the worker's command line, seconds or null
    beat        null, or {"scheduler": of its command line or "", "since": when the log begins to tell, or null,
                "sent": {entry: when it was last sent}}, times in seconds since the epoch

The answer: `error` and `message` as in task.py for a project that does not load, else an object for each
function of SECTIONS; one whose question could not be asked holds `error`, a text.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone

from . import mysql as mysql_script
from . import redis as redis_script
from .task import asked, brought_in, described, destination, load, one_line
from .task import main as respond

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from typing import Any

    Entry = tuple[str, Any, float | None]  # its name, its schedule, and when it ran last


LOOK_SECONDS = 2  # between two looks at a queue that has something in it
REPLY_SECONDS = 5
SECRET = ("url", "password", "backend")


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What SECTIONS find out about the app; raises Refusal."""
    own: dict[str, Any] = {}
    app = load(request, lambda app: own.update(theirs(app, request)))
    app.finalize()
    found = {"own": own, "request": request, "app": app}
    return {section.__name__: told(section, found) for section in SECTIONS}


def told(section: Callable[..., dict[str, Any]], found: dict[str, Any]) -> dict[str, Any]:
    """One section's object, also kept for the sections after it."""
    try:
        said = section(**found)
    except Exception as error:
        said = {"error": described(error)}
    found[section.__name__] = said
    return said


def theirs(app: Any, request: dict[str, Any]) -> dict[str, Any]:
    """What the project itself says to each setting that is brought in from outside, if it says anything."""
    own = {}
    for name in {**brought_in(app, request), **request["instead"], **request["at_most"]}:
        value = app.conf.get(name)  # first: the defaults are there only when something has been asked for
        if value != app.conf.maps[-1].get(name) or app.conf.value_set_for(name):
            own[name] = value
    for name, first in (("broker_url", "broker_host"), ("result_backend", "CELERY_RESULT_BACKEND")):
        value = app.conf.first(name, first)  # without the environment, which wins over it
        if value is not None:
            own[name] = value
    return own


def brought(app: Any, own: dict[str, Any], request: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Settings from the command line and the environment: {name: {"value", "own"}}; URLs are only said to differ."""
    values = {**brought_in(app, request), **request["instead"]}
    values |= {name: most for name, most in request["at_most"].items() if own.get(name, 0) > most}
    for name in ("broker_url", "result_backend"):
        if os.environ.get(f"CELERY_{name.upper()}"):
            values[name] = os.environ[f"CELERY_{name.upper()}"]
    found = {}
    for name, value in values.items():
        mine = own.get(name)
        if isinstance(mine, dict) and isinstance(value, dict):
            differs = any(value.get(key) != text for key, text in mine.items())  # what only adds overrides nothing
        else:
            differs = name in own and mine != value
        entry = {"value": value, "own": mine, "differs": differs}
        if any(word in name for word in SECRET):
            entry.update(value="***", own="***" if name in own else None)
        found[name] = entry
    return found


def broker(app: Any, **_: Any) -> dict[str, Any]:
    """Whether Celery reaches it; `url` is whole, with its password."""
    import kombu

    with app.connection_for_write() as connection:
        found = {
            "url": connection.as_uri(include_password=True),
            "shown": connection.as_uri(),
            "transport": connection.transport_cls,
            "kombu": kombu.__version__,
            "visibility": (connection.transport_options or {}).get("visibility_timeout"),
            "refused": None,
        }
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.2)
        except Exception as error:
            found["refused"] = one_line(error)
    return found


def results(app: Any, broker: dict[str, Any], **_: Any) -> dict[str, Any]:
    """The result backend: its class, whether it is none at all, and what reading from it said."""
    from celery.backends.base import DisabledBackend

    backend = app.backend
    found = {"backend": type(backend).__name__, "disabled": isinstance(backend, DisabledBackend), "refused": None}
    stores = [name for name, task in project_tasks(app).items() if not task.ignore_result]
    found["stored"] = stores if found["disabled"] else []
    if found["disabled"]:
        return found
    try:
        if type(backend).__module__ == "celery.backends.redis":
            backend.client.ping()  # its own reading tries again for minutes
        else:
            backend.get_task_meta("celeryhost-doctor", cache=False)
    except Exception as error:
        found["refused"] = described(error)
    return found


def project_tasks(app: Any) -> dict[str, Any]:
    return {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}


def databases(**_: Any) -> dict[str, Any]:
    """{alias: its backend, whether it is a `file`, and what connecting to it said}; a file is left alone, since one
    that is not there would be made. `given`: whether the environment names a server."""
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return {"given": False, "known": {}}
    from django.db import connections

    found = {}
    for alias in connections:
        connection = connections[alias]
        entry = found[alias] = {"backend": connection.vendor, "file": connection.vendor == "sqlite", "refused": None}
        if connection.vendor in ("postgresql", "mysql"):
            connection.settings_dict["OPTIONS"].setdefault("connect_timeout", REPLY_SECONDS)
        if not entry["file"] and connection.vendor != "unknown":
            try:
                connection.ensure_connection()
            except Exception as error:
                entry["refused"] = described(error)
    url = os.environ.get("DATABASE_URL", "")
    return {"given": bool(url) and not url.startswith("sqlite"), "known": found}


def limits(app: Any, request: dict[str, Any], **_: Any) -> dict[str, Any]:
    """The longest time limit of a task in seconds, and how many have none; a task's own wins over a worker's."""
    times = {name: task.time_limit or request["time_limit"] for name, task in project_tasks(app).items()}
    known = {name: seconds for name, seconds in times.items() if seconds}
    longest = max(known, key=lambda name: known[name], default=None)
    return {"task": longest, "seconds": known[longest] if longest else None, "unlimited": len(times) - len(known)}


def workers(app: Any, request: dict[str, Any], broker: dict[str, Any], **_: Any) -> dict[str, Any]:
    """{node: its answer or null}: tasks that it lacks, queues, seconds to its last ETA and of its running tasks."""
    from celery.utils.nodenames import default_nodename, host_format

    nodes = [host_format(default_nodename(name or None)) for name in request["nodes"]]
    if not nodes or broker["refused"]:
        return {}

    def ask(command: str, of: list[str], **arguments: object) -> dict[str, Any]:
        return asked(app, command, REPLY_SECONDS, destination=of, limit=len(of), **arguments) if of else {}

    there = sorted(ask("ping", nodes))
    known = ask("registered", there, arguments={"builtins": True})
    queues, waiting, running = (ask(command, there) for command in ("active_queues", "scheduled", "active"))
    found = dict.fromkeys(nodes)
    now = time.time()
    for node in there:
        names = {name.partition(" [")[0] for name in known.get(node) or ()}
        starts = [task.get("time_start") or now for task in running.get(node) or ()]
        found[node] = {
            "lacks": sorted(set(project_tasks(app)) - names),
            "queues": [queue["name"] for queue in queues.get(node) or ()],
            "eta": max((epoch(task["eta"]) - now for task in waiting.get(node) or ()), default=0),
            "longest": max((now - start for start in starts), default=0),
        }
    return found


def epoch(moment: datetime | str) -> float:
    """Of a datetime, or one in ISO 8601; without a time zone it is taken for UTC, as beat does."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def queues(app: Any, broker: dict[str, Any], workers: dict[str, Any], **_: Any) -> dict[str, Any]:
    """{queue: length now and a little later, the workers that read it}, `seconds` between, and of all those workers the
    tasks `done` meanwhile, whether one is `busy`, and whether any worker `answered`."""
    if broker["refused"]:
        return {"error": "the broker is not reached"}
    reading = {node: answer["queues"] for node, answer in workers.items() if answer}
    names = {name for queues in reading.values() for name in queues} | set(app.amqp.queues)
    names |= {destination(app, name) for name in project_tasks(app)}
    with app.connection_for_write() as connection:
        first, start = lengths(connection, names), time.monotonic()
        waiting = {name for name in names if first[name]}
        if waiting - {name for queues in reading.values() for name in queues}:  # perhaps by workers of other hosts
            replies = asked(app, "active_queues", REPLY_SECONDS / 2)
            reading.update((node, [queue["name"] for queue in reply or ()]) for node, reply in replies.items())
        readers = [node for node, queues in reading.items() if waiting.intersection(queues)]
        second, seconds, finished, busy = first, 0.0, None, False
        if waiting:
            before = total(app, readers)
            time.sleep(LOOK_SECONDS)
            second, seconds = lengths(connection, names), time.monotonic() - start
            finished = total(app, readers) - before
            running = asked(app, "active", REPLY_SECONDS, destination=readers, limit=len(readers)) if readers else {}
            busy = any(running.values())
    return {
        "seconds": seconds,
        "done": finished,
        "busy": busy,
        "answered": bool(reading),
        "queues": {
            name: {
                "before": first[name],
                "after": second[name],
                "readers": [node for node, queues in reading.items() if name in queues],
            }
            for name in sorted(names)
        },
    }


def lengths(connection: Any, names: Iterable[str]) -> dict[str, Any]:
    """How many messages wait in each queue; a queue that is not there is empty."""
    found = {}
    for name in names:
        with connection.channel() as channel:  # a refusal closes it
            try:
                found[name] = channel.queue_declare(name, passive=True).message_count
            except connection.channel_errors:
                found[name] = 0
    return found


def total(app: Any, nodes: list[Any]) -> int:
    """How many tasks those workers have taken since they started."""
    stats = asked(app, "stats", REPLY_SECONDS, destination=nodes, limit=len(nodes)) if nodes else {}
    return sum(sum((reply.get("total") or {}).values()) for reply in stats.values())


def beat(app: Any, request: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Its scheduler, time zones, entries, and the entries that are late: {name: seconds}."""
    given = request["beat"]
    if given is None:
        return {}
    found = {
        "scheduler": str(given["scheduler"] or app.conf.beat_scheduler),
        "timezone": str(app.timezone),
        "refused": None,
        "late": {},
        **django(),
    }
    try:
        from celery.utils.imports import symbol_by_name

        scheduler = symbol_by_name(found["scheduler"], aliases={"django": DATABASE})
        found["in_database"] = "django_celery_beat" in scheduler.__module__
        entries = list(in_database(given) if found["in_database"] else in_project(app, given))
    except Exception as error:
        found["refused"] = described(error)
        return found
    found["entries"] = len(entries)
    found["crontab_zone"] = crontab_zone() if found["in_database"] else None
    found["unread"] = 0 if found["in_database"] else unread(found.get("installed", ()))
    found["late"] = late(entries)
    found["unknown"] = unknown(app, found["in_database"])
    return found


DATABASE = "django_celery_beat.schedulers:DatabaseScheduler"


def crontab_zone() -> str:
    """The time zone of a crontab that is made in the Django admin and names none."""
    from django_celery_beat.models import CrontabSchedule

    return str(CrontabSchedule._meta.get_field("timezone").get_default())


def unread(installed: Collection[str]) -> int:
    """How many periodic tasks stand in the database, of people who think that beat reads them."""
    if "django_celery_beat" not in installed:
        return 0
    from django.db import DatabaseError
    from django_celery_beat.models import PeriodicTask

    try:
        return int(PeriodicTask.objects.filter(enabled=True).exclude(name__startswith="celery.").count())
    except DatabaseError:  # never migrated
        return 0


def unknown(app: Any, stored: bool) -> list[str]:
    """Tasks that entries send and the project does not have, each once."""
    if stored:
        from django_celery_beat.models import PeriodicTask

        names = set(PeriodicTask.objects.filter(enabled=True).values_list("task", flat=True))
    else:
        names = {entry["task"] for entry in app.conf.beat_schedule.values()}
    return sorted(names - set(app.tasks))


def late(entries: Iterable[Entry]) -> dict[str, Any]:
    """{name: seconds since it was due} of the `(name, schedule, last run)` whose time has come."""
    found = {}
    for name, schedule, last in entries:
        if last:
            over = -schedule.remaining_estimate(datetime.fromtimestamp(last, timezone.utc)).total_seconds()
            if over > 0:
                found[name] = round(over)
    return found


def in_project(app: Any, given: dict[str, Any]) -> Iterator[Entry]:
    from celery.schedules import maybe_schedule

    for name, entry in app.conf.beat_schedule.items():
        yield name, maybe_schedule(entry["schedule"], app=app), given["sent"].get(name, given["since"])


def in_database(given: dict[str, Any]) -> Iterator[Entry]:
    from django_celery_beat.models import PeriodicTask

    for task in PeriodicTask.objects.enabled():
        # One that has never run is reckoned from when it was made, as beat does, and none from before its start.
        moments = [given["sent"].get(task.name), given["since"]]
        moments += [epoch(moment) for moment in (task.last_run_at or task.date_changed, task.start_time) if moment]
        yield task.name, task.schedule, max((moment for moment in moments if moment), default=None)


def django(**_: Any) -> dict[str, Any]:
    """What of Django's settings concerns Celery; nothing in a project without Django."""
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return {}
    from django.conf import settings

    return {
        "installed": [name for name in settings.INSTALLED_APPS if name.startswith("django_celery_")],
        "django_timezone": settings.TIME_ZONE,
        "use_tz": settings.USE_TZ,
        "tz_aware": getattr(settings, "DJANGO_CELERY_BEAT_TZ_AWARE", True),
    }


def mysql(**_: Any) -> dict[str, Any]:
    """What of the Django extensions' tables MySQL would not index, see mysql.py."""
    return {"too_long": mysql_script.too_long() if os.environ.get("DJANGO_SETTINGS_MODULE") else None}


def redis(app: Any, **_: Any) -> dict[str, Any]:
    """Where Django's settings use a Redis without a password, see redis.py."""
    return {"places": redis_script.in_settings(app)}


SECTIONS = (brought, databases, broker, results, limits, workers, queues, beat, django, mysql, redis)


def main() -> None:
    """Answer the request on stdin."""
    respond(answer)

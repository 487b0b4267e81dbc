"""Read a project's beat schedule as beat itself would. Runs in the project's own Python and changes nothing.

It needs task.py beside it, Python 3.8 and Celery 5.2 or later. The request, one JSON object on stdin:

    do        "read" a project's schedule, or "explain" a typed expression
    next      how many next runs
    at        ISO 8601; null: now. Without an offset it is in the project's time zone
    ask       whether to ask the workers which tasks they register                (read)
    away      null, or while beat did not run: [from, until], seconds since the epoch; `from` null: since the last run
              of all; `until` null: it still does not
    app, options, settings  as in task.py                                  (read)
    scheduler, schedule     `-S` and `-s` of beat's command line, null without    (read)
    expression  {"kind": …, "fields": …}, fields as the arguments of Celery's class    (explain)
    zone        name of a time zone                                                    (explain)

The answer, one line of JSON: `zone`, `scheduler`, `now`, `remark` and `entries`; or `error` with `message` as in
task.py, and `expression` with `field`, `value` and `allowed`. Times are seconds since the epoch. An entry:

    name, task, args, kwargs, options   `plain`: whether they are JSON as they are
    kind, fields      crontab, interval, solar, clocked or other; for schedule/words.py
    given             what was written in the fields of a crontab
    zone              its own time zone
    next              [[time, ISO 8601 in its zone]]
    last_run_at, total_run_count        [time, ISO 8601 in its zone]; null, 0: it has not run
    enabled, registered  whether beat takes it, and whether there is such a task
    witness           who says `registered`: "workers", those that read its queue, or where none answers the "project"
    error             why Celery cannot say when it runs, or null
    missed            null, or what was due while beat was away: {count, more, first, last, late}; `more`: not all are
                      counted; `late`: one of them was run when beat was back
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from datetime import datetime, timedelta, timezone
from itertools import islice

from . import task as task_script
from .task import Refusal, described, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from typing import Any


MOST_MISSED = 1000
REPLY_SECONDS = 2  # for workers to say what they register
MOMENT = timedelta(microseconds=1)
FIELDS = {  # of a crontab: how many values there are, the first one, how to write them
    "minute": (60, 0, "0 to 59"),
    "hour": (24, 0, "0 to 23"),
    "day_of_week": (7, 0, "0 (Sunday) to 6, or sun to sat"),
    "day_of_month": (31, 1, "1 to 31"),
    "month_of_year": (12, 1, "1 to 12, or jan to dec"),
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    return explain(request) if request["do"] == "explain" else read(request)


def explain(request: dict[str, Any]) -> dict[str, Any]:
    """One entry without a task."""
    from celery import Celery

    app = Celery("explain", set_as_current=False)
    app.conf.timezone = request["zone"]
    try:
        at = moment(request["at"], app)
    except Exception as error:
        raise Refusal("zone", described(error)) from error
    schedule, fields = typed(request["expression"], app)
    entry = entry_of(app, schedule, {**request, "away": None}, at, None) if schedule else fields
    return {"zone": str(app.timezone), "now": at.timestamp(), "entries": [entry]}


def typed(expression: dict[str, Any], app: Any) -> tuple[Any, dict[str, Any] | None]:
    """(what Celery makes of a typed expression, None), or (None, the entry of one that can never run)."""
    from celery import schedules

    kind, fields = expression["kind"], expression["fields"]
    if kind == "crontab":
        sets = {name: expanded(name, value) for name, value in fields.items()}
        try:
            return schedules.crontab(app=app, **fields), None
        except ValueError as error:
            given = {name: written(fields.get(name, "*")) for name in FIELDS}
            sets = {
                name: sets.get(name, list(range(first, first + count))) for name, (count, first, _) in FIELDS.items()
            }
            return None, {"kind": kind, "fields": sets, "given": given, "zone": None, "next": [], "error": str(error)}
    if kind == "interval":
        try:
            every = timedelta(seconds=fields["seconds"])
        except (ValueError, OverflowError):
            raise Refusal("value", f"an interval of {fields['seconds']} seconds is too long for Python") from None
        return schedules.schedule(every, relative=fields["relative"], app=app), None
    try:
        return schedules.solar(fields["event"], fields["latitude"], fields["longitude"], app=app), None
    except ValueError as error:
        raise Refusal("value", error) from error
    except Exception as error:  # without ephem, ImproperlyConfigured
        raise Refusal("solar", "solar schedules need the package ephem") from error


def expanded(name: str, value: Any) -> list[int]:
    """The sorted numbers that Celery makes of one field of a crontab; raises Refusal."""
    from celery.schedules import crontab

    count, first, allowed = FIELDS[name]
    try:
        return sorted(crontab._expand_cronspec(set(value) if isinstance(value, list) else value, count, first))
    except Exception as error:
        said = str(error).strip() or "it does not parse"
        raise Refusal("expression", f"{name}={value!r}: {said}", field=name, value=value, allowed=allowed) from error


def read(request: dict[str, Any]) -> dict[str, Any]:
    app = load(request)
    try:
        app.finalize()
        zone, scheduler = str(app.timezone), request["scheduler"] or app.conf.beat_scheduler
        at = moment(request["at"], app)
        entries, remark = entries_of(app, scheduler, request)
    except Refusal:
        raise
    except Exception as error:
        raise Refusal("schedule", f"beat's schedule cannot be read: {described(error)}") from error
    request["away"] = since(request["away"], entries)
    found, taken = [], taken_by_workers(app, entries) if request["ask"] else {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        said = entry_of(app, entry.schedule, request, at, entry)
        said["registered"] = taken.get(entry.name, said["task"] in app.tasks)
        said["witness"] = "workers" if entry.name in taken else "project"
        found.append(said)
    return {"zone": zone, "scheduler": scheduler, "now": at.timestamp(), "remark": remark, "entries": found}


def taken_by_workers(app: Any, entries: list[Any]) -> dict[str, bool]:
    """{entry: whether a worker that reads its queue registers its task}, of those whose queue some worker reads.

    One worker's answer is enough where it settles all entries; else the others are waited for.
    """
    found = {}
    try:
        task_script.reach_broker(app)
        for limit in (1, None):
            tasks = task_script.registered(app, REPLY_SECONDS, limit)
            there = {"destination": list(tasks), "limit": len(tasks)}
            queues = task_script.asked(app, "active_queues", REPLY_SECONDS, **there)
            for entry in entries:
                queue = (entry.options or {}).get("queue") or task_script.destination(app, entry.task)
                readers = [worker for worker, read in queues.items() if queue in {one["name"] for one in read or ()}]
                if readers:
                    found[entry.name] = any(entry.task in tasks[worker] for worker in readers)
            if len(found) == len(entries) and all(found.values()):
                break
    except Refusal:  # the broker is away, or every worker
        pass
    return found


def since(away: list[Any] | None, entries: list[Any]) -> list[Any] | None:
    """`away`, begun at the last run of any entry where nothing else says when."""
    if not away or away[0]:
        return away
    runs = (aware(entry.last_run_at) for entry in entries if entry.total_run_count)
    last = [run.timestamp() for run in runs if run]
    return [max(last), away[1]] if last else None


def moment(text: str | None, app: Any) -> datetime:
    """A moment with a time zone, the app's where the text has none."""
    if text is None:
        return datetime.now(app.timezone)
    found = datetime.fromisoformat(text)
    if found.tzinfo:
        return found
    pytz = getattr(app.timezone, "localize", None)  # of Celery 5.2
    return pytz(found) if pytz else found.replace(tzinfo=app.timezone)


def entries_of(app: Any, name: str, request: dict[str, Any]) -> tuple[list[Any], str | None]:
    """(the entries of the scheduler that beat would use, a remark or None)."""
    from celery.beat import PersistentScheduler, Scheduler
    from celery.utils.imports import load_extension_class_names, symbol_by_name

    scheduler = symbol_by_name(name, aliases=dict(load_extension_class_names("celery.beat_schedulers")))
    if issubclass(scheduler, PersistentScheduler):
        store = request["schedule"] or app.conf.beat_schedule_filename
        with tempfile.TemporaryDirectory() as folder:
            for file in glob.glob(glob.escape(store) + "*"):
                if file[len(store) :] in (*scheduler.known_suffixes, "-wal"):  # of dbm.sqlite3
                    shutil.copy(file, folder)
            opened = scheduler(app, schedule_filename=os.path.join(folder, os.path.basename(store)))
            entries = list(opened.schedule.values())
            opened.close()
        return entries, None
    if any(base.__module__.startswith("django_celery_beat.") for base in scheduler.__mro__):
        return rows(app, scheduler)
    if scheduler.setup_schedule is Scheduler.setup_schedule:
        return list(scheduler(app).schedule.values()), None
    remark = f"how {name} keeps entries is unknown here: these are the settings'"
    return list(Scheduler(app).schedule.values()), remark


class Row:
    """An entry of django-celery-beat's tables, also one that beat leaves out."""

    def __init__(self, row: Any, app: Any, entry_class: Any, held: set[str] | None) -> None:
        self.held = held is None or row.name in held
        self.name, self.task, self.enabled = row.name, row.task, row.enabled
        self.args, self.kwargs, self.options = (), {}, {}
        self.schedule: Any = None
        self.ran, self.total_run_count = row.last_run_at is not None, row.total_run_count
        self.start, self.expires, self.once = in_django(row.start_time), in_django(row.expires), row.one_off
        self.error = None
        row.save = lambda *args, **kwargs: None  # an entry disables a row that is broken
        try:
            entry = entry_class(row, app=app)
            self.args, self.kwargs, self.schedule = entry.args, entry.kwargs, entry.schedule
            # `expires` as a moment is the end of the schedule, and not of one message.
            self.options = {key: value for key, value in entry.options.items() if not isinstance(value, datetime)}
        except ValueError as error:
            self.error = f"beat leaves it out: {described(error)}"
        except Exception as error:
            self.error = f"beat fails on it: {described(error)}"
        self.last_run_at = row.last_run_at
        if self.start and not self.ran and getattr(self.schedule, "run_every", None):
            self.last_run_at = self.start - self.schedule.run_every


def in_django(moment: Any) -> Any:
    """A moment of a table, with Django's time zone where the project keeps none."""
    from django.utils import timezone as django

    return django.make_aware(moment) if moment and django.is_naive(moment) else moment


def rows(app: Any, scheduler: Any) -> tuple[list[Any], str | None]:
    """What is in the tables, and of the settings what beat puts there when it starts."""
    from celery.beat import Scheduler
    from django.db import connections

    models = scheduler.Model.objects.select_related("interval", "crontab", "solar", "clocked").order_by("name")
    in_hand = held(scheduler)
    found = [Row(row, app, scheduler.Entry, in_hand) for row in models]
    connections.close_all()  # else SQLite leaves its files for recovery
    names = {entry.name for entry in found}
    settings = Scheduler(app, lazy=True)
    settings.merge_inplace(app.conf.beat_schedule)
    coming = [entry for name, entry in settings.schedule.items() if name not in names]
    said = ", ".join(repr(entry.name) for entry in coming)
    return found + coming, f"beat puts {said} into the database when it starts" if coming else None


def held(scheduler: Any) -> set[str] | None:
    """The entries that beat has in hand; None for all.

    django-celery-beat from 2.8 on takes a crontab of one hour only from two hours before it to two hours after it.
    What was missed for longer is made up for when that time comes again, up to two hours early.
    """
    try:
        return set(scheduler.enabled_models_qs(object.__new__(scheduler)).values_list("name", flat=True))
    except AttributeError:  # of older releases
        return None


def entry_of(app: Any, schedule: Any, request: dict[str, Any], at: datetime, entry: Any) -> dict[str, Any]:
    """What the answer says of one entry; `entry` None for a typed expression."""
    kind, fields, given = kind_of(schedule)
    zone = getattr(schedule, "tz", None) or app.timezone
    found: dict[str, Any] = {"kind": kind, "fields": fields, "given": given, "zone": str(zone)}
    found |= {"next": [], "error": None}
    last = row = None
    if entry is not None:
        last, row = aware(entry.last_run_at), entry if isinstance(entry, Row) else None
        found.update(facts(entry, last, zone))
    if schedule is None or found["error"] or not found.get("enabled", True):
        return found
    try:
        found["next"] = following(schedule, at, last, zone, row, request["next"])
        if last and request["away"]:
            found["missed"] = missed(schedule, request["away"], last, zone, row)
    except Exception as error:  # a crontab that never comes, in Celery before 5.7; a schedule class of the project's
        found["error"] = described(error)
    return found


def facts(entry: Any, last: datetime | None, zone: tzinfo) -> dict[str, Any]:
    """What an entry says besides its schedule."""
    ran = getattr(entry, "ran", bool(entry.total_run_count))
    args, kwargs, options = list(entry.args or ()), dict(entry.kwargs or {}), dict(entry.options or {})
    return {
        "name": entry.name,
        "task": entry.task,
        "args": args,
        "kwargs": kwargs,
        "options": options,
        "plain": all(map(is_plain, (args, kwargs, options))),
        "last_run_at": pair(last.astimezone(zone)) if ran and last else None,
        "total_run_count": entry.total_run_count,
        "enabled": getattr(entry, "enabled", True),
        "error": getattr(entry, "error", None),
        "missed": None,
    }


def pair(moment: datetime) -> list[Any]:
    return [moment.timestamp(), moment.isoformat()]


def following(
    schedule: Any, at: datetime, last: datetime | None, zone: tzinfo, row: Row | None, count: int
) -> list[list[Any]]:
    return list(map(pair, islice(runs(schedule, at, last, zone, row), count)))


def kind_of(schedule: Any) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """(kind, fields, given) of a schedule, for whoever puts it in words."""
    from celery import schedules

    if isinstance(schedule, schedules.crontab):
        sets = {name: sorted(getattr(schedule, name)) for name in FIELDS}
        return "crontab", sets, {name: written(getattr(schedule, f"_orig_{name}")) for name in FIELDS}
    if isinstance(schedule, schedules.solar):
        fields = {"event": schedule.event, "latitude": float(schedule.lat), "longitude": float(schedule.lon)}
        return "solar", fields, None
    if isinstance(schedule, schedules.schedule):
        return "interval", {"seconds": schedule.run_every.total_seconds(), "relative": bool(schedule.relative)}, None
    if hasattr(schedule, "clocked_time"):
        return "clocked", {"time": schedule.clocked_time.isoformat(sep=" ", timespec="minutes")}, None
    return "other", {"text": "nothing" if schedule is None else repr(schedule)}, None


def written(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else ",".join(map(str, sorted(value)))
        if hasattr(value, "__iter__")
        else str(value)
    )


def is_plain(value: object) -> bool:
    """Whether JSON holds it without loss; a list for a tuple is none, to Celery's own serializer too."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def aware(last: datetime | None) -> datetime | None:
    return last if last is None or last.tzinfo else last.replace(tzinfo=timezone.utc)


def runs(schedule: Any, at: datetime, last: datetime | None, zone: tzinfo, row: Row | None) -> Iterator[datetime]:
    """When it runs from `at` on, as far as a Row allows: from its start, until it expires, perhaps once."""
    if row and row.start:
        at = max(at, row.start)
    for run in reckoned(schedule, at, last, zone):
        if row and ((row.expires and run >= row.expires) or (row.once and row.ran)):
            return
        yield run
        if row and row.once:
            return


def reckoned(schedule: Any, at: datetime, last: datetime | None, zone: tzinfo) -> Iterator[datetime]:
    """The runs from `at` on by Celery's own reckoning, each from the one before, as beat goes."""
    if hasattr(schedule, "clocked_time"):  # which asks for no last run
        yield max(schedule.clocked_time, at).astimezone(zone)
        return
    every = getattr(schedule, "run_every", None)
    if every is None:
        last = at - MOMENT
    elif last is None:
        last = at
    elif every > timedelta(0) and last < at:
        last += ((at - last - MOMENT) // every) * every  # by a leap, as there may be years of seconds
    while True:
        run = after(schedule, last, zone)
        if run.timestamp() > last.timestamp():  # within a zone, > would not see an hour that comes twice
            if run.timestamp() >= at.timestamp():
                yield run
            last = run
        elif last.astimezone(zone).fold:  # of that hour Celery takes the first, which is over
            last = last.astimezone(timezone.utc) + timedelta(hours=1)
        else:
            return


def after(schedule: Any, last: datetime, zone: tzinfo) -> datetime:
    """The run that Celery expects next when one was at `last`."""
    last = last.astimezone(zone)
    schedule.nowfun = lambda: last
    remaining: timedelta = schedule.remaining_estimate(last)
    return (last.astimezone(timezone.utc) + remaining).astimezone(zone)


def missed(schedule: Any, away: list[Any], last: datetime, zone: tzinfo, row: Row | None) -> dict[str, Any] | None:
    """The runs that were due while beat was away; once it is back, all but one, which it then makes up for."""
    begin = datetime.fromtimestamp(away[0], timezone.utc)
    until = datetime.fromtimestamp(away[1], timezone.utc) if away[1] else None
    end = until or datetime.now(timezone.utc)
    late = until and (last >= end or row is None or row.held)
    if last >= end:
        last = begin
    found: list[datetime] = []
    for run in runs(schedule, max(begin, last) + MOMENT, last, zone, row):
        if run > end or len(found) > MOST_MISSED:
            break
        found.append(run)
    if len(found) < (2 if late else 1):
        return None
    more, found = len(found) > MOST_MISSED, found[:MOST_MISSED]
    return {"count": len(found), "more": more, "first": pair(found[0]), "last": pair(found[-1]), "late": bool(late)}


def main() -> None:
    task_script.main(answer)

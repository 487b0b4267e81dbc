"""Beat: that it ticks, that there is one, with the scheduler and the time zone that the project means."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..celery import command_line
from ..celery.active import broker
from ..celery.command_line import option
from . import Finding, Skip, fail, ok, skip, warn
from .host import App, Host, Part, processes, section

LATE = 15  # seconds; beat itself is late by less than one


def _beat(app: App) -> Part:
    """Its beat; raises Skip where another host has it."""
    if not app.beats:
        raise Skip("no beat on this host")
    return app.beats[0]


def beats(host: Host, app: App) -> Iterator[Finding]:
    """Two beats send every task twice. One that waits for the lock (flock) is a standby and no second one."""
    part = _beat(app)
    try:
        url = section(app, "broker")["url"]
    except Skip:
        url = None
    there = running(part, processes(), url)
    if len(there) > 1:
        yield fail(
            app.name,
            f"periodic tasks are executed twice: {len(there)} beats run",
            f"processes {', '.join(map(str, there))}: a beat was left over, or is started elsewhere too (worker -B)",
            f"end what Supervisor did not start (it has {part.row.pid if part.row else 'none'}): kill PID",
        )
    elif not there:
        cause = f"no beat runs; {part.name} is {part.row.state if part.row else 'not known to supervisord'}"
        yield fail(app.name, "periodic tasks are not executed", cause, f"celeryhost start {part.name}")
    elif _state(there[0]) in ("T", "t"):
        yield fail(
            part.name,
            "beat has stopped: no periodic task is executed, its state is RUNNING",
            f"process {there[0]} is stopped (SIGSTOP)",
            f"celeryhost restart {part.name}, or kill -CONT {there[0]}",
        )
    else:
        yield ok(part.name, "one beat")


def running(part: Part, known: dict[int, list[str]], url: str | None = None) -> list[int]:
    """Processes of `known` that are a beat for the same app: not those that wait for the lock, no worker's children,
    and none that sends elsewhere. `url` is the app's broker, where that is known."""
    app = option(part.words, "-A", "--app")
    url = url or part.program.environment.get("CELERY_BROKER_URL")
    found = []
    for pid, words in known.items():
        command = command_line.of_process(words)
        if command is None or not command_line.is_beat(command) or option(command.words, "-A", "--app") != app:
            continue
        if known.get(_parent(pid)) != words and _is_same(pid, command, part, url):
            found.append(pid)
    return found


def _is_same(pid: int, command: command_line.Command, part: Part, url: str | None) -> bool:
    """Two projects may both be `-A config`, and one project may run twice for two brokers. The folder and the broker
    tell them apart, where this user may see them; of another container's beat, only the broker."""
    try:
        theirs = broker(command.words, pid)
    except OSError:
        return True
    elsewhere = _namespace(pid, "pid") != _namespace("self", "pid")
    if theirs and url:
        if _place(theirs, pid) != _place(url, "self"):
            return False
        if elsewhere:
            return True
    return not elsewhere and _is_same_place(pid, part)


def _place(url: str, pid: int | str) -> tuple[Any, Any, str]:
    """What is the same for two addresses of one broker's database; `pid` is whose network the address is of."""
    parts = urlsplit(url)
    try:
        port = parts.port or (6379 if parts.scheme.startswith("redis") else None)
    except ValueError:
        port = None
    host = (parts.hostname or "localhost") if "socket" not in parts.scheme else parts.path
    network = _namespace(pid, "net" if "socket" not in parts.scheme else "mnt")
    try:
        address = socket.gethostbyname(host)
    except (OSError, UnicodeError):
        address = host
    if address.startswith("127.") or host in ("localhost", "::1") or host.startswith("/"):
        return ("here" if not host.startswith("/") else host, network), port, parts.path.strip("/") or "0"
    if _is_own(address):
        return ("here", _namespace("self", "net")), port, parts.path.strip("/") or "0"
    return address, port, parts.path.strip("/") or "0"


def _is_own(address: str) -> bool:
    """Whether an address is this machine's."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
        return True
    except OSError:
        return False


def _namespace(pid: int | str, kind: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def _is_same_place(pid: int, part: Part) -> bool:
    try:
        return os.path.realpath(os.readlink(f"/proc/{pid}/cwd")) == os.path.realpath(part.program.directory or "/")
    except OSError:
        return True


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return ["", "0"]


def _state(pid: int) -> str:
    return _stat(pid)[0]


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def ticking(host: Host, app: App) -> Iterator[Finding]:
    """By Celery's own reckoning of when each entry was due after it was last sent, as beat's log says."""
    part = _beat(app)
    if not part.row or not part.row.pid or time.time() - part.row.started < LATE:
        raise Skip("beat has only just started, or does not run")
    found = section(app, "beat")
    if found["refused"]:
        raise Skip("the schedule cannot be read")
    late = {name: seconds for name, seconds in found["late"].items() if seconds > LATE}
    if late:
        name = max(late, key=lambda name: late[name])
        yield fail(
            part.name,
            f"beat has stopped: {name!r} was due {late[name]} s ago",
            "beat hangs, waits for the broker, or was started before the schedule changed",
            f"celeryhost logs {part.name}; celeryhost restart {part.name}",
        )
    elif option(part.words, "-l", "--loglevel").upper() not in ("INFO", "DEBUG") and not found.get("in_database"):
        yield skip(part.name, "its log tells of no ticks: set its loglevel to INFO")
    else:
        yield ok(part.name, f"{found['entries']} entries, none late")


def scheduler(host: Host, app: App) -> Iterator[Finding]:
    """https://django-celery-beat.readthedocs.io: without its scheduler nothing reads what the admin's page holds."""
    part, found = _beat(app), section(app, "beat")
    if found["refused"]:
        yield fail(
            part.name,
            found["refused"],
            f"the schedule of {found['scheduler']} cannot be read",
            "correct beat's scheduler; for one in the database: INSTALLED_APPS, then manage.py migrate",
        )
    elif found["unread"]:
        yield warn(
            part.name,
            "periodic tasks of the Django admin are never executed",
            f"{found['unread']} stand in django_celery_beat's table, and beat uses {found['scheduler']}",
            "set scheduler: django_celery_beat.schedulers:DatabaseScheduler",
        )
    elif found["unknown"]:
        yield warn(
            part.name,
            f"Received unregistered task of type {found['unknown'][0]!r}. The message has been ignored",
            f"beat sends {', '.join(found['unknown'])}, which the project does not have",
            "correct the name in the schedule, unless another project's workers have that task",
        )
    elif not found["entries"]:
        yield warn(part.name, "no periodic task is executed", "the schedule is empty", "fill it, or set beat: false")
    else:
        yield ok(part.name, f"{found['scheduler']}, {found['entries']} entries")


def zone(host: Host, app: App) -> Iterator[Finding]:
    """https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html#time-zones

    Without USE_TZ, as seen with django-celery-beat 2.9: a new entry in Asia/Seoul first ran 9 hours late, one in
    America/New_York at once.
    """
    part, found = _beat(app), section(app, "beat")
    django, stored = found.get("django_timezone"), found.get("in_database")
    if django and not found["use_tz"] and found["tz_aware"] and stored:
        yield warn(
            part.name,
            "can't compare offset-naive and offset-aware datetimes, or tasks some hours late",
            "USE_TZ is False and DJANGO_CELERY_BEAT_TZ_AWARE is not",
            "set USE_TZ = True, or else DJANGO_CELERY_BEAT_TZ_AWARE = False",
        )
    elif django and not found["use_tz"] and django != "UTC" and stored:
        yield warn(
            part.name,
            "a new entry of the Django admin first runs hours late, or at once",
            f"USE_TZ is False, and django-celery-beat takes the moment when it was made, in {django}, for one in UTC",
            "set USE_TZ = True",
        )
    elif django and django != found["timezone"]:
        yield warn(
            part.name,
            "crontabs fire at the wrong hour",
            f"Celery's timezone is {found['timezone']}, Django's TIME_ZONE {django}",
            f"set timezone = {django!r} (CELERY_TIMEZONE)",
        )
    elif found.get("crontab_zone") not in (None, found["timezone"]):
        yield warn(
            part.name,
            "a crontab of the Django admin fires at the wrong hour",
            f"its form begins with time zone {found['crontab_zone']}, and Celery's is {found['timezone']}",
            f"choose the zone in the form, or set CELERY_TIMEZONE = {found['timezone']!r} in Django's settings and let "
            "the app read them: app.config_from_object('django.conf:settings', namespace='CELERY')",
        )
    else:
        yield ok(part.name, found["timezone"])

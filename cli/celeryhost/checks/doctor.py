"""What is wrong on a host, in the words that people search for: the table of all checks, and going through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from ..errors import FAILED
from ..errors import OK as FINE
from ..masking import hide_passwords
from ..project.tasks import MISREAD
from . import FAIL, OK, ROOT, SKIP, Finding, Skip, beat, fail, machine, messages, programs, project, redis, supervision
from .host import Host, processes

HOST, APP, REDIS = "host", "app", "redis"


class Check(NamedTuple):
    """A check: its name, what it is of (`host`; each `app`; each `redis`), its function (checks/), and what
    to say when that finds nothing to say."""

    name: str
    of: str
    look: Callable[..., Iterator[Finding]]
    good: str | None


MISREAD_FIX = "see that its virtual environment is whole: celeryhost provision"
LONGEST = 2000  # characters of a text: what the project has said is in some

CHECKS = (
    Check("supervisord", HOST, supervision.supervisord, "answers"),
    Check("programs", HOST, supervision.programs, "none is here"),
    Check("configuration", HOST, supervision.configuration, "what is on disk is what runs"),
    Check("started", HOST, supervision.warning, "started with -c, or not as root"),
    Check("descriptors", HOST, supervision.files, "enough"),
    Check("paths", APP, programs.paths, "all there"),
    Check("user", APP, programs.users, "nothing of it runs"),
    Check("code", APP, programs.code, "nothing of it runs"),
    Check("app", APP, project.app, "loads"),
    Check("removed", APP, project.removed, "nothing that Celery has removed is imported"),
    Check("publisher", APP, project.publisher, "the project's package imports its app"),
    Check("settings", APP, project.settings, "nothing is brought in from outside"),
    Check("broker", APP, messages.broker, "answers"),
    Check("results", APP, messages.results, "answers"),
    Check("database", APP, project.databases, "the project has none"),
    Check("passwords", APP, project.redis, "nothing of Django's settings uses a Redis without its password"),
    Check("mysql", APP, project.mysql, "no MySQL, or its indexes take what the Django extensions need"),
    Check("worker", APP, messages.workers, "no worker on this host"),
    Check("queue", APP, messages.queues, "no queue"),
    Check("grace", APP, programs.grace, "no worker on this host"),
    Check("visibility", APP, messages.visibility, "long enough"),
    Check("beat", APP, beat.beats, "one beat"),
    Check("ticking", APP, beat.ticking, "none late"),
    Check("scheduler", APP, beat.scheduler, "as the project means"),
    Check("timezone", APP, beat.zone, "as the project means"),
    Check("logs", APP, programs.logs, "there, and rotated"),
    Check("disk", APP, programs.disk, "enough is free"),
    Check("redis-version", REDIS, redis.version, "new enough"),
    Check("redis-eviction", REDIS, redis.eviction, "evicts no queue"),
    Check("redis-persistence", REDIS, redis.persistence, "keeps its data"),
    Check("redis-memory", REDIS, redis.memory, "enough"),
    Check("redis-exposure", REDIS, redis.exposure, "strangers do not reach it"),
    Check("redis-overcommit", REDIS, redis.overcommit, "vm.overcommit_memory is 1"),
    Check("clock", HOST, machine.clock, "synchronised"),
    Check("reboot", HOST, machine.reboot, "none pending"),
)


def examine(host: Host) -> Iterator[Finding]:
    """Look at this machine and yield Findings, in the order of CHECKS.

    Raises Failure: UNKNOWN for an app that is not here, USAGE for a configuration file that is none.
    """
    if host.names:
        with suppress(Skip):
            _subjects(host, APP)
    for check in CHECKS:
        try:
            subjects = _subjects(host, check.of)
        except Skip as reason:
            yield Finding(SKIP, check.of, str(reason), check=check.name)
            continue
        for name, args in subjects:
            yield from _looked(check, name, args)


def _subjects(host: Host, of: str) -> list[tuple[Any, ...]]:
    if of == HOST:
        return [("machine", (host,))]
    if of == APP:
        if not host.apps:
            raise Skip("no Celery worker or beat is here")
        return [(app.name, (host, app)) for app in host.apps]
    return [(server.subject, (server,)) for server in host.redises]


def _looked(check: Check, name: str, args: tuple[Any, ...]) -> Iterator[Finding]:
    found = 0
    try:
        for finding in check.look(*args):
            found += 1
            texts = (finding.symptom, finding.cause, finding.fix)
            symptom, cause, fix = (hide_passwords((text or "")[:LONGEST]) or None for text in texts)
            yield finding._replace(check=check.name, symptom=symptom, cause=cause, fix=fix)
    except Skip as reason:
        yield Finding(SKIP, name, str(reason), check=check.name)
    except PermissionError:
        yield Finding(SKIP, name, ROOT, check=check.name)
    except MISREAD as error:  # one app's Python, which may be any program, hides no other finding
        cause = f"{type(error).__name__}: {error}"[:LONGEST]
        yield Finding(FAIL, name, "what it answers makes no sense", cause, MISREAD_FIX, check.name)
    else:
        if not found:
            yield Finding(OK, name, check.good, check=check.name)


def beats(host: Host) -> list[dict[str, Any]]:
    """The apps whose beat runs here, with what tells their brokers apart wherever one is asked: `app`, `broker`."""
    found = []
    with suppress(Skip):
        for app in host.apps:
            with suppress(Skip, *MISREAD):
                if app.beats and beat.running(app.beats[0], processes()):
                    found.append({"app": app.name, "broker": messages.identity(app)})
    return found


def rivals(beats_by_host: dict[str, list[dict[str, Any]]]) -> Iterator[Finding]:
    """Findings about beats of several hosts that fill the same broker, of the same app."""
    hosts: dict[tuple[Any, ...], list[str]] = {}
    for host, running in beats_by_host.items():
        for entry in running:
            hosts.setdefault((entry["app"], entry["broker"]), []).append(host)
    for (app, _), names in hosts.items():
        if len(names) > 1:
            yield fail(
                app,
                f"periodic tasks are executed {len(names)} times: beat runs on {' and '.join(sorted(names))}",
                "each of them sends every task to the same broker",
                "keep one of these hosts in group celery_beat, and provision again",
            )._replace(check="beat")


def exit_code(findings: Iterable[Finding]) -> int:
    """FAILED when one of them is a FAIL."""
    return FAILED if any(finding.level == FAIL for finding in findings) else FINE

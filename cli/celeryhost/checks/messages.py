"""The way of a message: broker, worker, queue, visibility timeout, result."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ..paths import redis_here
from . import Finding, Skip, fail, ok, warn
from .host import App, Host, section
from .redis import Redis

# What a broker's client says, what that means, and how to mend it.
PASSWORD = "celeryhost provision brings both into step; else correct CELERY_BROKER_URL (or broker_url) and restart"
START = "systemctl start {service}; celeryhost provision if its address has changed"
MEANINGS = (
    ("Authentication required", "the broker's URL has no password and Redis asks for one", PASSWORD),
    ("invalid username-password", "the password in the broker's URL is not Redis's", PASSWORD),
    ("WRONGPASS", "the password in the broker's URL is not Redis's", PASSWORD),
    ("AUTH <password> called", "the broker's URL has a password and Redis asks for none", PASSWORD),
    ("Connection refused", "nothing listens there: Redis is stopped, or on another host or port", START),
    ("not known", "DNS does not know that host", "correct the host in the broker's URL, or /etc/resolv.conf"),
    ("timed out", "a firewall drops it, or Redis hangs", "try {cli} -h HOST ping from here"),
    ("LOADING", "Redis is still reading its data", "wait"),
    ("", "the broker refuses it", "see the broker's log"),
)
VISIBILITY = 3600  # seconds, kombu's default for Redis
WITH_VISIBILITY = ("redis", "rediss", "sqs")


def identity(app: App) -> str:
    """What is the same for one broker from whichever host and by whichever address; raises Skip."""
    found = section(app, "broker")
    if found["transport"] not in ("redis", "rediss"):
        return str(found["shown"])
    info, _ = Redis(found["url"]).facts
    return f"{info['run_id']}/{urlsplit(found['url']).path.strip('/') or '0'}"


def broker(host: Host, app: App) -> Iterator[Finding]:
    """With a broker that refuses it a worker is RUNNING and useless."""
    found = section(app, "broker")
    shown = found["shown"]
    if not found["refused"]:
        yield ok(app.name, f"{shown} answers")
        return
    cause, fix = next((cause, fix) for words, cause, fix in MEANINGS if words in found["refused"])
    yield fail(
        app.name,
        f"Cannot connect to {shown}: {found['refused']}",
        cause,
        fix.format_map(redis_here()),
    )


def results(host: Host, app: App) -> Iterator[Finding]:
    """Reads from it: a table that was not migrated, or a wrong password, shows nowhere else before the first result."""
    found = section(app, "results")
    if found["disabled"]:
        stored = ", ".join(found["stored"][:3])
        if stored:
            yield warn(
                app.name,
                "'DisabledBackend' object has no attribute '_get_task_meta_for'",
                f"no result backend is configured, and tasks such as {stored} do not say ignore_result",
                "set result_backend (CELERY_RESULT_BACKEND), or never ask for their results",
            )
        else:
            yield ok(app.name, "no result backend, and no task that would need one")
    elif found["refused"]:
        locked = "Authentication required" in found["refused"]
        yield fail(
            app.name,
            found["refused"],
            f"the result backend ({found['backend']}) "
            + ("asks for a password that its URL lacks" if locked else "cannot be read"),
            "write results: redis in celery_apps, or give result_backend its password"
            if locked
            else "manage.py migrate for a database; else correct result_backend",
        )
    else:
        yield ok(app.name, f"{found['backend']} answers")


def workers(host: Host, app: App) -> Iterator[Finding]:
    """A main process that hangs is RUNNING to Supervisor; a worker started before the code changed lacks its tasks."""
    if section(app, "broker")["refused"]:
        raise Skip("the broker is not reached")
    for part, (node, answer) in zip(app.workers, section(app, "workers").items(), strict=False):
        state = part.row.state if part.row else "not started"
        if answer is None:
            hangs = state == "RUNNING"
            yield fail(
                part.name,
                f"Error: No nodes replied within time constraint ({node})",
                "its main process hangs, has lost the broker, or uses another one" if hangs else f"it is {state}",
                f"celeryhost restart {part.name}" if hangs else f"celeryhost start {part.name}; celeryhost logs",
            )
        elif answer["lacks"]:
            yield fail(
                part.name,
                f"Received unregistered task of type {answer['lacks'][0]!r}. The message has been ignored",
                f"it does not know {', '.join(answer['lacks'][:5])}: it was started before the code changed",
                f"celeryhost restart {part.name}",
            )
        else:
            yield ok(part.name, f"{node} answers and knows its tasks")


def queues(host: Host, app: App) -> Iterator[Finding]:
    """Two looks at each queue that has something in it, with what the workers finished between them."""
    found = section(app, "queues")
    for name, queue in found["queues"].items():
        before, after = queue["before"], queue["after"]
        if not after:
            yield ok(app.name, f"{name}: empty")
        elif not queue["readers"]:
            yield fail(
                app.name,
                f"tasks stay PENDING: {after} wait in queue {name!r}",
                "no worker that answers reads it" if found["answered"] else "no worker answers",
                f"add {name} to `queues` of a worker (-Q)" if found["answered"] else "see check `worker`",
            )
        elif not found["done"] and not found["busy"]:
            yield fail(
                app.name,
                f"tasks stay PENDING: {after} wait in queue {name!r}, the worker is RUNNING and takes none",
                "its children hang, or what it reserved never ends",
                f"celeryhost restart {app.name}",
            )
        elif after > before:
            yield warn(
                app.name,
                f"queue {name!r} is growing: {before}, and {found['seconds']:.0f} s later {after}",
                f"more tasks are sent than done ({found['done']} in that time)",
                "raise `concurrency`, add a worker, or send fewer",
            )
        else:
            yield ok(app.name, f"{name}: {after} wait, {found['done']} taken in {found['seconds']:.0f} s")


def visibility(host: Host, app: App) -> Iterator[Finding]:
    """https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout: what
    is not acknowledged by then is given to another worker."""
    found = section(app, "broker")
    if found["transport"] not in WITH_VISIBILITY:
        raise Skip(f"{found['transport']} has no visibility timeout")
    timeout = found["visibility"] or VISIBILITY
    limits = section(app, "limits")
    answers = [answer for answer in section(app, "workers").values() if answer]
    eta = max((answer["eta"] for answer in answers), default=0)
    running = max((answer["longest"] for answer in answers), default=0)
    symptom = f"a task is executed several times (visibility_timeout {timeout:g} s)"
    fix = "raise visibility_timeout in broker_transport_options, for the worker and for the web process"
    longest = max(limits["seconds"] or 0, running)
    if longest >= timeout:
        what = limits["task"] if limits["seconds"] == longest else "a task that runs now"
        yield fail(app.name, symptom, f"{what} may take {longest:.0f} s", fix)
    if eta >= timeout:
        cause = f"a task with an ETA {eta:.0f} s away is held by a worker"
        yield fail(app.name, symptom, cause, f"{fix}; or keep such a time in the database and let beat send it")
    if longest < timeout and eta < timeout:
        yield ok(app.name, f"{timeout:g} s, longer than every task and ETA")

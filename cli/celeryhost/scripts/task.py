"""Send one Celery task and wait for its result. Runs in the project's own Python, so it stands alone.

    cd DIRECTORY && ENVIRONMENT python -c "$(cat task.py)" < request.json

With `-c` the first place of modules is the working directory, as for `celery -A`, and not the folder of this file.
schedule.py builds on it.
Needs Python 3.8 and Celery 5.2 or later. The request, one JSON object on stdin:

    app       as in `celery -A`
    task      name; null: Celery's own `celery.accumulate`, in a queue that a worker really reads
    args      list, kwargs: object; what the task gets
    sending   options of apply_async; may be left out
    timeout   seconds until a worker must have answered and the result be there
    starting  whether a worker may take all that time to answer, because it is about to start; may be left out
    options   {"broker": …, "result_backend": …}, what the worker's command line overrides; may be left out
    settings  the worker's settings after `--`; may be left out

The answer, one line of JSON on stdout: `task`, `id`, `seconds`, `result`, and `remark`, why there is no result although
the task ran, else null; or `error`, one of ERRORS, with `message`, and `known`, the names of all tasks, for `unknown`.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import time
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any


# project: it does not load; broker: not reached; silent: no worker answers; unknown: no worker knows the task;
# arguments: they do not fit; failed: the task raised; timeout: no result in time; backend: the result is not readable.
ERRORS = ("project", "broker", "silent", "unknown", "arguments", "failed", "timeout", "backend")
DEFAULT_TASK = "celery.accumulate"
# It gives back {}, which a project's own signals for results, made for those of its tasks, most often can read.
DEFAULT_ARGUMENTS = {"args": [{}], "kwargs": {"index": 0}}
NO_RESULT = "a worker ran it and stored no result: ignore_result is set, or its result backend is another one"
REPLY_SECONDS = 10  # a small board needs some


class Refusal(Exception):
    """An `error` of the answer, its `message` and what else belongs to it."""

    def __init__(self, error: str, message: object, **more: object) -> None:
        super().__init__(message)
        self.answer = {"error": error, "message": one_line(message), **more}


def one_line(message: object) -> str:
    """The last line that says something: of a traceback that is the exception."""
    return ([line.strip() for line in str(message).splitlines() if line.strip()] or [repr(message)])[-1].rstrip(".")


def described(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}" if str(error) else type(error).__name__


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What happened to the task; raises Refusal."""
    app = load(request)
    reach_broker(app)
    reach_results(app)
    end = time.monotonic() + request["timeout"]
    patience = request["timeout"] if request.get("starting") else min(REPLY_SECONDS, request["timeout"])
    workers = first_to_answer(app, patience)
    name, options = request["task"], request.get("sending") or {}
    if name is None:
        name, request = DEFAULT_TASK, request | DEFAULT_ARGUMENTS
        options = {"queue": queue_of(app, sorted(workers)[0])}
    elif not any(name in tasks for tasks in workers.values()):
        workers = registered(app, 2, None)  # the first to answer was not the only one
        known = sorted({task for tasks in workers.values() for task in tasks})
        if name not in known:
            raise Refusal("unknown", f"no worker knows a task {name!r}", known=known)
    before = count(app, workers, name)
    start = time.monotonic()
    sent = send(app, name, request["args"], request["kwargs"], options)
    result, remark = outcome(app, sent, name, workers, before, end)
    seconds = round(time.monotonic() - start, 3)
    return {"task": name, "id": sent.id, "seconds": seconds, "result": result, "remark": remark}


def load(request: dict[str, Any], look: Callable[[Any], object] | None = None) -> Any:
    """The app with all its tasks, set up as the worker's command line sets it up; `look(app)` sees it before that."""
    try:
        from celery.app.utils import find_app

        app = find_app(request["app"])
        if look:
            look(app)
        app.conf.update(brought_in(app, request))
        app.loader.import_default_modules()
    except (Exception, SystemExit) as error:
        where = place(error)
        said = "celery -A {} does not load: {}{}".format(
            request["app"], described(error), f" ({where})" if where else ""
        )
        raise Refusal("project", said) from error
    return app


def brought_in(app: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The settings that the worker's command line gives to the app, by Celery's names."""
    options = request.get("options") or {}
    found = {{"broker": "broker_url"}.get(name, name): value for name, value in options.items()}
    return {**found, **app.loader.cmdline_config_parser(request.get("settings") or (), "worker")}


def place(error: BaseException) -> str | None:
    """`file:line` of the project's own code where an error came up; None where it was in nobody's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    library = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep
    found = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if os.path.isfile(frame.filename)
        and "-packages/" not in frame.filename
        and not os.path.realpath(frame.filename).startswith(library)
    ]
    return found[-1] if found else None


def reach_broker(app: Any) -> None:
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.2)
        except Exception as error:
            raise Refusal("broker", f"{connection.as_uri()}: {one_line(error)}") from error


def reach_results(app: Any) -> None:
    """Celery's own words for a backend that is not reached come minutes later, and name the broker."""
    try:
        if type(app.backend).__module__ == "celery.backends.redis":
            app.backend.client.ping()
    except Exception as error:
        where = app.backend.as_uri() if hasattr(app.backend, "as_uri") else app.conf.result_backend
        raise Refusal("backend", f"result backend {where}: {described(error)}") from error


def asked(app: Any, command: str, timeout: float, **how: object) -> dict[str, Any]:
    """Each worker's answer to a remote control command; waits for `limit` of them, or the whole timeout (seconds)."""
    replies = app.control.broadcast(command, reply=True, timeout=timeout, **how) or ()
    return {worker: reply for answers in replies for worker, reply in answers.items()}


def registered(app: Any, timeout: float, limit: int | None) -> dict[str, set[str]]:
    """{worker: names of the tasks that it knows}; a beat that answers too (Celery 5.7) knows none."""
    replies = asked(app, "registered", timeout, limit=limit, arguments={"builtins": True})
    found = {
        worker: {task.partition(" [")[0] for task in tasks}
        for worker, tasks in replies.items()
        if isinstance(tasks, list)
    }
    if not found:
        raise Refusal("silent", f"no worker answered within {timeout:g} s")
    return found


def first_to_answer(app: Any, seconds: float) -> dict[str, set[str]]:
    """`registered`, of one worker: asked again and again, for one that is about to start hears nothing."""
    began = time.monotonic()
    while True:
        gone = time.monotonic() - began
        wait = max(1, gone / 2)  # a slow one must be able to answer within it
        try:
            return registered(app, max(0.1, min(wait, seconds - gone)), 1)
        except Refusal:
            if gone + wait >= seconds:
                raise Refusal("silent", f"no worker answered within {seconds:g} s") from None


def queue_of(app: Any, worker: str) -> str:
    queues = asked(app, "active_queues", REPLY_SECONDS, destination=[worker], limit=1).get(worker)
    return str(queues[0]["name"] if queues else app.conf.task_default_queue)


def count(app: Any, workers: Collection[str], name: str) -> int:
    """How many tasks of this name those workers have begun."""
    stats = asked(app, "stats", 5, destination=list(workers), limit=len(workers))
    return sum((reply.get("total") or {}).get(name, 0) for reply in stats.values())


def send(app: Any, name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]) -> Any:
    try:
        if name in app.tasks:  # with the options of its own, such as a queue
            return app.tasks[name].apply_async(args, kwargs, **options)
        return app.send_task(name, args, kwargs, **options)
    except TypeError as error:
        raise Refusal("arguments", f"{name}: {one_line(error)}") from error
    except Exception as error:
        raise Refusal("broker", f"{name} could not be sent: {described(error)}") from error


def outcome(
    app: Any, sent: Any, name: str, workers: Collection[str], before: int, end: float
) -> tuple[Any, str | None]:
    """(result, None), or (None, why none): a worker's counter proves what no result backend can."""
    from celery.backends.base import DisabledBackend
    from celery.exceptions import TimeoutError as Late

    disabled = isinstance(app.backend, DisabledBackend)
    if disabled or sent.ignored:
        while count(app, workers, name) <= before:
            if time.monotonic() > end:
                raise Refusal("timeout", not_taken(app, name))
        words = "'DisabledBackend' object has no attribute '_get_task_meta_for' is what reading its result would say"
        return None, f"a worker ran it; no result backend is configured: {words}" if disabled else NO_RESULT
    try:
        result = sent.get(timeout=max(1, end - time.monotonic()), propagate=False)
        failed = sent.failed()
    except Late:
        if count(app, workers, name) > before:
            return unfinished(app, sent, name)
        raise Refusal("timeout", not_taken(app, name)) from None
    except Exception as error:
        raise Refusal("backend", f"the result of {name} is not readable: {described(error)}") from error
    if failed:
        raise Refusal("failed", f"{name} failed: {one_line(sent.traceback or described(result))}")
    return result, None


def unfinished(app: Any, sent: Any, name: str) -> tuple[Any, str]:
    """The result of a task that a worker took: none yet, or none ever."""
    replies = asked(app, "query_task", 2, arguments={"ids": [sent.id]})
    if any(isinstance(found, dict) and sent.id in found for found in replies.values()):
        raise Refusal("timeout", f"{name} still runs")
    return None, NO_RESULT


def destination(app: Any, name: str) -> str:
    """The queue that a task is sent to when its sender names none."""
    own = getattr(app.tasks.get(name), "queue", None)
    route = app.amqp.router.route({"queue": own} if own else {}, name)
    return str(getattr(route.get("queue"), "name", None) or app.conf.task_default_queue)


def not_taken(app: Any, name: str) -> str:
    queue = destination(app, name)
    replies = asked(app, "active_queues", 2)
    if any(found["name"] == queue for queues in replies.values() for found in queues or ()):
        return f"{name} waits in queue {queue!r} behind others"
    return f"{name} waits in queue {queue!r}, which no worker reads"


def main(answer: Callable[[dict[str, Any]], dict[str, Any]] = answer) -> None:
    # What the project prints while it is imported must not stand in the answer's way.
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        found = answer(json.load(sys.stdin))
    except Refusal as refusal:
        found = refusal.answer
    except Exception as error:  # a broker's URL or client library that Celery cannot use, a result backend's
        found = Refusal("project", described(error)).answer
    print(json.dumps(found, default=repr), file=stdout, flush=True)
    os._exit(0)  # threads and connections of the project's may not keep it from ending


if __name__ == "__main__":
    main()

"""Running a Celery task by its name on this host, in the project's own Python and as its user."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from .. import account
from ..celery import command_line
from ..celery.command_line import option
from ..errors import DENIED, DOWN, FAILED, TIMEOUT, UNKNOWN, USAGE, Failure, near
from ..hosts.target import Target
from ..scripts import source
from ..scripts import task as task_script
from ..supervisor import conffile, locate

LONGEST = 400  # characters of what has been answered, where that makes no sense
START_SECONDS = 60  # until the project is imported, on a small board too


class Worker(NamedTuple):
    """A Celery worker's command line, read: its conffile.Program, the Python of its virtual environment,
    `-A`, what `-b` and `--result-backend` say, the settings after `--`, and what finds that Python (`poetry run`)."""

    program: conffile.Program
    python: str
    app: str | None
    options: dict[str, str]
    settings: list[str]
    launcher: Sequence[str] = ()


# What the script's `error` means here: exit code and fix.
MEANING = {
    "project": (FAILED, "see the worker's log: celeryhost logs"),
    "broker": (
        DOWN,
        "see that Redis runs and that the broker's URL has its password: celeryhost status, celeryhost logs",
    ),
    "silent": (DOWN, "see celeryhost status: no worker runs, or its main process hangs"),
    "arguments": (USAGE, "give them as JSON: celeryhost run TASK 1 '\"text\"' '[2, 3]'"),
    "failed": (FAILED, "see the worker's log: celeryhost logs"),
    "timeout": (TIMEOUT, "wait longer with --timeout"),
    "backend": (
        FAILED,
        "see what result_backend names; `results: redis` in celery_apps takes celeryhost's Redis, with its password",
    ),
}


# What reading something else raises than what was meant.
MISREAD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@contextlib.contextmanager
def understood(name: str) -> Iterator[None]:
    """Around the reading of what a project's Python has answered: its account may have put any program there.

    Raises Failure (FAILED) where it makes no sense.
    """
    try:
        yield
    except MISREAD as error:
        why = f"{type(error).__name__}: {str(error)[:LONGEST]}"
        fix = "see that its virtual environment is whole: celeryhost provision"
        raise Failure(f"{name}: what its Python answers makes no sense ({why})", FAILED, fix) from None


def run(
    target: Target,
    name: str | None,
    args: list[Any],
    kwargs: dict[str, Any],
    timeout: float,
    app: str | None = None,
    starting: bool = False,
) -> dict[str, Any]:
    """Send the task and wait for its result; what scripts/task.py answers, see there. `timeout` in seconds.

    `name` None stands for a task that every worker has; `app` chooses among several on this host. A worker that is
    `starting` may take all of that time to answer.
    Raises Failure: UNKNOWN, DENIED, FAILED (it raised), TIMEOUT, DOWN (no broker, no worker), USAGE (arguments).
    """
    worker = find_worker(conffile.load(target.config or locate.default_config()), app)
    return send(worker, name, args, kwargs, timeout, starting=starting)


def send(
    worker: Worker, name: str | None, args: list[Any], kwargs: dict[str, Any], timeout: float, **more: object
) -> dict[str, Any]:
    """`run`, by a Worker that is known (a beat will do); `more` of the request, such as `sending`."""
    request = {"task": name, "args": args, "kwargs": kwargs, "timeout": timeout, **more}
    found = ask(worker, request, timeout + START_SECONDS, task_script)
    with understood(worker.program.name):
        if "error" not in found:
            texts = {key: found[key] and str(found[key]) for key in ("task", "remark")}
            return found | texts | {"result": found["result"], "seconds": round(found["seconds"], 3)}
        if found["error"] == "unknown":
            tasks = [task for task in found["known"] if not task.startswith("celery.")]
            near_by = near(name or "", found["known"])
            fix = near_by or f"there are {', '.join(tasks) or 'none but those of Celery itself'}"
            raise Failure(str(found["message"]), UNKNOWN, fix)
        code, fix = MEANING[found["error"]]
        raise Failure(f"{worker.program.name}: {found['message']}", code, fix)


def value(text: str) -> Any:
    """An argument as a person types it: JSON where it is JSON, else a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def find_worker(programs: dict[str, Any], app: str | None) -> Worker:
    """The first worker of the only app, or of the one that is named. Raises Failure (UNKNOWN, USAGE)."""
    workers = [worker for worker in map(read_command, programs.values()) if worker]
    if not workers:
        raise Failure("no program here is a Celery worker", UNKNOWN, "see celeryhost status, or celeryhost provision")
    names = {worker.program.name.partition("-worker")[0] for worker in workers}
    if app is None:
        if len(names) > 1:
            raise Failure(f"there are several apps here, {', '.join(sorted(names))}", USAGE, "choose one with --app")
        return workers[0]
    for worker in workers:
        if worker.program.name in (app, f"{app}-worker") or worker.program.name.startswith(f"{app}-worker-"):
            return worker
    raise Failure(
        f"no app {app!r} with a Celery worker here", UNKNOWN, near(app, names) or f"there is {', '.join(names)}"
    )


_OPTIONS = {"broker": ("-b", "--broker"), "result_backend": ("--result-backend", "--result-backend")}


def read_command(
    program: conffile.Program, names: Sequence[str] = ("worker",), more: dict[str, tuple[str, str]] | None = None
) -> Worker | None:
    """The Worker that a conffile.Program runs, None when it is something else.

    `names` are what `celery` may be to do there; `more` are options to read too, {name: (short, long)}.
    """
    command = command_line.read(program.command)
    if command is None or command.name not in names:
        return None
    environment = program.environment | command.environment
    if command.path:
        environment["PATH"] = ":".join([*command.path, environment.get("PATH", account.PATH)])
    given = {name: text for name, how in (_OPTIONS | (more or {})).items() if (text := option(command.words, *how))}
    inner = option(command.words, "--workdir", "--workdir") or command.directory or ""
    *launcher, python = command_line.interpreter(command, environment.get("PATH"))
    return Worker(
        program._replace(
            directory=os.path.join(program.directory or "/", inner).rstrip("/") or None, environment=environment
        ),
        python,
        option(command.words, "-A", "--app") or environment.get("CELERY_APP"),
        given,
        command.settings,
        launcher,
    )


# Each module of a script, by its source: the project's user may not be able to read the files of this package.
# What they import comes from Python itself: with -c the first place of modules is the folder where it starts, which is
# the project's only for a launcher, that looks for its environment there. The project's is a place from then on.
_START = """
import sys, types
sys.path[:] = [place for place in sys.path if place]
package = "celeryhost_scripts"
sys.modules[package] = types.ModuleType(package)
for name, source in {sources!r}.items():
    module = sys.modules[package + "." + name] = types.ModuleType(package + "." + name)
    module.__package__ = package
    exec(compile(source, name + ".py", "exec"), module.__dict__)
import os
os.chdir({directory!r})
sys.path.insert(0, os.getcwd())
module.main()
"""


def ask(worker: Worker, request: dict[str, Any], timeout: float, *scripts: ModuleType) -> dict[str, Any]:
    """What a script (the last of `scripts`, the others are modules that it imports) answers in the project's Python.

    `request` is what it gets, completed with the worker's app, options and settings; `timeout` in seconds.
    Raises Failure: DENIED, TIMEOUT, FAILED when it could not run or says nothing.
    """
    program = worker.program
    try:
        owner = runs_as(program)
    except KeyError:
        raise Failure(
            f"{program.name}: there is no user {program.user}", FAILED, "correct user= of its entry"
        ) from None
    own = {"PATH": account.PATH, "LANG": "C.UTF-8", "HOME": owner.pw_dir, "USER": owner.pw_name}
    sources = {script.__name__.rpartition(".")[2]: source(script) for script in scripts}
    request = {"app": worker.app, "options": worker.options, "settings": worker.settings, **request}
    try:
        code, stdout, stderr = account.converse(
            [*worker.launcher, worker.python, "-c", _START.format(sources=sources, directory=program.directory or "/")],
            owner,
            json.dumps(request).encode(),
            timeout,
            cwd=program.directory or "/" if worker.launcher else "/",
            env=own | program.environment,
        )
    except TimeoutError:
        raise Failure(f"{program.name}: {worker.python} did not end in time", TIMEOUT, MEANING["timeout"][1]) from None
    except OSError as error:
        raise Failure(f"{program.name}: {error.filename}: {error.strerror}", FAILED, "see celeryhost status") from None
    try:
        answer = json.loads(stdout)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        return answer
    said = account.last_line(stderr.decode(errors="replace")) if stderr.strip() else f"exit code {code}"
    raise Failure(f"{program.name}: {worker.python} did not answer: {said}", FAILED)


def runs_as(program: conffile.Program) -> pwd.struct_passwd:
    """The account (pwd) that a conffile.Program runs as, by its entry; raises Failure (DENIED), KeyError."""
    me = pwd.getpwuid(os.geteuid())
    owner = account.named(program.user) if program.user else me
    if me.pw_uid not in (0, owner.pw_uid):
        raise Failure(f"{program.name} runs as {owner.pw_name}, you are {me.pw_name}", DENIED, "use sudo")
    return owner

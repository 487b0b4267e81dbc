"""manage.py and Celery's command line, run as an app's programs are: their account, environment, Python, folder."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from .. import account
from ..errors import FAILED, UNKNOWN, Failure, near
from ..hosts.target import Target
from ..supervisor import conffile, locate
from . import tasks

# Of this process's environment; the rest, a person's tokens say, is not the app's to see.
PASSED_ON = ("TERM", "COLORTERM", "NO_COLOR", "TZ", "DJANGO_SUPERUSER_")


class Prepared(NamedTuple):
    """A command line that can be run: what it is for a person, its words, folder, whole environment, and
    its account (pwd)."""

    name: str
    words: list[str]
    directory: str
    environment: dict[str, str]
    owner: pwd.struct_passwd


def manage(target: Target, app: str, words: Sequence[str]) -> Prepared:
    """manage.py of `app` with `words`. Raises Failure (UNKNOWN, DENIED, USAGE, DOWN)."""
    worker = find(target, app)
    directory = worker.program.directory or "/"
    script = os.path.join(directory, "manage.py")
    if os.path.isfile(script):
        return _prepared(worker, ["manage.py", *words])
    if "DJANGO_SETTINGS_MODULE" in worker.program.environment:
        return _prepared(worker, ["-m", "django", *words])
    fix = "name that folder as directory= of the program, or set DJANGO_SETTINGS_MODULE in its environment="
    raise Failure(f"no manage.py in {directory}, where {worker.program.name} runs", UNKNOWN, fix)


def celery(target: Target, app: str, words: Sequence[str]) -> Prepared:
    """`celery` with the app, the broker and the result backend of `app`'s programs, and `words`. Raises as `manage`."""
    worker = find(target, app)
    options = ["-A", worker.app] if worker.app else []
    for name, option in (("broker", "-b"), ("result_backend", "--result-backend")):
        options += [option, worker.options[name]] if name in worker.options else []
    return _prepared(worker, ["-m", "celery", *options, *words])


def find(target: Target, app: str) -> tasks.Worker:
    """The worker, else the beat, of what a person calls `app`: an app, a program, a group, or the module of `-A`."""
    programs = conffile.load(target.config or locate.default_config()).values()
    found = [each for kind in ("worker", "beat") for each in (tasks.read_command(p, (kind,)) for p in programs) if each]
    for names in (_own_names, _other_names):
        for worker in found:
            if app in names(worker):
                return worker
    known = sorted({_own_names(worker)[-1] for worker in found})
    fix = near(app, known) or (f"there is {', '.join(known)}" if known else "see celeryhost status")
    raise Failure(f"no app {app!r} with a Celery worker or beat here", UNKNOWN, fix)


def run(command: Prepared) -> int:
    """Run it with this process's input and output: its exit code."""
    from ..own_terminal import relayed

    if command.owner.pw_uid == os.geteuid():
        _exec(command)
    try:
        return exit_code(relayed(command.words, command.owner, cwd=command.directory, env=command.environment))
    except OSError as error:
        raise _cannot(command, error) from None


def lines(command: Prepared) -> Iterator[tuple[str, Any]]:
    """Run it without input; yields ("stdout" or "stderr", line) as they come, and at the end ("exit", its code)."""
    import selectors
    import subprocess

    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    options |= {"cwd": command.directory, "env": command.environment} | account.become(command.owner)
    try:
        process = subprocess.Popen(command.words, **options)
    except OSError as error:
        raise _cannot(command, error) from None
    with process, selectors.DefaultSelector() as selector:
        rests = {"stdout": b"", "stderr": b""}
        for pipe, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            if pipe:
                selector.register(pipe, selectors.EVENT_READ, name)
        try:
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 65536)
                    *whole, rests[key.data] = (rests[key.data] + data).split(b"\n")
                    if not data:
                        selector.unregister(key.fileobj)
                        whole += filter(None, [rests[key.data]])
                    yield from ((key.data, line.decode(errors="replace")) for line in whole)
        finally:
            if selector.get_map():  # nobody reads on
                account.end(process)
        yield "exit", exit_code(process.wait())


def _own_names(worker: tasks.Worker) -> list[str]:
    """The program's name, and of `mysite-worker-two` and `mysite-beat` the app's."""
    name = worker.program.name
    stems = [name[: name.index(end)] for end in ("-worker", "-beat") if end in name]
    return [name, *stems]


def _other_names(worker: tasks.Worker) -> list[str]:
    module = (worker.app or "").partition(":")[0]
    return [worker.program.group, worker.app or "", module, module.partition(".")[0]]


def _prepared(worker: tasks.Worker, words: list[str]) -> Prepared:
    program = worker.program
    try:
        owner = tasks.runs_as(program)
    except KeyError:
        fix = "correct user= of its entry"
        raise Failure(f"{program.name}: there is no user {program.user}", FAILED, fix) from None
    environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    environment |= {"LANG": "C.UTF-8", "HOME": owner.pw_dir, "USER": owner.pw_name} | program.environment
    places = environment.get("PATH", account.PATH).split(":")
    own = os.path.dirname(worker.python)  # as its activate has it: what the project starts is of its environment
    environment["PATH"] = ":".join([own, *places] if own and own not in places else places)
    name = f"{program.name}: {' '.join(words[:2])}"
    return Prepared(
        name,
        [*worker.launcher, worker.python, *words],
        program.directory or "/",
        environment,
        owner,
    )


def _exec(command: Prepared) -> NoReturn:
    try:
        os.chdir(command.directory)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and the command would inherit
            signal.signal(number, signal.SIG_DFL)
        os.execve(command.words[0], command.words, command.environment)
    except OSError as error:
        raise _cannot(command, error) from None


def _cannot(command: Prepared, error: OSError) -> Failure:
    return Failure(
        f"{command.name}: {error.filename or command.words[0]}: {error.strerror}", FAILED, "see celeryhost status"
    )


def exit_code(returncode: int) -> int:
    """As a shell has it: 128 and the signal's number for what was killed."""
    return 128 - returncode if returncode < 0 else returncode

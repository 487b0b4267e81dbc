"""The schedule of beat: reading it where beat runs, an expression typed by hand, and what is wrong with either.

Celery itself says when something runs, in the project's own Python (scripts/schedule.py); the words are of
words.py, which says why no library makes them.
"""

from __future__ import annotations

import ast
import operator
import os
import re
from calendar import monthrange
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..celery import command_line
from ..errors import FAILED, NOT_RUNNING, UNKNOWN, USAGE, Failure, near
from ..hosts.target import Target
from ..project import tasks
from ..scripts import schedule as schedule_script
from ..scripts import task as task_script
from ..supervisor import conffile, locate
from .words import ALL, LANGUAGES, describe

READ_SECONDS = 60  # until the project is imported and its schedule read, on a small board too
UTC = "UTC"  # Celery's time zone for who sets none


class Beat(NamedTuple):
    """A beat's command line, read: the app it is of, the tasks.Worker that has its program, Python and `-A`,
    and its `-S` and `-s`, None where they are left out."""

    app: str
    runner: tasks.Worker
    scheduler: str | None
    schedule: str | None


class Mark(NamedTuple):
    """Something wrong with an entry: a word for programs, and a line in each language."""

    code: str
    en: str
    ko: str


_OPTIONS = {"scheduler": ("-S", "--scheduler"), "schedule": ("-s", "--schedule")}
_EMBEDDED = {"scheduler": ("--scheduler", "--scheduler"), "schedule": ("-s", "--schedule-filename")}  # -S is statedb's
_FIVE = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")  # the order of cron
_CRONTAB = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")  # the order of crontab()
_KINDS = {
    "crontab": _CRONTAB,
    "schedule": ("run_every", "relative"),
    "solar": ("event", "lat", "lon"),
    "timedelta": ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks"),
}
_LENGTHS = {"days": 86400, "seconds": 1, "microseconds": 1e-6, "milliseconds": 1e-3, "minutes": 60, "hours": 3600}
_LENGTHS["weeks"] = 604800
_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_UNREGISTERED = {
    "workers": (
        "no worker that reads its queue has a task {!r}: it would be refused",
        "이 큐를 읽는 워커에 {!r} 태스크가 없어 거부됩니다",
    ),
    "project": (
        "the project has no task {!r}: a worker would refuse it",
        "프로젝트에 {!r} 태스크가 없어 워커가 거부합니다",
    ),
}
_WRITE = "write crontab(…), five cron fields, a number of seconds, timedelta(…), schedule(…) or solar(…)"


def read(target: Target, app: str | None, count: int, at: str | None) -> list[dict[str, Any]]:
    """The schedule of each beat here, or of one app, or of a project's folder (`app` holds a slash or is `.`).

    `count` next runs of each entry are told, from `at` on (ISO 8601; None: now). See docs/json.md for what is returned.
    Raises Failure: NOT_RUNNING when there is no beat, UNKNOWN app, FAILED when the project does not load, DENIED, DOWN.
    """
    found = []
    for beat, state, away in _beats(target, app):
        known = beat.runner.program.group is not None  # else the workers of its broker may be anybody's
        answer = _ask(beat, {"do": "read", "next": count, "at": at, "away": away, "ask": known})
        with tasks.understood(beat.runner.program.name):
            for entry in answer["entries"]:
                _complete(entry)
        found.append({**answer, "app": beat.app, "program": beat.runner.program.name, "state": state})
    return found


def explain(target: Target, text: str, count: int, at: str | None, zone: str) -> dict[str, Any]:
    """A typed expression: its words, marks and `count` next runs in `zone`, from `at` on.

    Celery must be importable here, else a program of this machine's supervisord must bring it.
    Raises Failure: USAGE when it does not parse or is none that Celery takes, FAILED without Celery.
    """
    request = {"do": "explain", "expression": parse(text), "next": count, "at": at, "zone": zone}
    try:
        import celery  # noqa: F401
    except ImportError:
        answer = tasks.ask(_some_celery(target), request, READ_SECONDS, task_script, schedule_script)
    else:
        try:
            answer = schedule_script.answer(request)
        except task_script.Refusal as refusal:
            answer = refusal.answer
    _check(answer, "")
    (entry,) = answer["entries"]
    _complete(entry)
    return {"expression": text, **entry}


def find(target: Target, name: str, app: str | None) -> tuple[Beat, dict[str, Any]]:
    """The entry of that name and the beat that has it. Raises Failure, also as `read` does."""
    known: dict[str, list[tuple[Beat, dict[str, Any]]]] = {}
    for beat, _, _ in _beats(target, app):
        for entry in _ask(beat, {"do": "read", "next": 1, "at": None, "away": None, "ask": False})["entries"]:
            known.setdefault(entry["name"], []).append((beat, entry))
    if name not in known:
        fix = near(name, known) or f"there are {', '.join(map(repr, sorted(known))) or 'none'}"
        raise Failure(f"no entry {name!r} in the schedule", UNKNOWN, fix)
    if len(known[name]) > 1:
        apps = ", ".join(beat.app for beat, _ in known[name])
        raise Failure(f"the entry {name!r} is in the schedule of {apps}", USAGE, "choose one with --app")
    return known[name][0]


def message(entry: dict[str, Any]) -> dict[str, Any]:
    """What is sent for an entry: task, args, kwargs, options. Raises Failure (FAILED) if that is no JSON."""
    if not entry["plain"]:
        raise Failure(f"the arguments of {entry['name']!r} are no JSON", FAILED, "send it from the project's own code")
    return {key: entry[key] for key in ("task", "args", "kwargs", "options")}


def fire(beat: Beat, entry: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Send an entry's task now and wait for the result, as tasks.run does; beat's own reckoning stays as it was."""
    sent = message(entry)
    return tasks.send(beat.runner, sent["task"], sent["args"], sent["kwargs"], timeout, sending=sent["options"])


def parse(text: str) -> dict[str, Any]:
    """{"kind", "fields"} of an expression as it is typed, for scripts/schedule.py. Raises Failure (USAGE)."""
    words, shown = text.split(), repr(text if len(text) < 80 else f"{text[:79]}…")
    if len(words) == 5 and "(" not in text:
        return {"kind": "crontab", "fields": dict(zip(_FIVE, words, strict=True))}
    if text.lstrip().startswith("@"):
        raise Failure(f"{shown}: Celery knows no such word", USAGE, "write five cron fields, as '0 0 * * *'")
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Failure(f"{shown} is no expression of a schedule", USAGE, _WRITE) from None
    seconds = _seconds(node)
    if seconds is not None:
        return {"kind": "interval", "fields": {"seconds": seconds, "relative": False}}
    name, given = _call(node)
    if name == "crontab":
        return {"kind": "crontab", "fields": {field: _numbers(field, value) for field, value in given.items()}}
    if name == "schedule":
        seconds = _seconds(given["run_every"]) if "run_every" in given else None
        if seconds is None:
            raise Failure(f"{shown} names no interval", USAGE, "write schedule(run_every=30.0)")
        relative = _constant("relative", given.get("relative", ast.Constant(False)), bool)
        return {"kind": "interval", "fields": {"seconds": seconds, "relative": relative}}
    missing = [field for field in _KINDS["solar"] if field not in given]
    if missing:
        raise Failure(f"{shown} has no {missing[0]}", USAGE, "write solar('sunset', LATITUDE, LONGITUDE)")
    fields = {
        "event": _constant("event", given["event"], str),
        "latitude": _constant("lat", given["lat"], (int, float)),
        "longitude": _constant("lon", given["lon"], (int, float)),
    }
    return {"kind": "solar", "fields": fields}


def marks(entry: dict[str, Any]) -> list[Mark]:
    """What is wrong with an entry of scripts/schedule.py, or with a typed expression."""
    found = []
    if entry["error"]:
        found.append(Mark("never", f"never runs: {entry['error']}", f"실행되지 않음: {entry['error']}"))
    if entry.get("registered") is False:
        found.append(Mark("unregistered", *(text.format(entry["task"]) for text in _UNREGISTERED[entry["witness"]])))
    if entry["kind"] == "interval" and entry["fields"]["seconds"] <= 0:
        found.append(Mark("always", "beat sends it again and again without a pause", "쉬지 않고 계속 보냅니다"))
    if entry["kind"] == "crontab":
        found += _crontab_marks(entry["fields"], entry["given"])
    return found


def _crontab_marks(fields: dict[str, Any], given: dict[str, Any]) -> Iterator[Mark]:
    free = {name: len(fields[name]) == len(full) for name, full in ALL.items()}
    if given["minute"] == "*" and not all(free.values()):
        more = ("hour=0",) if given["hour"] == "*" else ()
        fix = " and ".join(("minute=0", *more))
        yield Mark(
            "every-minute",
            f"minute was left out, so it runs every minute of that time; write {fix} too for a single run",
            f"minute가 없어 그 시간 동안 매분 실행됩니다. 한 번만 실행하려면 {', '.join(('minute=0', *more))}도 쓰세요",
        )
    for name, full, unit, korean in (("minute", 60, "minutes", "분"), ("hour", 24, "hours", "시간")):
        step = re.fullmatch(r"\*/(\d+)", given[name])
        if step and int(step[1]) and full % int(step[1]):
            last, gap = fields[name][-1], full - fields[name][-1]
            yield Mark(
                "uneven",
                f"{name}={given[name]!r} is not every {step[1]} {unit}: from {name} {last} to {name} 0 it is {gap}",
                f"{name}={given[name]!r}: {step[1]}{korean} 간격이 아닙니다. {last} 다음의 0까지는 {gap}{korean}입니다",
            )
    short = [
        month for month in fields["month_of_year"] if not any(day <= _days(month) for day in fields["day_of_month"])
    ]
    if short and len(short) < len(fields["month_of_year"]):
        names = ", ".join(map(str, short))
        yield Mark(
            "short-months",
            f"no such day in month {names}: no run then",
            f"{names}월에는 그런 날이 없어 실행되지 않습니다",
        )


def _days(month: int) -> int:
    return monthrange(2023, month)[1]  # no leap year


def _complete(entry: dict[str, Any]) -> None:
    entry["words"] = {language: describe(entry["kind"], entry["fields"], language) for language in LANGUAGES}
    entry["marks"] = [mark._asdict() for mark in marks(entry)]


def _ask(beat: Beat, request: dict[str, Any]) -> dict[str, Any]:
    request = {**request, "scheduler": beat.scheduler, "schedule": beat.schedule}
    answer = tasks.ask(beat.runner, request, READ_SECONDS, task_script, schedule_script)
    with tasks.understood(beat.runner.program.name):
        _check(answer, f"{beat.runner.program.name}: ")
        for entry in answer["entries"]:
            if not isinstance(entry["name"], str) or not isinstance(entry["fields"], dict):
                raise TypeError(f"an entry {entry['name']!r} of {entry['fields']!r}")
            # A moment is drawn and compared.
            entry["next"] = [[float(moment), *rest] for moment, *rest in entry["next"]]
    return answer


def _check(answer: dict[str, Any], where: str) -> dict[str, Any]:
    """The answer, unless it is an error."""
    if "error" not in answer:
        return answer
    said = f"{where}{answer['message']}"
    if answer["error"] == "expression":
        raise Failure(said, USAGE, f"{answer['field']} takes {answer['allowed']}, lists, ranges and steps of these")
    if answer["error"] in ("value", "zone"):
        raise Failure(said, USAGE)
    raise Failure(said, FAILED, "pip install 'celery[solar]'" if answer["error"] == "solar" else None)


def _beats(target: Target, app: str | None) -> list[tuple[Beat, str | None, list[float | None] | None]]:
    """[(Beat, state of its program or None, when it was away: [from, until], or None)]; raises Failure."""
    config = target.config
    folder: str | None
    if app and ("/" in app or app == "."):
        folder, app = app, None
    else:
        folder = _project_here() if config is None and app is None else None
    if folder and not config:
        config = os.path.join(folder, ".celeryhost", "supervisord.conf")
        if not os.path.exists(config):
            return [(_of_folder(folder), None, None)]
    beats = list(filter(None, map(_beat, conffile.load(config or locate.default_config()).values())))
    if not beats:
        fix = "give the app `beat: {}` in the inventory, or look with celeryhost status"
        raise Failure("no beat here: no program is `celery beat`, or a worker with -B", NOT_RUNNING, fix)
    chosen = [beat for beat in beats if app in (None, beat.app, beat.runner.program.name)]
    if not chosen:
        names = {beat.app for beat in beats}
        raise Failure(
            f"no app {app!r} with a beat here", UNKNOWN, near(app or "", names) or f"there is {', '.join(names)}"
        )
    return [(beat, *_state(target._replace(config=config), beat)) for beat in chosen]


def _beat(program: conffile.Program) -> Beat | None:
    """The Beat that a conffile.Program runs, None when it is something else."""
    command = command_line.read(program.command)
    if command is None or not command_line.is_beat(command):
        return None
    more = _OPTIONS if command.name == "beat" else _EMBEDDED
    runner = tasks.read_command(program, command_line.NAMES, more)
    if runner is None:
        return None
    scheduler, schedule = (runner.options.pop(name, None) for name in ("scheduler", "schedule"))
    return Beat(program.name.partition(f"-{command.name}")[0], runner, scheduler, schedule)


def _state(target: Target, beat: Beat) -> tuple[str | None, list[float | None] | None]:
    """The state of beat's program, and when it was away, as far as supervisord knows."""
    from ..supervisor.programs import processes
    from ..supervisor.rpc import Supervisor

    try:
        known = processes(Supervisor(locate.find(target.config, target.url, target.user)))
    except Failure:
        return None, None
    process = next((process for process in known if process.name in beat.runner.program.logs), None)
    if process is None:
        return None, None
    if process.state != "RUNNING":
        return process.state, [process.stop or None, None]
    return process.state, [process.stop, process.start] if 0 < process.stop < process.start else None


def _project_here() -> str | None:
    """This folder, if it is a project's and no supervisord is known here."""
    if not os.path.exists("manage.py"):
        return None
    try:
        locate.default_config()
    except Failure:
        return "."
    return None


def _of_folder(folder: str) -> Beat:
    """What would be the beat of a project that no supervisord knows, with the environment of this process."""
    from ..project import dev, init

    project = init.look(init.find(folder)[0])
    virtualenv, _ = dev.virtualenv_of(project)
    program = conffile.Program._make([None] * len(conffile.Program._fields))._replace(
        name=os.path.basename(project.directory), directory=project.directory, environment=dict(os.environ)
    )
    runner = tasks.Worker(program, os.path.join(virtualenv, "bin", "python"), dev.only_app(project), {}, [])
    return Beat(program.name, runner, None, None)


def _some_celery(target: Target) -> tasks.Worker:
    """A tasks.Worker of this machine, for its Celery. Raises Failure (FAILED)."""
    fix = "pip install celery, or run this where a beat or a worker is"
    try:
        known = conffile.load(target.config or locate.default_config()).values()
    except Failure as failure:
        raise Failure(f"there is no Celery here ({failure.message})", FAILED, fix) from None
    for program in known:
        runner = tasks.read_command(program, command_line.NAMES)
        if runner:
            return runner
    raise Failure("there is no Celery here", FAILED, fix)


def _call(node: ast.AST) -> tuple[str, dict[str, Any]]:
    """The class that an expression calls and its arguments by name; raises Failure (USAGE)."""
    text = ast.unparse(node)
    function = node.func if isinstance(node, ast.Call) else None
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if not isinstance(node, ast.Call) or name not in _KINDS:
        raise Failure(f"{text!r} is no expression of a schedule", USAGE, near(name or "", _KINDS) or _WRITE)
    order = _KINDS[name]
    if len(node.args) > len(order) or any(isinstance(value, ast.Starred) for value in node.args):
        raise Failure(f"{text!r} has too many values", USAGE, f"{name} takes {', '.join(order)}")
    given = dict(zip(order, node.args, strict=False))
    for keyword in node.keywords:
        if keyword.arg not in order or keyword.arg in given:
            fix = near(keyword.arg or "", order) or f"{name} takes {', '.join(order)}"
            raise Failure(f"{keyword.arg or '**'} in {text!r} is no field, or is there twice", USAGE, fix)
        given[keyword.arg] = keyword.value
    return name, given


def _seconds(node: ast.AST) -> float | None:
    """Seconds of a number or a timedelta; None when it is neither."""
    number = _number(node)
    if number is not None:
        return number
    if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] != "timedelta":
        return None
    _, given = _call(node)
    numbers = {unit: _number(value) for unit, value in given.items()}
    return sum(
        _LENGTHS[unit] * (_constant(unit, given[unit], (int, float)) if number is None else number)
        for unit, number in numbers.items()
    )


def _number(node: ast.AST) -> float | None:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:  # 60 * 5
        left, right = _number(node.left), _number(node.right)
        if left is None or right is None:
            return None
        try:
            result: float = _ARITHMETIC[type(node.op)](left, right)
            return result
        except (ZeroDivisionError, OverflowError):
            return None
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _constant(field: str, node: ast.AST, kinds: type | tuple[type, ...]) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        value = None
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        wanted = "a text" if kinds is str else "True or False" if kinds is bool else "a number"
        raise Failure(f"{field} is {ast.unparse(node)}", USAGE, f"write {wanted}")
    return value


def _numbers(field: str, node: ast.AST) -> Any:
    """One field of a crontab: a text, a whole number, or a list of whole numbers."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "range" and not node.keywords:
        bounds = [_constant(field, value, int) for value in node.args]
        if 0 < len(bounds) < 4 and 0 not in bounds[2:] and all(abs(bound) < 1000 for bound in bounds):
            return list(range(*bounds))
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        value = None
    several = isinstance(value, (list, tuple, set, frozenset))
    if isinstance(value, str) or all(type(item) is int for item in (value if several else [value])):
        return sorted(value) if several else value
    raise Failure(f"{field} is {ast.unparse(node)}", USAGE, "write a number, a list of numbers, or a text as of cron")

"""Files of Supervisor and their programs, over the code of `celeryhost apply`."""

from __future__ import annotations

import contextlib
import os

from .. import apply as engine
from .. import conffile, lifecycle, locate, programs
from ..errors import DOWN, OK, USAGE, Failure
from ..rpc import Supervisor

FILE = {
    "path": {"type": "path"},
    "content": {"type": "str", "no_log": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
ARGUMENTS = {
    **FILE,
    "files": {"type": "list", "elements": "dict", "options": FILE},
    "config": {"type": "path", "default": "/etc/supervisor/supervisord.conf"},
    "started": {"type": "raw", "default": True},
    "timeout": {"type": "float"},
    "meanwhile": {"type": "dict", "default": {}},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "raw", "default": "0600"},
}


class Unfinished(Failure):
    """A Failure that comes with `result`, what was done until then."""


def files_of(params):
    """[{path, content, state}] of the arguments."""
    return params.get("files") or [params]


def veiled(params):
    """What appears in no output. The texts as a whole do: a diff is made of them."""
    return set().union(*(conffile.secrets(file.get("content") or "") for file in files_of(params)))


def bring(params, check):
    """The result of the module; raises Failure."""
    own = params["owner"], params["group"], octal(params["mode"])
    given = files_of(params)
    for each in given:
        if not each["path"] or (each["state"] == "present" and each["content"] is None):
            raise Failure(f"a file to install has path {each['path']!r} and no content", USAGE, "give it both")
    files = [engine.File(each["path"], each["content"] if each["state"] == "present" else None, *own) for each in given]
    result = {"changed": False, "restarted": {}, "warnings": [], "plan": engine.as_dict(engine.Plan([])), "diff": []}
    if check and not os.path.exists(params["config"]):
        for file in files:
            tell(engine.plan_ahead(file, Failure(f"{params['config']} does not exist yet", DOWN)), result)
        return result
    supervisor = Supervisor(locate.find(params["config"]))
    mend = started(params["started"])
    if check and mend is True and (names := engine.settled(supervisor, files)) is not None:
        result["plan"]["unchanged"] = names
        return result
    if check:
        for plan in engine.plan_files(supervisor, params["config"], files, mend, lenient=True):
            tell(plan, result)
            # The task waits for what fails over and over, and says what its log ends with.
            failing = [] if plan.down else [each for each in programs.processes(supervisor) if each.state == "BACKOFF"]
            result["changed"] |= any(process.group in plan.mend for process in failing)
        return result
    last = {}
    with engine.exclusive(params["config"]):
        try:
            plans = engine.plan_files(supervisor, params["config"], files, mend)
            old = {} if plans[0].down else {each.name: each.pid for each in programs.processes(supervisor)}
            for plan in plans:
                tell(plan, result)
                for event in engine.apply(supervisor, plan, params["timeout"], wait=False):
                    last[event.program] = event
            with beside(params["meanwhile"]) as commands:
                for event in engine.settle(supervisor, plans, params["timeout"]):
                    last[event.program] = event
                    if event.kind == "running" and event.pid != old.get(event.program):
                        result["restarted"][event.program] = [old.get(event.program, 0), event.pid]
                failed = [event for event in last.values() if lifecycle.KINDS[event.kind] != OK]
                if failed:
                    raise Failure("\n".join(f"{event.program}: {event.kind}: {event.text}" for event in failed))
                result["meanwhile"] = {name: outcome(process) for name, process in commands.items()}
        except Failure as failure:
            raise unfinished(str(failure), result) from None
    return result


@contextlib.contextmanager
def beside(commands):
    """{name: process} of the commands; none of them, and of what they started, outlives a failure of what is done
    meanwhile."""
    import signal
    import subprocess

    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    begun = {}
    try:
        for name, words in commands.items():
            begun[name] = subprocess.Popen(words, **pipes, text=True, start_new_session=True)
        yield begun
    except BaseException:
        for process in begun.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        raise


def outcome(process):
    """What Ansible says of a command, once it has ended."""
    stdout, stderr = process.communicate()
    return {"rc": process.returncode, "stdout": stdout, "stderr": stderr}


def unfinished(text, result):
    failure = Unfinished(text)
    failure.result = result
    return failure


def tell(plan, result):
    """Add a plan to the result, with the texts before and after, and what it warns of."""
    result["changed"] |= engine.is_stale(plan) or bool(plan.changes)
    result["plan"] = {key: [*result["plan"][key], *found] for key, found in engine.as_dict(plan).items()}
    result["warnings"] += plan.warnings
    if engine.is_stale(plan):
        before, after = plan.stored[0] if plan.stored else "", plan.file.text or ""
        header = {"before_header": plan.file.path, "after_header": plan.file.path}
        result["diff"].append(header | {"before": conffile.hide(before), "after": conffile.hide(after, before)})


def started(value):
    """The argument `started`: a boolean, in any of Ansible's spellings, or a list of programs."""
    if isinstance(value, (bool, list)):
        return value
    word = str(value).lower()
    if word in ("yes", "on", "true", "1", "no", "off", "false", "0"):
        return word in ("yes", "on", "true", "1")
    raise Failure(f"started is {value!r}", USAGE, "write true, false or a list of programs")


def octal(value):
    """The argument `mode`: YAML makes a number of 0600 and a text of "0600"."""
    try:
        return value if isinstance(value, int) else int(value, 8)
    except ValueError:
        raise Failure(f"mode is {value!r}", USAGE, 'write it in octal: "0600"') from None

"""Files of Supervisor and their programs, over the code of `celeryhost apply`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator
from typing import IO, Any

from ..errors import DOWN, OK, UNPROVEN, USAGE, Failure
from ..hangup import unbroken
from ..paths import SUPERVISORD_CONF
from ..supervisor import apply as engine
from ..supervisor import conffile, lifecycle, locate, programs
from ..supervisor.loops import loops
from ..supervisor.rpc import Supervisor
from . import proven

FILE = {
    "path": {"type": "path"},
    "content": {"type": "str", "no_log": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
ARGUMENTS: dict[str, Any] = {
    **FILE,
    "files": {"type": "list", "elements": "dict", "options": FILE},
    "config": {"type": "path", "default": SUPERVISORD_CONF},
    "started": {"type": "raw", "default": True},
    "timeout": {"type": "float"},
    "meanwhile": {"type": "dict", "default": {}},
    "proof": {"type": "path"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "raw", "default": "0600"},
}
UNASKED = ("meanwhile",)  # nothing is sent then


# A process, what it writes to stdout, and to stderr.
Begun = tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]


class Unfinished(Failure):
    """A Failure that comes with `result`, what was done until then."""


def files_of(params: dict[str, Any]) -> list[dict[str, Any]]:
    """[{path, content, state}] of the arguments."""
    return params.get("files") or [params]


def veiled(params: dict[str, Any]) -> set[str]:
    """What appears in no output. The texts as a whole do: a diff is made of them."""
    return set().union(*(conffile.secrets(file.get("content") or "") for file in files_of(params)))


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """The result of the module; raises Failure."""
    own = params["owner"], params["group"], octal(params["mode"])
    given = files_of(params)
    for each in given:
        if not each["path"] or (each["state"] == "present" and each["content"] is None):
            raise Failure(f"a file to install has path {each['path']!r} and no content", USAGE, "give it both")
    files = [engine.File(each["path"], each["content"] if each["state"] == "present" else None, *own) for each in given]
    result: dict[str, Any] = {"changed": False, "restarted": {}, "warnings": [], "diff": []}
    result["plan"] = engine.as_dict(engine.Plan([]))
    if check and not os.path.exists(params["config"]):
        for file in files:
            tell(engine.plan_ahead(file, Failure(f"{params['config']} does not exist yet", DOWN)), result)
        return result
    supervisor = Supervisor(locate.find(params["config"]))
    mend = started(params["started"])
    proof, key = params["proof"], key_of(given)
    if check and proof and proven.noted(proof) != key:
        result |= {"changed": True, "why": "what is there was not seen to work"}
    if check and mend is True and (names := engine.settled(supervisor, files)) is not None:
        result["plan"]["unchanged"] = names
        return result
    if check:
        for plan in engine.plan_files(supervisor, params["config"], files, mend, lenient=True):
            tell(plan, result)
            # The task waits for what fails over and over, and says what its log ends with.
            known = [] if plan.down else programs.processes(supervisor)
            failing = loops(supervisor, known) | {each.name: None for each in known if each.state == "BACKOFF"}
            for process in known:
                if process.group in plan.mend and process.name in failing:
                    result |= {"changed": True, "why": f"{process.name} ends over and over"}
        return result
    last = {}
    with engine.exclusive(params["config"]), unbroken(signal.SIGINT):
        try:
            if proof:
                proven.forget(proof)
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
                    said = "\n".join(f"{event.program}: {event.kind}: {event.text}" for event in failed)
                    raise Failure(said, UNPROVEN)
                mended = set().union(*(plan.mend for plan in plans))
                result |= {"key": key, "pids": lived(supervisor, mended, commands)}
                result["meanwhile"] = {name: outcome(*begun) for name, begun in commands.items()}
        except Failure as failure:
            raise unfinished(failure, result) from None
    return result


def key_of(given: list[dict[str, Any]]) -> str:
    """Of all that is to be seen to work."""
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def beside(commands: dict[str, list[str]]) -> Iterator[dict[str, Begun]]:
    """{name: (process, what it writes to stdout, and to stderr)} of the commands; none of them, and of what they
    started, outlives a failure of what is done meanwhile."""
    begun: dict[str, Begun] = {}
    with contextlib.ExitStack() as files:
        try:
            for name, words in commands.items():
                out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                )
                begun[name] = process, out, err
            yield begun
        except BaseException:
            for process, *_ in begun.values():
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise


def outcome(process: subprocess.Popen[bytes], *said: IO[bytes]) -> dict[str, Any]:
    """What Ansible says of a command, once it has ended."""
    for file in said:
        file.seek(0)
    stdout, stderr = (file.read().decode(errors="replace") for file in said)
    return {"rc": process.wait(), "stdout": stdout, "stderr": stderr}


def lived(supervisor: Supervisor, groups: Collection[str], commands: dict[str, Begun]) -> dict[str, int]:
    """{program: pid} of what runs of the groups, when all commands have ended, and what had ended over and over has
    lived long enough; raises Failure for a program that ends until then."""
    known = programs.processes(supervisor)
    pids = {process.name: process.pid for process in known if process.group in groups and process.state == "RUNNING"}
    enough = {name: loop.enough for name, loop in loops(supervisor, known).items() if name in pids}
    while True:
        known = programs.processes(supervisor)
        proven.alive(supervisor, pids)
        young = any(each.now - each.start < enough.get(each.name, 0) for each in known)
        if not young and all(process.poll() is not None for process, *_ in commands.values()):
            return pids
        time.sleep(proven.PAUSE)


def unfinished(failure: Failure, result: dict[str, Any]) -> Unfinished:
    found = Unfinished(str(failure), failure.code)
    found.result = result
    return found


def tell(plan: engine.Plan, result: dict[str, Any]) -> None:
    """Add a plan to the result, with the texts before and after, and what it warns of."""
    result["changed"] |= engine.is_stale(plan) or bool(plan.changes)
    result["plan"] = {key: [*result["plan"][key], *found] for key, found in engine.as_dict(plan).items()}
    result["warnings"] += plan.warnings
    if plan.file and engine.is_stale(plan):
        before, after = plan.stored[0] if plan.stored else "", plan.file.text or ""
        header = {"before_header": plan.file.path, "after_header": plan.file.path}
        result["diff"].append(header | {"before": conffile.hide(before), "after": conffile.hide(after, before)})


def started(value: Any) -> bool | list[str]:
    """The argument `started`: a boolean, in any of Ansible's spellings, or a list of programs."""
    if isinstance(value, (bool, list)):
        return value
    word = str(value).lower()
    if word in ("yes", "on", "true", "1", "no", "off", "false", "0"):
        return word in ("yes", "on", "true", "1")
    raise Failure(f"started is {value!r}", USAGE, "write true, false or a list of programs")


def octal(value: Any) -> int:
    """The argument `mode`: YAML makes a number of 0600 and a text of "0600"."""
    try:
        return value if isinstance(value, int) else int(value, 8)
    except ValueError:
        raise Failure(f"mode is {value!r}", USAGE, 'write it in octal: "0600"') from None

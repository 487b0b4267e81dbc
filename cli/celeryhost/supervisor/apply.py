"""Bringing supervisord to its files: each changed program restarted once, unchanged ones left alone, removed ones gone.

One engine for `celeryhost apply`, which applies what is in the files, and for the role's module supervisor_programs,
which has one file to install. supervisord itself is never restarted.

Three truths are compared. What runs against the files: `reloadConfig`, which reads them again and changes nothing that
runs. The files against a text not yet written: supervisord's parser (conffile.check). And what `reloadConfig` does not
see, a deleted `stdout_logfile=`: the log that a process has (ProcessConfig.__eq__ passes over automatic logs). For a
file to install there is a fourth: what a process was started with may be other code than is on disk now.

Killed at any moment, it is completed by the next run: programs that a text removes are gone before the file that names
them is, and what a written file changes stays pending in supervisord until it is done. That order also means that a
renamed beat never runs twice.

A program that should run and does not (stopped by hand, FATAL) is mended for a file to install, which says how things
are to be; `celeryhost apply` leaves it alone unless it changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from .. import proc
from ..errors import DENIED, DOWN, FAILED, OK, TIMEOUT, USAGE, Failure
from ..masking import MASK, hide_passwords
from ..scripts.conffile_reader import canonical
from . import conffile, lifecycle
from .loops import loops
from .programs import ALIVE, DEAD, Process, processes, select
from .rpc import Supervisor
from .status import reread

ADD, CHANGE, REMOVE, START = "add", "change", "remove", "start"
LOCK_SECONDS = 600  # what another apply may take: workers that let long tasks end
LOCK_LOOK = 0.2  # seconds
LOCK = ".celeryhost.lock"
GROUP = "supervisor"  # whose members may apply


class File(NamedTuple):
    """A file as it should be; `text` None: not there. `owner` and `group` are names."""

    path: str
    text: str | None
    owner: str = "root"
    group: str = "root"
    mode: int = 0o600


class Change(NamedTuple):
    """What is to be done to a program (a group to supervisord). `options` {option: [old, new]}, secrets masked, holds
    what is known of the difference: supervisord tells neither `environment` nor `umask`; `remark` says whom it touches
    beside."""

    program: str
    action: str
    options: Options
    remark: str = ""


class Plan(NamedTuple):
    """What there is to do. `changes` [Change]; `unchanged` names; `foreign` names of programs with changes that are not
    this plan's; `file` to store over `stored`, (text, uid, gid, mode) or None; `down` the Failure of a supervisord that
    does not answer; `sure` names that change whatever supervisord sees; `mend` names that must run."""

    changes: Sequence[Change]
    unchanged: Sequence[str] = ()
    foreign: Sequence[str] = ()
    warnings: Sequence[str] = ()
    file: File | None = None
    stored: tuple[str, int, int, int] | None = None
    down: Failure | None = None
    sure: frozenset[str] = frozenset()
    mend: frozenset[str] = frozenset()


Options = dict[str, Any]  # as in Change


class _Pending(NamedTuple):
    added: set[str]
    changed: set[str]
    removed: set[str]
    options: dict[str, Options]
    configs: dict[tuple[str, str], dict[str, Any]]
    processes: list[Process]


def is_stale(plan: Plan) -> bool:
    """Whether the plan has a file to write, remove or give another owner or mode."""
    return plan.file is not None and plan.stored != _wanted(plan.file)


def as_dict(plan: Plan) -> dict[str, Any]:
    """The plan as `--json` and the module show it."""
    return {
        "changes": [change._asdict() for change in plan.changes],
        "unchanged": plan.unchanged,
        "foreign": plan.foreign,
        "warnings": plan.warnings,
    }


def plan(supervisor: Supervisor, patterns: Sequence[str] = ()) -> Plan:
    """What bringing supervisord to its files would do; `patterns` as in programs.select, none: everything.

    Raises Failure: USAGE when supervisord refuses the files, UNKNOWN, DOWN, DENIED.
    """
    pending = _pending(supervisor)
    known = {process.group: process for process in pending.processes}
    known |= {group: _unborn(group, name) for group, name in pending.configs if group not in known}
    chosen = {process.group for process in select(patterns, list(known.values()))} if patterns else set(known)
    actions = _actions(pending)
    changes = [
        Change(name, actions[name], pending.options.get(name, {}), _remark(name, actions[name], pending.processes))
        for name in sorted(chosen & set(actions))
    ]
    return Plan(changes, sorted(chosen - set(actions)), sorted(set(actions) - chosen))


def plan_files(
    supervisor: Supervisor, config: str, files: list[File], mend: bool | Collection[str] = True, lenient: bool = False
) -> list[Plan]:
    """What storing each file, after those before it, and bringing supervisord to it would do. Only its own programs,
    old and new, are touched.

    `mend`: whether unchanged ones that should run and do not are started, or the names of those. `lenient`, for a look
    ahead: users, folders, even a Supervisor that do not exist yet are taken for granted, and named in `warnings`.
    Raises Failure (USAGE) when supervisord would refuse the text; DENIED.
    """
    down = pid = None
    try:
        pid = supervisor.call("getPID")
    except Failure as failure:
        if failure.code != DOWN:
            raise
        down = failure
    try:
        readings, warnings = conffile.check(config, {file.path: file.text for file in files}, pid, lenient)
    except Failure as failure:
        if failure.code != DOWN or not lenient:
            raise
        return [plan_ahead(file, failure) for file in files]
    steps = zip(files, readings[:-1], readings[1:], strict=True)
    return [_plan_one(supervisor, file, now, then, warnings, down, mend) for file, now, then in steps]


def _plan_one(
    supervisor: Supervisor,
    file: File,
    now: conffile.Reading,
    then: conffile.Reading,
    warnings: list[str],
    down: Failure | None,
    mend: bool | Collection[str],
) -> Plan:
    stored = _stored(file.path)
    differences = {} if now.failure else _differences(now.groups, then.groups)
    own = {*differences, *_defined(now, file.path), *_defined(then, file.path)}
    if now.failure and stored:  # the file itself may be what supervisord refuses
        own |= conffile.groups(stored[0])
    pending = None if down or now.failure else _pending(supervisor)
    running = [] if down else processes(supervisor)
    wanted = own & set(then.groups) if mend is True else own & set(mend or ())
    drifted = {process.group for process in _drifted(running, pending, wanted)}
    outdated = {process.group for process in _outdated(running, wanted)}
    active = {process.group for process in running}
    actions = _actions(pending) if pending else {}
    changes, unchanged = [], []
    for name in sorted(own):
        options = differences.get(name) or (pending.options.get(name, {}) if pending else {})
        if name not in then.groups:
            changes += [Change(name, REMOVE, {})] if name in active else []
        elif name not in active:
            changes.append(Change(name, ADD, {}))
        elif now.failure or name in differences or actions.get(name) == CHANGE:
            changes.append(Change(name, CHANGE, options))
        elif name in outdated:
            changes.append(Change(name, CHANGE, {"code": ["what it was started with", "what is on disk"]}))
        elif name in drifted:
            changes.append(Change(name, START, {}))
        else:
            unchanged.append(name)
    foreign = sorted(set(actions) - own)
    if foreign:
        warnings = [*warnings, f"changes of other files are left alone: {', '.join(foreign)}"]
    # What ran as the files were changes for certain; of the rest supervisord decides once the file is there.
    sure = frozenset((set(differences) | outdated) & active & set(then.groups) - set(actions))
    return Plan(changes, unchanged, foreign, warnings, file, stored, down, sure, frozenset(wanted))


def settled(supervisor: Supervisor, files: list[File]) -> list[str] | None:
    """The programs of the files where all is stored and runs as it is to be, else None: then a plan tells.

    It takes supervisord's own word and that of its log, and spares the start of its parser.
    """
    if any(_stored(file.path) != _wanted(file) for file in files):
        return None
    try:
        pending = _pending(supervisor)
    except Failure:
        return None
    own = set().union(*(conffile.groups(file.text or "") for file in files))
    running = [process for process in pending.processes if process.group in own]
    if own != {process.group for process in running} or own & _actions(pending).keys():
        return None
    ended = loops(supervisor, pending.processes)
    failing = any(each.state == "BACKOFF" or each.name in ended for each in running)
    return None if failing or _drifted(running, pending, own) or _outdated(running, own) else sorted(own)


def plan_ahead(file: File, down: Failure) -> Plan:
    """What storing `file` will do once there is a Supervisor, as far as its text tells; `down` says what is missing."""
    changes = [Change(name, ADD, {}) for name in sorted(conffile.groups(file.text or ""))]
    return Plan(changes, warnings=[down.message], file=file, stored=_stored(file.path), down=down)


def apply(
    supervisor: Supervisor, plan: Plan, timeout: float | None = None, wait: bool = True
) -> Iterator[lifecycle.Event]:
    """Do what `plan` says; yields lifecycle.Events until each program is RUNNING with a new pid, gone, or has failed.

    `timeout` bounds all of it in seconds; without it each program has its own time (lifecycle). Without `wait` it ends
    when all are told to start, for `settle` to wait. A removed program that does not stop ends it before the file is
    touched. Raises Failure: DOWN once the file is stored, when no supervisord answers; DENIED, FAILED when the file
    cannot be stored. Hold `exclusive` around `plan` and `apply`.
    """
    deadline = None if timeout is None else time.monotonic() + timeout

    def left() -> float | None:
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    touched = {change.program for change in plan.changes}
    gone = {change.program for change in plan.changes if change.action == REMOVE}
    before = {} if plan.down else {process.name: process for process in processes(supervisor)}
    failed = set()
    if gone:
        for event in lifecycle.replace(supervisor, removed=sorted(gone), timeout=left()):
            if lifecycle.KINDS[event.kind] != OK:
                failed.add(event.program)
            yield event
        if failed:
            return
    if plan.file and is_stale(plan):
        _store(plan.file)
    if plan.down:
        raise plan.down
    pending = _pending(supervisor)
    added = touched & pending.added
    changed = (touched & pending.changed | plan.sure) - gone
    # supervisord gives what runs the time that it was started with, and tells only what is in the files now.
    grace = {
        change.program: change.options["stopwaitsecs"][0] for change in plan.changes if "stopwaitsecs" in change.options
    }
    for event in lifecycle.replace(supervisor, sorted(changed), sorted(added), wait=wait, timeout=left(), grace=grace):
        if lifecycle.KINDS[event.kind] != OK:
            failed.add(event.program)
        yield event
    now = processes(supervisor)
    ran = {name for name, process in before.items() if process.group in changed and process.state in ALIVE}
    rest = plan.mend - changed - added
    left_over = [
        process
        for process in now
        if (process.group in rest and process.state in ("STARTING", "BACKOFF"))  # of a run that was killed
        or (process.name in ran - failed and process.state == "STOPPED")  # autostart is off
    ]
    yield from lifecycle.start(supervisor, [*left_over, *_drifted(now, pending, rest)], wait=wait, timeout=left())


def settle(supervisor: Supervisor, plans: list[Plan], timeout: float | None = None) -> Iterator[lifecycle.Event]:
    """Wait for the programs of plans that were applied without waiting, all at once; yields Events as `apply` does."""
    touched = {change.program for plan in plans for change in plan.changes if change.action != REMOVE}
    left = {name for plan in plans for name in plan.mend}
    chosen = [
        process
        for process in processes(supervisor)
        if process.group in touched or (process.group in left and process.state in ("STARTING", "BACKOFF"))
    ]
    yield from lifecycle.settle(supervisor, chosen, timeout)


@contextlib.contextmanager
def exclusive(config: str | None, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Keep other applies to the supervisord of this configuration file out, waiting up to `seconds` for one to end.

    A lock on a file beside it that only root and group `supervisor` may open, so that nobody else can hold it. The
    kernel lets it go with the process, so none can be left behind; /proc/locks knows its holder. Without a file (a
    server on another machine) there is nothing to lock. Raises Failure (TIMEOUT, DENIED).
    """
    import fcntl

    if not config:
        yield
        return
    folder = os.path.dirname(os.path.realpath(config))
    try:
        handle = _lock_file(os.path.join(folder, LOCK))
    except OSError as error:
        raise Failure(f"{folder}/{LOCK}: {error.strerror}", DENIED, "use sudo") from None
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    message = f"another apply still works on {folder} after {seconds:g} s{_holder(handle)}"
                    raise Failure(message, TIMEOUT, "wait for it, or end it: the next apply completes it") from None
                time.sleep(LOCK_LOOK)
        yield
    finally:
        os.close(handle)


def _lock_file(path: str) -> int:
    """A descriptor of it, made where it is missing; raises OSError, also for one that others may open."""
    import grp

    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        handle = os.open(path, flags | os.O_CREAT, 0o600)
        with contextlib.suppress(KeyError):
            if os.geteuid() == 0:
                os.fchown(handle, 0, grp.getgrnam(GROUP).gr_gid)
                os.fchmod(handle, 0o660)
    found = os.fstat(handle)
    if found.st_mode & 0o007 or found.st_uid not in (0, os.geteuid()):
        os.close(handle)
        raise PermissionError(errno.EPERM, "others may lock it; remove it", path)
    return handle


def config_of(supervisor: Supervisor) -> str | None:
    """The configuration file of the supervisord that answers: its own `-c`, else the one that led to it."""
    return conffile.main_file(supervisor.call("getPID")) or supervisor.server.config


# What is pending


def _pending(supervisor: Supervisor) -> _Pending:
    """What supervisord finds in its files and does not run, each as a set of groups; it reads them anew."""
    old = _configs(supervisor)
    added, told, removed = reread(supervisor, config_of(supervisor))
    new, running = _configs(supervisor), processes(supervisor)
    unseen = _automatic_now(running, new, supervisor.call("getIdentification"))
    changed = {*told, *unseen} - {*added, *removed}
    options: dict[str, Options] = {name: dict(unseen.get(name, {})) for name in changed}
    for (group, name), config in new.items():
        if group in changed and (group, name) in old:
            options[group] |= _shown(_automatic_named(old[group, name], config), config)
    return _Pending(set(added), changed, set(removed), options, new, running)


def _actions(pending: _Pending) -> dict[str, str]:
    names = {ADD: pending.added, CHANGE: pending.changed, REMOVE: pending.removed}
    return {name: action for action, them in names.items() for name in them}


def _configs(supervisor: Supervisor) -> dict[tuple[str, str], dict[str, Any]]:
    return {(info["group"], info["name"]): info for info in supervisor.call("getAllConfigInfo")}


def _automatic_now(
    running: list[Process], configs: dict[tuple[str, str], dict[str, Any]], identifier: str
) -> dict[str, Options]:
    """{group: options} of processes whose log became automatic: the names of supervisord's own say which those were."""
    found: dict[str, Options] = {}
    for process in running:
        config = configs.get((process.group, process.process), {})
        for stream in ("stdout", "stderr"):
            path = getattr(process, f"{stream}_logfile")
            own = os.path.basename(path).startswith(f"{process.process}-{stream}---{identifier}-")
            if config.get(f"{stream}_logfile") == "auto" and not own:
                found.setdefault(process.group, {})[f"{stream}_logfile"] = [path or "none", "auto"]
    return found


def _automatic_named(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with `auto` for the names that supervisord has given to automatic logs."""
    names = {
        option: "auto"
        for option in ("stdout_logfile", "stderr_logfile")
        if new.get(option) == "auto" and re.search(r"-std(out|err)---.+-[^/]+\.log$", str(old.get(option)))
    }
    return old | names


def _drifted(running: list[Process], pending: _Pending | None, groups: Collection[str]) -> list[Process]:
    """The processes of `groups` that should run and do not; one that ended as expected (no spawnerr) may stay so."""
    return [
        process
        for process in running
        if process.group in groups
        and process.state in DEAD
        and pending
        and pending.configs.get((process.group, process.process), {}).get("autostart")
        and (process.state != "EXITED" or process.spawnerr)
    ]


def _outdated(running: list[Process], groups: Collection[str]) -> list[Process]:
    """The processes of `groups` that were started before the code of their app became what is on disk now."""
    moments = proc.code_moments()
    return [
        process
        for process in running
        if process.group in groups
        and process.pid
        and (age := proc.age(process.pid)) is not None
        and proc.is_older(process.group, proc.since_boot() - age, moments)
    ]


def _remark(group: str, action: str, running: list[Process]) -> str:
    """That supervisord replaces a group as a whole, and starts what of it a person has stopped."""
    members = [process for process in running if process.group == group]
    if action != CHANGE or len(members) < 2:
        return ""
    stopped = [process.process for process in members if process.state in DEAD]
    told = f"the whole group: {', '.join(process.process for process in members)}"
    return f"{told}; starts {', '.join(stopped)}, which had stopped" if stopped else told


def _unborn(group: str, name: str) -> Process:
    shown = name if group == name else f"{group}:{name}"
    return Process(shown, group, name, "STOPPED", 0, 0, 0, 0, "", 0, "", "", "")


# What differs


def _defined(reading: conffile.Reading, path: str) -> set[str]:
    """The groups that a file has a part in."""
    sections = set(reading.sections.get(canonical(path), ()))
    return {name for name, group in reading.groups.items() if sections & set(group["sections"])}


def _differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Options]:
    """{group: its options that differ, as in Change} for all not the same in both; none where only one has it."""
    return {
        name: _difference(old[name], new[name]) if name in old and name in new else {}
        for name in {*old, *new}
        if old.get(name) != new.get(name)
    }


def _difference(old: dict[str, Any], new: dict[str, Any]) -> Options:
    options = _shown(old["settings"], new["settings"])
    if sorted(old["processes"]) != sorted(new["processes"]):
        options["processes"] = [", ".join(sorted(old["processes"])), ", ".join(sorted(new["processes"]))]
    for name in set(old["processes"]) & set(new["processes"]):
        options |= _shown(old["processes"][name], new["processes"][name])
    return options


def _shown(old: dict[str, Any], new: dict[str, Any]) -> Options:
    found: Options = {}
    for name in sorted({*old, *new} - {"inuse"}):
        was, is_now = old.get(name), new.get(name)
        if name == "environment" and was != is_now:
            was, is_now = was or {}, is_now or {}
            keys = sorted(key for key in {*was, *is_now} if was.get(key) != is_now.get(key))
            found |= {f"environment.{key}": [key in was and MASK, key in is_now and MASK] for key in keys}
        elif was != is_now:
            found[name] = [_plain(was), _plain(is_now)]
    return found


def _plain(value: object) -> object:
    return hide_passwords(value) if isinstance(value, str) else value


# The file


def _stored(path: str) -> tuple[str, int, int, int] | None:
    try:
        with open(path, "rb") as file:
            state = os.fstat(file.fileno())
            text = file.read().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", DENIED, "use sudo") from None
    return text, state.st_uid, state.st_gid, state.st_mode & 0o7777


def _wanted(file: File) -> tuple[str, int, int, int] | None:
    import grp
    import pwd

    if file.text is None:
        return None
    try:
        return file.text, pwd.getpwnam(file.owner).pw_uid, grp.getgrnam(file.group).gr_gid, file.mode
    except KeyError as error:
        raise Failure(f"{file.path}: {error.args[0]}", USAGE, "correct owner or group") from None


def _store(file: File) -> None:
    """Make the file what it should be, in one step that a crash cannot halve; the include glob sees no other name."""
    folder, name = os.path.split(file.path)
    temporary = os.path.join(folder, f".{name}.celeryhost")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        wanted = _wanted(file)
        if wanted is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.path)
        else:
            text, uid, gid, mode = wanted
            try:
                handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with open(handle, "wb") as stream:
                    stream.write(text.encode("utf-8", "surrogateescape"))
                    stream.flush()
                    os.fchown(handle, uid, gid)
                    os.fchmod(handle, mode)
                    os.fsync(handle)
                os.replace(temporary, file.path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(parent)
        os.close(parent)
    except PermissionError as error:
        raise Failure(f"{file.path}: {error.strerror}", DENIED, "use sudo") from None
    except OSError as error:
        raise Failure(f"{file.path} cannot be written: {error.strerror}", FAILED, "see df and the folder") from None


def _holder(handle: int) -> str:
    """`: pid 12 (its command)` of whoever locks this folder, as far as this user may see it."""
    inode = str(os.fstat(handle).st_ino)
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/locks") as locks:
        for line in locks:
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                return f": pid {words[4]} ({' '.join(proc.words(int(words[4])))[:120]})"
    return ""

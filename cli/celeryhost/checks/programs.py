"""Each program: what it needs on disk, whom it runs as, how it is stopped, what becomes of its log."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from glob import glob
from shlex import split

from .. import account
from ..celery.command_line import option
from ..errors import Failure
from ..project import tasks
from ..supervisor import conffile
from . import ROOT, Finding, Skip, fail, ok, warn
from .host import App, Host, Part, log_of

SHORT_GRACE = 60  # seconds; below that tasks without a time limit can be expected to be killed
BIG_LOG = 100 << 20
LOGROTATE = "/etc/logrotate.d/*"
TEST_SECONDS = 20
TEST = 'for word; do test "${word%%:*}" "${word#*:}" || echo "$word"; done'


def paths(host: Host, app: App) -> Iterator[Finding]:
    """A virtual environment whose Python lies under another user's home cannot be run by the program's user; Supervisor
    then says only `Exited too quickly`."""
    needed: list[tuple[conffile.Program, dict[str, set[str]]]] = [*map(_needs, app.parts)]
    needed += [(program, {}) for program in app.others]
    for program, wanted in needed:
        everybody = {program.directory, split(program.command)[0]}
        words = [f"-x:{path}" for path in sorted(everybody | wanted.get("-x", set()), key=str) if path and "/" in path]
        words += [f"-w:{path}" for path in wanted.get("-w", ())]
        missing = _failing(program, words)
        for word in missing:
            mode, path = word.split(":", 1)
            yield fail(program.name, *_explained(mode, path, program))
        if not missing:
            reached = ", ".join(word.split(":", 1)[1] for word in words)
            yield ok(program.name, f"{program.user or 'the user of supervisord'} reaches {reached}")


def _needs(part: Part) -> tuple[conffile.Program, dict[str, set[str]]]:
    """A worker's or beat's conffile.Program, and the paths that it must be able to run or enter (-x) and to write."""
    python = part.read.python
    wanted: dict[str, set[str]] = {
        "-x": {python, os.path.realpath(python)} if os.path.exists(python) else {python},
        "-w": set(),
    }
    log = option(part.words, "-f", "--logfile")  # what Supervisor captures it opens as root
    if log:
        wanted["-w"].add(log if os.path.exists(log) else os.path.dirname(log))
    return part.program, wanted


def _failing(program: conffile.Program, words: list[str]) -> list[str]:
    """Those of `-x:PATH` and so on that do not hold for the user of the program."""
    try:
        owner = tasks.runs_as(program)
    except Failure:
        raise Skip(ROOT) from None
    except KeyError:
        raise Skip(f"there is no user {program.user}") from None
    try:
        _, said, _ = account.converse(["/bin/sh", "-c", TEST, "sh", *words], owner, seconds=TEST_SECONDS)
    except TimeoutError:
        raise Skip(f"{program.directory} and the like took more than {TEST_SECONDS} s to look at") from None
    return os.fsdecode(said).splitlines()


def _explained(mode: str, path: str, program: conffile.Program) -> tuple[str, str, str]:
    user = program.user or "supervisord's user"
    if not os.path.lexists(path):
        folder = path
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        symptom = f"couldn't chdir to {path}: ENOENT" if path == program.directory else f"can't find command {path!r}"
        if mode == "-w":
            symptom = f"unknown error making dispatchers for {program.name!r}: ENOENT"
        return (
            symptom,
            f"{path} does not exist (there is {folder})",
            "make it, or correct the path in its configuration",
        )
    if os.path.islink(path) and not os.path.exists(path):
        cause = f"{path} leads to {os.readlink(path)}, which is gone"
        return "Exited too quickly (process log may have details)", cause, "make the virtual environment again"
    verb = {"-x": "enter" if os.path.isdir(path) else "run", "-w": "write"}[mode]
    barred = _barred(path, program)
    why = f"{user} may not enter {barred}" if barred else f"{user} may not {verb} it"
    fix = f"chmod a+x {barred}, or move it out of there" if barred else f"chown {user} {path}, or chmod it"
    said = " (Supervisor: couldn't exec: EACCES)" if verb == "run" else ""
    return f"[Errno 13] Permission denied: {path!r}{said}", why, fix


def _barred(path: str, program: conffile.Program) -> str | None:
    """The first folder on the way to `path` that the program's user may not enter."""
    for way in (path, os.path.realpath(path)):
        folders = [way[:at] or "/" for at, letter in enumerate(way) if letter == "/"]
        for word in _failing(program, [f"-x:{folder}" for folder in folders]):
            return word.split(":", 1)[1]
    return None


def users(host: Host, app: App) -> Iterator[Finding]:
    """http://supervisord.org/configuration.html, user=: what runs may still be another than what is configured."""
    import pwd

    for part in app.parts:
        pid = part.row and part.row.pid
        wanted = part.program.user
        if not pid or not os.path.isdir(f"/proc/{pid}"):
            continue
        uid = os.stat(f"/proc/{pid}").st_uid
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = str(uid)
        if wanted and name != wanted:
            yield fail(
                part.name,
                f"it runs as {name}, user= says {wanted}",
                "the configuration was changed after it was started",
                f"celeryhost apply, or celeryhost restart {part.name}",
            )
        elif uid == 0:
            yield warn(
                part.name,
                "SecurityWarning: You're running the worker with superuser privileges"
                if part.command == "worker"
                else "beat runs with superuser privileges",
                "user= is missing or root: whoever can send a task is root here",
                f"add user={app.name} to [program:{part.name}]",
            )
        else:
            yield ok(part.name, f"runs as {name}")


def code(host: Host, app: App) -> Iterator[Finding]:
    """A process runs what it has imported: after a deploy that was refused, or one that went back, that may be other
    code than is on disk, and a part of each once a process of its pool is replaced."""
    names = {program.group for program in (*(part.program for part in app.parts), *app.others)}
    for row in host.rows:
        if row.group not in names or not row.pid:
            continue
        try:
            folder = os.readlink(f"/proc/{row.pid}/cwd")
        except FileNotFoundError:
            continue
        if row.outdated or folder.endswith(" (deleted)"):
            cause = "it was started before the code on disk was brought" if row.outdated else f"its folder was {folder}"
            fix = "celeryhost provision, which loads the code before it restarts it"
            yield fail(row.name, "another version runs than is on disk", cause, fix)
        else:
            yield ok(row.name, "was started with the code that is on disk")


def grace(host: Host, app: App) -> Iterator[Finding]:
    """What runs longer than stopwaitsecs is killed at each restart; TERM to the group kills tasks at once (Celery 2700,
    3631, 4200)."""
    for part in app.workers:
        program = part.program
        if program.stopasgroup:
            yield fail(
                part.name,
                "running tasks are lost at each restart (stopasgroup=true)",
                "TERM goes to the pool's processes too and ends their tasks",
                "set stopasgroup=false, killasgroup=true",
            )
        if not program.killasgroup:
            yield warn(
                part.name,
                "processes of the worker stay behind after a restart (killasgroup=false)",
                "KILL reaches its main process alone",
                "set killasgroup=true",
            )
        try:
            limits = app.probe["limits"]
        except Skip:
            limits = {"seconds": None, "unlimited": 0}
        longest, seconds = limits["seconds"], program.stopwaitsecs
        if longest and longest > seconds:
            yield warn(
                part.name,
                f"a task is killed at each restart (stopwaitsecs={seconds})",
                f"{limits['task']} may take {longest:g} s",
                f"set stopwaitsecs={int(longest) + 30}, or a shorter time limit",
            )
        elif limits["unlimited"] and seconds < SHORT_GRACE:
            yield warn(
                part.name,
                f"tasks that take longer than {seconds} s are killed at each restart (stopwaitsecs={seconds})",
                "no time limit says how long a task may take",
                "set task_time_limit, and stopwaitsecs to 30 more",
            )
        else:
            told = f"{longest:g} s" if longest and not limits["unlimited"] else "no limit"
            yield ok(part.name, f"stopwaitsecs {seconds}, longest task {told}")


def logs(host: Host, app: App) -> Iterator[Finding]:
    """A log's folder that is gone shows at the next start only; a log that nobody rotates fills the disk."""
    patterns = _rotated()
    for part in app.parts:
        log = log_of(part)
        if not log or not log.startswith("/"):
            continue
        if not os.path.isdir(os.path.dirname(log)):
            yield fail(
                part.name,
                f"unknown error making dispatchers for {part.name!r}: ENOENT",
                f"the folder of {log} is gone: what is written goes nowhere, and the next start fails",
                f"make it again (owner {part.program.user or 'root'}), then celeryhost restart {part.name}",
            )
            continue
        by_supervisor = log == part.program.stdout_logfile and part.program.stdout_logfile_maxbytes
        by_logrotate = any(_is_match(log, pattern) for pattern in patterns)
        size = os.stat(log).st_size if os.path.exists(log) else 0
        if by_supervisor and by_logrotate:
            cause = "Supervisor and logrotate both rename it"
            yield warn(part.name, f"lines vanish from {log}", cause, "set stdout_logfile_maxbytes=0")
        elif not by_supervisor and not by_logrotate:
            yield (fail if size > BIG_LOG else warn)(
                part.name,
                f"No space left on device, sooner or later: {log} grows ({size >> 20} MB)",
                "neither Supervisor nor logrotate rotates it",
                "add it to a file in /etc/logrotate.d (celeryhost provision does)",
            )


def _rotated() -> list[str]:
    """The files that logrotate's configuration names, globs as they are."""
    found = []
    for path in ["/etc/logrotate.conf", *glob(LOGROTATE)]:
        try:
            with open(path, errors="replace") as lines:
                heads = [line.partition("{")[0].strip() for line in lines]
        except OSError:
            continue
        found += [word.strip("\"'") for head in heads if head[:1] in ("/", '"', "'") for word in head.split()]
    return found


def _is_match(path: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return path == pattern or (fnmatchcase(path, pattern) and path.count("/") == pattern.count("/"))


def disk(host: Host, app: App) -> Iterator[Finding]:
    """A full disk: the program stays RUNNING, its lines vanish, and Redis stops taking tasks (MISCONF)."""
    folders = {os.path.dirname(log) for part in app.parts if (log := log_of(part)) and log.startswith("/")}
    folders |= {part.program.directory for part in app.parts if part.program.directory}
    seen = set()
    for folder in sorted(folders):
        try:
            state, found = os.statvfs(folder), os.stat(folder)
        except OSError:
            continue
        if not stat.S_ISDIR(found.st_mode) or found.st_dev in seen:
            continue
        seen.add(found.st_dev)
        free, size = state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
        inodes = state.f_favail / state.f_files if state.f_files else 1
        share = min(free / size if size else 1, inodes)
        what = f"{free >> 20} MB ({100 * share:.0f} %) free" if inodes > 0.05 else "hardly an inode is free"
        if share < 0.05 and (free < 1 << 30 or inodes < 0.05):
            yield (fail if share < 0.01 else warn)(
                app.name,
                "[Errno 28] No space left on device",
                f"{folder}: {what}",
                "see what fills it: du -xh --max-depth=2 /var | sort -h | tail",
            )
        else:
            yield ok(app.name, f"{folder}: {what}")

"""supervisord itself: whether it answers, what runs under it, what it would read, how many files it may open."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ..errors import DENIED, DOWN, USAGE, Failure
from ..paths import REDIS_PACKAGES, SUPERVISOR_LOGS, SUPERVISOR_SOCKET, SUPERVISORD_CONF
from ..supervisor import conffile
from ..supervisor.loops import loops
from ..supervisor.programs import processes as processes_of
from ..supervisor.programs import tail
from ..supervisor.status import reread
from . import ROOT, Finding, Skip, fail, ok, skip, warn
from .host import Host, processes

SUBJECT = "supervisord"

# The end of a program's log, or Supervisor's own words, and what helps.
MEANINGS = (
    (r"couldn't chdir", "make the folder of directory=, or correct it"),
    (r"couldn't exec .*EACCES|is not executable", "see check `paths`: its user may not run that file"),
    (r"can't find command|couldn't exec .*ENOENT", "correct command=: a whole path into the virtual environment"),
    (r"unknown error making dispatchers", "make the log's folder again: mkdir -p, owner as before"),
    (r"Unable to load celery application|No module named|ImportError|Error: Invalid value for '-A'", "see check `app`"),
    (r"Authentication required|invalid username-password|Connection refused", "see check `broker`"),
    (r"Errno 13.*schedule|_dbm\.error", "let its user write beat's schedule file (-s), or remove that file"),
)


def supervisord(host: Host) -> Iterator[Finding]:
    """http://supervisord.org/running.html; a supervisord that hangs does not answer either."""
    try:
        supervisor = host.supervisor
    except Failure as failure:
        if failure.code != DOWN:
            raise
        here = any(words[0].endswith(REDIS_PACKAGES) for words in processes().values())
        said = skip(SUBJECT, failure.message) if here else None
        yield said or fail(SUBJECT, "no supervisord.conf", failure.message, failure.fix)
        return
    try:
        ((version,),) = [supervisor.multicall([("getSupervisorVersion",)])]
    except Failure as failure:
        if failure.code == DENIED:
            yield skip(SUBJECT, str(failure))
            return
        symptom = f"unix://{SUPERVISOR_SOCKET} no such file, or refused connection"
        yield fail(SUBJECT, symptom, failure.message, failure.fix or f"see its log in {SUPERVISOR_LOGS}")
        return
    yield ok(SUBJECT, f"version {version} answers at {supervisor.server.url}")


def programs(host: Host) -> Iterator[Finding]:
    """http://supervisord.org/subprocess.html#process-states: FATAL does not end by itself."""
    rows = host.report.rows
    names = {part.program.group for app in host.apps for part in app.parts} if host.names else None
    known = {process.name: process for process in processes_of(host.live)}
    ending = loops(host.live, list(known.values()))
    running = 0
    for row in rows:
        if names is not None and row.group not in names:
            continue
        if loop := ending.get(row.name):
            said = (tail(known[row.name], 1, host.live) or ["it said nothing"])[-1]
            cause = f"it has ended {loop.lives} times in a row, after {loop.longest:.0f} s at most: {said}"
            yield fail(row.name, f"{row.state}, EXITED in turn", cause, _fix(said) or f"celeryhost logs {row.name}")
        elif row.state in ("RUNNING", "STARTING", "STOPPING"):
            running += 1
        elif row.state == "STOPPED" or (row.state == "EXITED" and not row.error):
            yield warn(row.name, f"{row.state}", "someone stopped it, or it ended", f"celeryhost start {row.name}")
        else:
            said = row.last_line or row.error or "it said nothing"
            fix = _fix(f"{row.error} {said}")
            cause = f"{row.error}: {said}" if row.error and row.last_line else said
            yield fail(row.name, row.state, cause, fix or f"celeryhost logs {row.name}")
    if running:
        yield ok(SUBJECT, f"{running} running")


def _fix(said: str) -> str | None:
    return next((fix for pattern, fix in MEANINGS if re.search(pattern, said)), None)


def configuration(host: Host) -> Iterator[Finding]:
    """A file that supervisord cannot read blocks every `update`, and at boot supervisord itself does not start."""
    try:
        changes = dict(zip(("added", "changed", "removed"), reread(host.live, host.live.server.config), strict=True))
    except Failure as failure:
        if failure.code != USAGE:
            raise
        cause = "at the next boot supervisord would not start at all"
        yield fail(SUBJECT, f"CANT_REREAD: {failure.message}", cause, failure.fix or "correct that file")
        return
    if not any(changes.values()):
        yield ok(SUBJECT, "what is on disk is what runs")
    else:
        told = ", ".join(f"{name} ({kind})" for kind, names in changes.items() for name in names)
        yield warn(
            SUBJECT, "a changed configuration has no effect", f"on disk, not running: {told}", "celeryhost apply"
        )


def warning(host: Host) -> Iterator[Finding]:
    """supervisor/options.py warns of what is a way to become root: a supervisord.conf in the current folder."""
    pid = host.pid
    if os.stat(f"/proc/{pid}").st_uid == 0 and conffile.main_file(pid) is None:
        yield warn(
            SUBJECT,
            "options.py: UserWarning: Supervisord is running as root and it is searching for its configuration file in "
            "default locations (including its current working directory)",
            "it was started without -c",
            f"start it with -c {SUPERVISORD_CONF}",
        )


def files(host: Host) -> Iterator[Finding]:
    """supervisord holds some for each program (http://supervisord.org/configuration.html, minfds); they inherit it."""
    try:
        with open(f"/proc/{host.pid}/limits") as lines:
            limit = next(line.split()[3] for line in lines if line.startswith("Max open files"))
        used = len(os.listdir(f"/proc/{host.pid}/fd"))
    except PermissionError:
        raise Skip(ROOT) from None
    if limit != "unlimited" and used > 0.8 * int(limit):
        yield (fail if used > 0.95 * int(limit) else warn)(
            SUBJECT,
            "[Errno 24] Too many open files",
            f"{used} of {limit} file descriptors are open",
            "set minfds in [supervisord] and LimitNOFILE= of its service higher, and start it again",
        )
    else:
        yield ok(SUBJECT, f"{used} of {limit} file descriptors open")

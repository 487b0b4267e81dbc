"""Running a command as the account that a project belongs to, without sudo, which a bare machine lacks.

What runs there is the project's code. It gets the variables that are named here and no others (root's may hold keys of
a cloud), a session of its own (on root's terminal it could type), and an end: its time and what it says are bounded.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import IO, Any

LIMIT = 4 << 20  # bytes of an output that are kept, its last
LINGER = 1.0  # seconds that output is waited for once the command has ended: what it left behind may hold it open
# What pip, uv and git need to reach their servers, and what a terminal's language and clock are.
PASSED = re.compile(
    r"LANG|LANGUAGE|LC_\w+|TZ|(?i:(http|https|ftp|all|no)_proxy)|(PIP|UV)_\w+|SSL_CERT_(FILE|DIR)"
    r"|(REQUESTS|CURL)_CA_BUNDLE|GIT_SSL_CA(INFO|PATH)"
)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LONGEST = 400  # characters of an exception's text
# Of an output in which a cause is looked for: what an app writes may be made to take a pattern hours.
END, WIDEST = 1 << 16, 2000  # characters at its end, and of a line

_PLACE = re.compile(r' +File "([^"]+)", line (\d+)')
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(:|$)")
_CAUSED = "The above exception was the direct cause of"
_MEANWHILE = "During handling of the above exception"


def named(user: str) -> pwd.struct_passwd:
    """The account (pwd) of that name or number; raises KeyError."""
    return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)


def become(account: pwd.struct_passwd) -> dict[str, Any]:
    """What has subprocess be that account, in a session of its own. Nothing to become where this process is it."""
    apart = {"start_new_session": True}
    if os.geteuid() == account.pw_uid:
        return apart
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return apart | {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}


def inherited() -> dict[str, str]:
    """The variables of this process that are passed on."""
    return {name: value for name, value in os.environ.items() if PASSED.fullmatch(name)}


def variables(account: pwd.struct_passwd) -> dict[str, str]:
    """The environment that a command of that account starts with."""
    own = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name, "SHELL": "/bin/sh"}
    return {"PATH": PATH} | inherited() | own | {"LC_ALL": "C.UTF-8"}


def run(
    user: str, *command: str, cwd: str, environment: dict[str, str] | None = None, seconds: float | None = None
) -> tuple[int, str]:
    """Exit code and output (stdout and stderr as they came) of `command`, run as `user` with that account's groups.

    `environment` is added to that of `variables`. What takes more than so many `seconds` is ended, and fails.
    Raises KeyError without such an account, OSError when the command cannot be started.
    """
    account = named(user)
    given = variables(account) | (environment or {})
    try:
        code, said, _ = converse(command, account, seconds=seconds, cwd=cwd, env=given, stderr=subprocess.STDOUT)
    except TimeoutError:
        return 124, f"not done after {seconds:g} s, and ended"
    return code, said.decode(errors="replace")


def converse(
    command: Sequence[str],
    account: pwd.struct_passwd,
    given: bytes = b"",
    seconds: float | None = None,
    limit: int = LIMIT,
    **options: Any,
) -> tuple[int, bytes, bytes]:
    """(exit code, stdout, stderr) of `command`, run as `account`; of what it says the last `limit` bytes each.

    `options` are subprocess.Popen's. Raises TimeoutError, when all of it has been killed, and OSError.
    """
    pipes = {"stdin": subprocess.PIPE if given else subprocess.DEVNULL, "stdout": subprocess.PIPE}
    begun: dict[str, Any] = (
        pipes | {"stderr": subprocess.PIPE, "cwd": "/", "env": variables(account)} | become(account) | options
    )
    return finish(subprocess.Popen(command, **begun), given, seconds, limit)


def finish(
    process: subprocess.Popen[bytes], given: bytes = b"", seconds: float | None = None, limit: int = LIMIT
) -> tuple[int, bytes, bytes]:
    """See `converse`; `process` leads a session of its own."""
    deadline = None if seconds is None else time.monotonic() + seconds
    said = {pipe: bytearray() for pipe in (process.stdout, process.stderr) if pipe}
    by_descriptor = {pipe.fileno(): output for pipe, output in said.items()}
    rest = memoryview(given)
    until = 0.0  # what it left behind may also write for ever
    try:
        with selectors.DefaultSelector() as selector:
            for pipe in said:
                selector.register(pipe, selectors.EVENT_READ)
            if process.stdin:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                ready = selector.select(LINGER if deadline is None else min(LINGER, deadline - time.monotonic()))
                if process.poll() is not None:
                    until = until or time.monotonic() + LINGER
                    if not ready or time.monotonic() >= until:
                        break
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"not done after {seconds:g} s")
                for key, _ in ready:
                    if process.stdin and key.fileobj is process.stdin:
                        with contextlib.suppress(BlockingIOError):
                            rest = rest[_written(process.stdin, rest) :]
                        if not rest:
                            selector.unregister(process.stdin)
                            process.stdin.close()
                    elif data := os.read(key.fd, 65536):
                        output = by_descriptor[key.fd]
                        output += data
                        if len(output) > 2 * limit:
                            del output[:-limit]
                    else:
                        selector.unregister(key.fileobj)
        code = process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        end(process)
        raise TimeoutError(f"not done after {seconds:g} s") from None
    except BaseException:
        end(process)
        raise
    finally:
        for pipe in filter(None, (process.stdin, *said)):
            pipe.close()
    stdout, stderr = (said[pipe][-limit:] if pipe else b"" for pipe in (process.stdout, process.stderr))
    return code, bytes(stdout), bytes(stderr)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session, and what it has started in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _written(pipe: IO[bytes], text: memoryview) -> int:
    try:
        return os.write(pipe.fileno(), text[:65536])
    except BrokenPipeError:  # it has ended, or reads nothing
        return len(text)


def last_line(output: str) -> str:
    """The last line of `output` that says something: of a traceback that is the exception."""
    return ([line.strip() for line in legible(output).splitlines() if line.strip()] or ["it said nothing"])[-1]


def legible(output: str) -> str:
    """The end of `output` as far as a person would read it."""
    return "\n".join(line[:WIDEST] for line in output[-END:].split("\n"))


def error(output: str, folder: str) -> str:
    """Why a Python process ended, from its traceback: the exception, which may take several lines, and the last place
    below `folder` that led to it, as `(FILE:LINE)`; what it said last where there is no traceback.
    """
    lines = [line[:WIDEST] for line in output.splitlines()]
    last = max((at for at, line in enumerate(lines) if _PLACE.match(line)), default=None)
    if last is None:
        return last_line(output)
    said = next((at for at in range(last + 1, len(lines)) if _EXCEPTION.match(lines[at])), None)
    text = " ".join(" ".join(lines[said:]).split())[:LONGEST] if said is not None else last_line(output)
    if (cause := _direct_cause(lines[:last])) and cause.partition(": ")[2] not in text:
        text += f", because of {cause[:LONGEST]}"
    begin = max(at for at, line in enumerate(lines[: last + 1]) if at == 0 or line.startswith("Traceback "))
    places = [found.groups() for line in lines[begin : last + 1] if (found := _PLACE.match(line))]
    own = [place for place in places if _is_own(place[0], folder)]
    path, line = (own or places)[-1]
    return f"{text} ({path}:{line})"


def _direct_cause(lines: list[str]) -> str:
    """The exception that the last one in these lines of tracebacks was raised from; "" where there is none."""
    at = max((at for at, line in enumerate(lines) if line.startswith(_CAUSED)), default=None)
    if at is None or any(line.startswith(_MEANWHILE) for line in lines[at:]):
        return ""
    return next((line.strip() for line in reversed(lines[:at]) if _EXCEPTION.match(line)), "")


def _is_own(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/") and "/site-packages/" not in path

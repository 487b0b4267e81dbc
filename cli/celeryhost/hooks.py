"""Programs of a person's own that are run around a deploy, on the machine that it is started from.

They lie in the folder `hooks` beside the inventory: `pre-deploy`, which may forbid it, `post-deploy`, `failed-deploy`.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Mapping, Sequence

from . import account
from .errors import HOOK, USAGE, Failure
from .paths import HOOKS

PRE, POST, FAILED = "pre-deploy", "post-deploy", "failed-deploy"
LIMIT = "CELERYHOST_HOOK_TIMEOUT"
SECONDS = 300.0
KEPT = 64 << 10  # bytes of what one says


def folder(sources: Sequence[str]) -> str:
    """Where those of an inventory are, be they there or not; "" for one that is no file or folder."""
    for source in sources:
        if os.path.exists(source):
            return os.path.join(os.path.dirname(os.path.abspath(source)), HOOKS)
    return ""


def find(where: str, name: str) -> str | None:
    """The hook of that name, None without one. Raises Failure (USAGE) for one that cannot be started, or not safely."""
    path = os.path.join(where, name)
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not where:
        return None
    if not stat.S_ISREG(found.st_mode) or not os.access(path, os.X_OK):
        raise Failure(f"{path} is no executable file", USAGE, f"chmod +x {path}, or take it away")
    mine = {0, os.geteuid(), int(os.environ.get("SUDO_UID", os.geteuid()))}
    if found.st_uid not in mine or found.st_mode & stat.S_IWOTH:
        raise Failure(f"{path} could be changed by another account", USAGE, f"chown and chmod o-w {path}")
    return path


def seconds() -> float:
    """How long one may take. Raises Failure (USAGE)."""
    given = os.environ.get(LIMIT)
    try:
        limit = float(given) if given else SECONDS
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise Failure(f"{LIMIT} is {given!r}, which is no number of seconds", USAGE, f"write {LIMIT}=300")
    return limit


def run(where: str, name: str, facts: Mapping[str, object]) -> str:
    """Run the hook of that name, if there is one, and return what it says.

    Of `facts` it has each in its environment, `hosts` as CELERYHOST_HOSTS. Raises Failure: HOOK when it fails or takes
    too long (it is killed then, with what it has started), USAGE as `find` does.
    """
    path = find(where, name)
    if path is None:
        return ""
    environment = os.environ | {f"CELERYHOST_{key.upper()}": str(value) for key, value in facts.items()}
    try:
        process = subprocess.Popen(
            [path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        code, said, _ = account.finish(process, seconds=seconds(), limit=KEPT)
    except TimeoutError:
        raise Failure(
            f"{path} did not end within {seconds():g} s, and was killed", HOOK, f"more: {LIMIT}=600"
        ) from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", HOOK, "its first line names what runs it: #!/bin/sh") from None
    text = said.decode(errors="replace").strip()
    if code:
        raise Failure(f"{path} ended with {code}{f': {text}' if text else ''}", HOOK)
    return text

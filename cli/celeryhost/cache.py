"""Files that only spare time: for their owner alone, replaced as a whole, and missed by nobody where they can't be."""

from __future__ import annotations

import os
import stat


def folder() -> str:
    """Where those of the user who runs this are (https://specifications.freedesktop.org/basedir-spec/latest/)."""
    above = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(above, "celeryhost")


def read(path: str) -> bytes:
    """What is in the file; nothing where there is none, or one that another account could have written or read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            ours = (found.st_mode, found.st_uid) == (stat.S_IFREG | 0o600, os.geteuid())
            return file.read() if ours else b""
    except OSError:
        return b""


def write(path: str, data: bytes) -> None:
    """Put `data` there, and make its folder where there is none."""
    new = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
        os.replace(new, path)
    except OSError:
        pass

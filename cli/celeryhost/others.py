"""Opening what another account may have put there: a FIFO, a device, a file without an end, a link to root's own."""

from __future__ import annotations

import errno
import os
import stat

LIMIT = 1 << 20  # bytes of a text that a person writes
SECONDS = 10  # that reading as somebody else may take
_LOOK = getattr(os, "O_PATH", 0)  # opens nothing yet: what opening does to a device must not happen
# In the account's own process: what it may not read, and what its links lead to, is no affair of root's.
_READ = '[ -e "$1" ] || exit 3; [ -f "$1" ] || exit 4; exec head -c "$2" -- "$1"'


def opened(path: str) -> int:
    """A descriptor of a regular file, to read; nothing is waited for.

    Raises OSError, also for what is no regular file, and for a link of one account to a file of another.
    """
    look = os.open(path, _LOOK | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC) if _LOOK else os.open(path, os.O_RDONLY)
    try:
        found = os.fstat(look)
        if stat.S_ISLNK(found.st_mode):
            link, handle = found, look
            look = os.open(path, _LOOK | os.O_CLOEXEC)
            os.close(handle)
            found = os.fstat(look)
            if link.st_uid not in (0, os.geteuid(), found.st_uid):
                raise OSError(errno.ELOOP, "is a link to what another account owns", path)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", path)
        if not _LOOK:
            return os.dup(look)
        return os.open(f"/proc/self/fd/{look}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(look)


def read(path: str, limit: int = LIMIT) -> bytes:
    """What is in a regular file of at most `limit` bytes; raises OSError as `opened` does, and EFBIG."""
    with open(opened(path), "rb") as file:
        return _whole(file.read(limit + 1), path, limit)


def end(path: str, size: int) -> bytes:
    """The last `size` bytes of a regular file; raises OSError as `opened` does."""
    with open(opened(path), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read(size)


def read_as(user: str, path: str, limit: int = LIMIT) -> bytes:
    """As `read`, with the rights of `user`: links lead no further than that account may go.

    Raises OSError (ENOENT, EACCES, EINVAL, EFBIG, ETIMEDOUT), KeyError without such an account.
    """
    from . import account

    try:
        code, text, said = account.converse(
            ("/bin/sh", "-c", _READ, "sh", path, str(limit + 1)), account.named(user), seconds=SECONDS, limit=limit + 1
        )
    except TimeoutError:
        raise OSError(errno.ETIMEDOUT, f"was not read within {SECONDS} s", path) from None
    if code == 3:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if code == 4:
        raise OSError(errno.EINVAL, "is no regular file", path)
    if code:
        raise PermissionError(errno.EACCES, account.last_line(said.decode(errors="replace")), path)
    return _whole(text, path, limit)


def _whole(text: bytes, path: str, limit: int) -> bytes:
    if len(text) > limit:
        raise OSError(errno.EFBIG, f"has more than {limit >> 10} KiB", path)
    return text

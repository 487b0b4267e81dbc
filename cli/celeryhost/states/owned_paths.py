"""Folders and empty files with an owner and a mode, several in one task, logs that root takes over, and what goes.

The folders above may belong to an app, which must gain nothing else by a link that it puts there meanwhile: so each is
opened from the one above it, no link is followed but root's own, and all is done to what has been opened.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from ..account import last_line
from ..errors import Failure

ARGUMENTS = {
    "folders": {"type": "dict", "default": {}},
    "files": {"type": "dict", "default": {}},
    "taken": {"type": "dict", "default": {}},
    "absent": {"type": "list", "elements": "path", "default": []},
}
TAKEN_MODE = 0o640


def wrong(path: str, wanted: dict[str, Any], kind: Callable[[int], bool]) -> bool:
    """Whether `path` is missing or not as wanted; ValueError when something else is there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return True
    if not kind(os.stat(path).st_mode if wanted.get("made") else found.st_mode):
        raise ValueError(f"{path} is there and is something else")
    if wanted.get("made"):
        return False
    try:
        owner, group = pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid
    except KeyError:
        return True
    return (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (owner, group, int(wanted["mode"], 8))


@contextlib.contextmanager
def opened(path: str, make: bool = False) -> Iterator[int]:
    """A descriptor of a folder, made for root alone with those above it where they are missing; raises OSError."""
    handle = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in filter(None, os.path.normpath(path).split("/")):
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755 if name != os.path.basename(path) else 0o700, dir_fd=handle)
            above, handle = handle, _entered(name, handle)
            os.close(above)
        yield handle
    finally:
        os.close(handle)


def _entered(name: str, above: int) -> int:
    found = os.lstat(name, dir_fd=above)
    is_roots = stat.S_ISLNK(found.st_mode) and found.st_uid == 0 and os.fstat(above).st_uid == 0
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return os.open(name, flags if is_roots else flags | os.O_NOFOLLOW, dir_fd=above)


def put(path: str, wanted: dict[str, Any], folder: bool) -> None:
    if folder:
        with opened(path, make=True) as place:
            _give(place, wanted)
        return
    with opened(os.path.dirname(path), make=True) as above:
        name = os.path.basename(path)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=above))
        place = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
        try:
            found = os.fstat(place)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"{path} is there and is something else")
            if found.st_nlink > 1:  # it may be root's own by another name, where fs.protected_hardlinks is 0
                raise ValueError(f"{path} has another name, too; remove it, and a new one is made")
            _give(place, wanted)
        finally:
            os.close(place)


def _give(place: int, wanted: dict[str, Any]) -> None:
    os.fchown(place, pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid)
    os.fchmod(place, int(wanted["mode"], 8))


def leavable(old: str, new: str) -> dict[str, str]:
    """{name in the old folder: in the new one} of a log and its rotated files, when nothing is at the new place yet."""
    if os.path.lexists(new):
        return {}
    try:
        names = os.listdir(os.path.dirname(old))
    except OSError:
        return {}
    of = os.path.basename(old)
    return {
        name: os.path.basename(new) + name[len(of) :]
        for name in names
        if name == of or (name.startswith(f"{of}.") and name[len(of) + 1 :].isdigit())
    }


def take(old: str, new: str) -> None:
    """Move a log with its rotated files; supervisord goes on writing to it until its program is started anew.

    What was no plain file, or has another name, too, is put away: only root writes where it is now.
    """
    with opened(os.path.dirname(old)) as source, opened(os.path.dirname(new)) as target:
        for name, wanted in sorted(leavable(old, new).items(), reverse=True):
            try:
                os.rename(name, f".{wanted}", src_dir_fd=source, dst_dir_fd=target)
            except OSError:  # on another file system, or gone: it stays
                continue
            found = os.lstat(f".{wanted}", dir_fd=target)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                os.unlink(f".{wanted}", dir_fd=target)
                continue
            place = os.open(f".{wanted}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
            os.fchown(place, 0, os.fstat(target).st_gid)
            os.fchmod(place, TAKEN_MODE)
            os.close(place)
            os.rename(f".{wanted}", wanted, src_dir_fd=target, dst_dir_fd=target)


def remove(path: str) -> None:
    """A folder with all in it, or whatever else has that name."""
    with opened(os.path.dirname(path)) as above:
        place = f"/proc/self/fd/{above}/{os.path.basename(path)}"
        if stat.S_ISDIR(os.lstat(place).st_mode):
            # It follows no link either, and goes as deep as an app may have gone, which Python's own does not.
            command = ["rm", "-rf", "--", place]
            done = subprocess.run(command, pass_fds=(above,), capture_output=True, check=False)
            if done.returncode:
                raise OSError(errno.EBUSY, last_line(done.stderr.decode(errors="replace")))
        else:
            os.unlink(place)


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    changed = []
    for kind, test in (("folders", stat.S_ISDIR), ("files", stat.S_ISREG)):
        for path, wanted in params[kind].items():
            try:
                if wrong(path, wanted, test):
                    changed.append(path)
                    if not check:
                        put(path, wanted, folder=kind == "folders")
            except KeyError as error:
                raise Failure(f"{path}: no such account: {error}") from None
            except (OSError, ValueError) as error:
                raise Failure(str(error)) from None
    for old, new in params["taken"].items():
        if leavable(old, new):
            changed.append(old)
            if not check:
                try:
                    take(old, new)
                except OSError as error:
                    raise Failure(f"{old}: {error}") from None
    for path in params["absent"]:
        if os.path.lexists(path):
            changed.append(path)
            if not check:
                try:
                    remove(os.path.normpath(path))
                except OSError as error:
                    raise Failure(f"{path}: {error}") from None
    after = "".join(f"{path}\n" for path in changed)
    return {"changed": bool(changed), "paths": changed, "diff": {"before": "", "after": after} if changed else {}}

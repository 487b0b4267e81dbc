"""The host's half of bringing a folder over: what differs from a list of files, and putting an archive in place.

The controller's half, which makes list and archive, is the action plugin of the same name.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import json
import os
import pwd
import tarfile
from collections.abc import Iterable
from typing import IO, Any

from .. import others
from ..errors import Failure
from .changing import changing, is_halfway

SOURCE_LIMIT = 4 << 30  # bytes of all files that a folder brings; a sparse file may claim any
ARGUMENTS = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "record": {"type": "path", "required": True},
    "files": {"type": "dict"},
    "archive": {"type": "path"},
    "moment": {"type": "path"},
}


class Room:
    """The bytes that may still be read: an app can make any file of its folder as large as it likes."""

    def __init__(self, left: int = SOURCE_LIMIT) -> None:
        self.left = left


def state(path: str, room: Room) -> str | None:
    """How `path` is written in the list of files; None when it is no file or link, or larger than all that are."""
    if os.path.islink(path):
        return f"->{os.readlink(path)}"
    try:
        with open(others.opened(path), "rb") as file:
            digest = hashlib.sha256()
            if os.fstat(file.fileno()).st_size > room.left:
                return None
            while block := file.read(1 << 20):
                room.left -= len(block)
                if room.left < 0:
                    return None
                digest.update(block)
            return f"{'x' if os.fstat(file.fileno()).st_mode & 0o100 else ''}{digest.hexdigest()}"
    except OSError:
        return None


def brought(record: str) -> list[str]:
    try:
        with open(record, encoding="utf-8") as file:
            known: list[str] = json.load(file)
            return known
    except (OSError, ValueError):
        return []


def note(record: str, files: Iterable[str]) -> None:
    os.makedirs(os.path.dirname(record), exist_ok=True)
    with open(f"{record}.new", "w", encoding="utf-8") as file:
        json.dump(sorted(files), file)
    os.replace(f"{record}.new", record)


def put(dest: str, archive: IO[bytes], stale: list[str]) -> None:
    """Extract and remove; each file is replaced by renaming, so that nobody reads a half-written one."""
    with tarfile.open(fileobj=archive) as members:
        for member in members:
            path = os.path.join(dest, member.name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            new = f"{path}.celeryhost-new"
            if os.path.lexists(new):
                os.unlink(new)
            if member.issym():
                os.symlink(member.linkname, new)
            else:
                content = members.extractfile(member)
                with open(new, "xb") as file:  # not into a FIFO that has come there meanwhile
                    file.write(content.read() if content else b"")
                os.chmod(new, 0o755 if member.mode & 0o100 else 0o644)
            os.replace(new, path)
    for name in stale:
        path = os.path.join(dest, name)
        os.unlink(path)
        with contextlib.suppress(OSError):  # not empty: other things are in it
            os.removedirs(os.path.dirname(path))


def become(user: str) -> None:
    """Write as `user` from now on: a link that the project has put in its folder must not lead root elsewhere."""
    account = pwd.getpwnam(user)
    groups = [group.gr_gid for group in grp.getgrall() if user in group.gr_mem]
    os.setgroups([account.pw_gid, *groups])
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)


def bring_archive(params: dict[str, Any], archive: str, stale: list[str]) -> None:
    root, group = os.geteuid(), os.getegid()
    try:
        with open(archive, "rb") as opened:
            if root == 0:
                become(params["owner"])
            put(params["dest"], opened, stale)
    except (OSError, tarfile.TarError) as error:
        raise Failure(f"{params['dest']}: {error}") from None
    finally:
        os.seteuid(root)
        os.setegid(group)


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    dest, record, files, archive = params["dest"], params["record"], params["files"], params["archive"]
    room = Room()
    wanted = [name for name, wanted in files.items() if state(os.path.join(dest, name), room) != wanted]
    stale = [
        name
        for name in brought(record)
        if name not in files and ".." not in name.split("/") and os.path.lexists(os.path.join(dest, name))
    ]
    result = {
        "wanted": wanted,
        "stale": stale,
        "changed": bool(wanted or stale or is_halfway(params["moment"])),
        "revision": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12],
        "diff": {"before": "".join(f"{name}\n" for name in stale), "after": "".join(f"{name}\n" for name in wanted)},
    }
    if archive and not check:
        # What is about to be brought is noted first: a run killed half way must not forget it.
        note(record, {*brought(record), *files})
        with changing(params["moment"]):
            bring_archive(params, archive, stale)
        note(record, files)
    return result

"""Folders and empty files with an owner and a mode, several in one task."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct

from ..errors import Failure

ARGUMENTS = {"folders": {"type": "dict", "default": {}}, "files": {"type": "dict", "default": {}}}

# https://man7.org/linux/man-pages/man5/acl.5.html, as linux/posix_acl_xattr.h packs it.
DEFAULT_ACL = "system.posix_acl_default"
VERSION, USER_OBJ, USER, GROUP_OBJ, MASK, OTHER, NO_ID = 2, 0x01, 0x02, 0x04, 0x10, 0x20, 0xFFFFFFFF


def wrong(path, wanted, kind):
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
    if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (owner, group, int(wanted["mode"], 8)):
        return True
    return bool(wanted.get("owner_writes")) and not inherits(path, acl(owner))


def acl(uid):
    """What is made in a folder is `uid`'s to write, whoever makes it, and its group's to read."""
    entries = (USER_OBJ, 7, NO_ID), (USER, 7, uid), (GROUP_OBJ, 5, NO_ID), (MASK, 7, NO_ID), (OTHER, 0, NO_ID)
    return struct.pack("<I", VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def inherits(folder, wanted):
    """Whether a folder hands down this ACL, or is on a file system that has none."""
    try:
        return os.getxattr(folder, DEFAULT_ACL) == wanted
    except OSError as error:
        return error.errno == errno.ENOTSUP


def put(path, wanted, folder):
    if not os.path.lexists(path):
        if folder:
            os.makedirs(path, 0o700)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    # The folder above may belong to the owner, who must not gain another file by a link put here meanwhile.
    place = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        owner = pwd.getpwnam(wanted["owner"]).pw_uid
        os.fchown(place, owner, grp.getgrnam(wanted["group"]).gr_gid)
        os.fchmod(place, int(wanted["mode"], 8))
        if wanted.get("owner_writes") and not inherits(place, acl(owner)):
            os.setxattr(place, DEFAULT_ACL, acl(owner))
    finally:
        os.close(place)


def bring(params, check):
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
    after = "".join(f"{path}\n" for path in changed)
    return {"changed": bool(changed), "paths": changed, "diff": {"before": "", "after": after} if changed else {}}

"""Folders and empty files with an owner and a mode, several in one task."""

from __future__ import annotations

import grp
import os
import pwd
import stat

from ..errors import Failure

ARGUMENTS = {"folders": {"type": "dict", "default": {}}, "files": {"type": "dict", "default": {}}}


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
    return (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (owner, group, int(wanted["mode"], 8))


def put(path, wanted, folder):
    if not os.path.lexists(path):
        if folder:
            os.makedirs(path, 0o700)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    # The folder above may belong to the owner, who must not gain another file by a link put here meanwhile.
    place = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchown(place, pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid)
        os.fchmod(place, int(wanted["mode"], 8))
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

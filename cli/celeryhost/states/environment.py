"""Where a virtual environment lies: a link to a folder beside it, so that a new one is switched to in one step.

/srv/mysite/venv is a link to venv.REVISION.N. A folder is changed only until the link names it; a process that runs
keeps the one that it began in, and what breaks off leaves the link as it was. venv.cache is uv's: what two
environments share lies on the disk once. Of an app with releases the folders are venvs/REVISION.N and venvs/cache.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
import stat
from collections.abc import Collection

from ..account import last_line, run
from ..errors import Failure

SWITCH = """
import ctypes, os, sys
path, target = sys.argv[1:]
new = path + ".link"
os.symlink(target, new)
if os.path.isdir(path) and not os.path.islink(path):
    try:
        failed = ctypes.CDLL(None).renameat2(-100, new.encode(), -100, path.encode(), 2)  # RENAME_EXCHANGE
    except AttributeError:
        failed = True
    if failed:
        os.rename(path, path + ".before")
        os.rename(new, path)
    else:
        os.rename(new, path + ".before")
else:
    os.replace(new, path)
"""


def stamp(path: str) -> str | None:
    """The `revision` of the virtual environment at `path`; None where that is not known."""
    try:
        found = re.fullmatch(r".*[./]([0-9a-f]{12})\.\d+", os.readlink(path))
    except OSError:
        return None
    return found and found[1]


class Place:
    """The folder of the environments of `path`, all of which belong to `owner`; those of `kept` stay."""

    def __init__(self, path: str, owner: str, folder: str | None = None, kept: Collection[str] = ()) -> None:
        self.path, self.owner = path, owner
        self.folder, self.kept = folder, kept
        self.stem = f"{folder}/" if folder else f"{path}."
        self.cache = f"{self.stem}cache"

    def new(self, revision: str) -> str:
        """The path of a new environment, an empty folder; what earlier runs have left is taken away."""
        self._prune()
        number = 1
        while os.path.lexists(path := f"{self.stem}{revision}.{number}"):
            number += 1
        if self.folder:
            self._folder(self.folder)
        self._folder(path)
        self._folder(self.cache)
        self._folder(f"{self.cache}/tmp")
        return path

    def switch(self, path: str) -> None:
        """Have the link name `path`, from one moment to the next."""
        target = os.path.relpath(path, os.path.dirname(self.path))
        self._as(self._keeper(), "/usr/bin/python3", "-IS", "-c", SWITCH, self.path, target)

    def other(self, revision: str) -> str | None:
        """The environment of a release for this revision, which may be another than the link names."""
        found = (path for path in self.kept if path.startswith(f"{self.stem}{revision}.") and os.path.isdir(path))
        return next(found, None)

    def remove(self, path: str) -> None:
        """Remove a folder of ours: what is in it as its owner, since root follows no path of an app's."""
        run(self.owner, "rm", "-rf", "--", path, cwd="/")
        if os.path.lexists(path):
            run(self._keeper(), "rmdir", "--", path, cwd="/")

    def _prune(self) -> None:
        """Remove what the link does not name and no process runs from."""
        kept = {self.cache, os.path.join(os.path.dirname(self.path), self._target()), *self.kept}
        stems = "|".join(map(re.escape, {f"{self.path}.", self.stem}))
        pattern = re.compile(rf"(?:{stems})(link|before|[0-9a-f]{{12}}\.\d+)")
        for path in {path for stem in (f"{self.path}.", self.stem) for path in glob.glob(f"{glob.escape(stem)}*")}:
            if pattern.fullmatch(path) and path not in kept and not in_use(path):
                self.remove(path)

    def _target(self) -> str:
        try:
            return os.readlink(self.path)
        except OSError:
            return ""

    def _keeper(self) -> str:
        """Who may change the folder above: root only where nobody else may put a link there, on no way to it."""
        place = os.path.dirname(self.path)
        return pwd.getpwuid(0).pw_name if is_roots(place) and is_roots(os.path.realpath(place)) else self.owner

    def _folder(self, path: str) -> None:
        keeper = self._keeper() if os.path.dirname(path) == os.path.dirname(self.path) else self.owner
        if keeper == self.owner:
            self._as(keeper, "mkdir", "-p", path)
        elif not os.path.isdir(path):
            self._as(keeper, "install", "-d", "-o", self.owner, "-m", "755", path)

    def _as(self, account: str, *command: str) -> None:
        code, output = run(account, *command, cwd="/")
        if code:
            place = os.path.dirname(self.path)
            raise Failure(
                f"virtualenv {self.path} cannot be made by {account}: {last_line(output)}",
                fix=f"let {self.owner} write to {place}, or name another virtualenv",
            )


def is_roots(place: str) -> bool:
    """Whether root alone may change the folders on this way, and has made the links on it; what is not there is
    nobody's."""
    while True:
        try:
            found = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            found = None
        if found and (found.st_uid or (found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode))):
            return False
        if place == "/":
            return True
        place = os.path.dirname(place)


def in_use(path: str) -> bool:
    """Whether a process was started from there."""
    for file in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(file, "rb") as words:
                if f"{path}/".encode() in words.read(4096):
                    return True
        except OSError:
            continue
    return False

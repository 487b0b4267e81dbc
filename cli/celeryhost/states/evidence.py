"""Whether an answer still stands: as long as all that a Python process has read for it is as it was.

WATCH goes before the script that finds the answer, and TELL behind it: the process notes what it opens, lists and
connects to (https://docs.python.org/3/library/audit_events.html) and says it in a line of its own. `record` makes of
that what `holds` compares later. Where something can't be known to be unchanged there is no record, and the question is
asked anew. What the process says is believed for its own answer only: its paths are looked at, never opened.

Not seen are the clock, what a library in C reads by itself, and a file that was looked for, but not opened, in a folder
of which nothing else was read.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from typing import Any

from .. import cache

MOST = 20_000  # paths
NAMES = 1_000_000  # in all folders: what a process says may be one folder of very many by very many names
SLACK = 2 * 10**9  # ns: what changes as shortly before it was read may change again and keep its time (FAT has 2 s)

WATCH = """
def _watch():
    import os, sys
    seen = {"alien": set(), "files": set(), "written": set(), "folders": set(), "databases": set()}

    def note(kind, path):
        path = os.path.abspath(os.fsdecode(path))
        if not path.startswith("/dev/"):
            seen["alien" if path.startswith(("/proc/", "/sys/")) else kind].add(path)

    def on_open(path, mode, flags):
        if not isinstance(path, int):
            note("written" if flags & os.O_ACCMODE else "files", path)

    def on_list(path):
        if isinstance(path, int):
            seen["alien"].add("a folder that is open")
        else:
            note("folders", path or ".")

    def on_database(path, *_):
        if str(path).startswith("file:"):
            seen["alien"].add(path)
        elif path != ":memory:":
            note("databases", path)

    handlers = {"open": on_open, "os.listdir": on_list, "os.scandir": on_list, "sqlite3.connect": on_database}
    for event in (
        "socket.connect socket.getaddrinfo socket.gethostbyname socket.gethostbyaddr socket.sendto socket.sendmsg "
        "subprocess.Popen os.exec os.fork os.forkpty os.posix_spawn os.spawn os.system"
    ).split():
        handlers[event] = lambda *_, event=event: seen["alien"].add(event)

    def hook(event, args):
        if event in handlers and seen:
            try:
                handlers[event](*args)
            except Exception as error:  # never the project's trouble
                seen["alien"].add(repr(error))

    def told():
        found = dict(seen)
        seen.clear()
        import importlib.util
        # They connect without Python's knowledge.
        found["alien"] |= {"psycopg", "psycopg2", "MySQLdb", "oracledb", "cx_Oracle", "pyodbc"} & sys.modules.keys()
        found["alien"] |= found["written"] & (found["files"] | found["databases"])
        found["folders"] |= {os.path.abspath(path) for path in sys.path}
        # These were read before this began.
        found["files"] |= {os.path.realpath(sys.executable), os.path.join(sys.prefix, "pyvenv.cfg")}
        for folder in sys.path:
            if os.path.isdir(folder):
                found["files"] |= {os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".pth")}
        modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        found["files"] |= {os.path.abspath(path) for path in modules if isinstance(path, str)}
        caches = {path for path in found["files"] if "/__pycache__/" in path}
        found["files"] = (found["files"] - caches) | set(map(importlib.util.source_from_cache, caches))
        return {kind: sorted(paths) for kind, paths in found.items()}

    sys.addaudithook(hook)
    return told


_told = _watch()
"""
TELL = """
try:
    print("celeryhost:", json.dumps(_told()))
except Exception:  # then nothing is kept
    print("celeryhost: {}")
"""


def key(*parts: Any) -> str:
    """Of everything that goes into a question beside what is read: `parts`, which json can write, and the machine."""
    return hashlib.sha256(json.dumps([_stamp(__file__), os.uname(), *parts], sort_keys=True).encode()).hexdigest()


def record(asked: str, told: dict[str, Any], began: int, answer: Any) -> dict[str, Any] | None:
    """What to keep of `answer` to the question of key `asked`; None where it can't be known for how long it stands.

    `told` is what the process has said that was started at `began`, in ns since the epoch.
    """
    try:
        databases = {*told["databases"]}
        files = {*told["files"], *databases} | {f"{path}{end}" for path in databases for end in ("-wal", "-journal")}
        folders = {*told["folders"]} | {os.path.dirname(path) for path in files}
        if told["alien"] or len(files) + len(folders) > MOST:
            return None
        left = _Left()
        new = {
            "key": asked,
            "files": {path: _stamp(path) for path in files},
            "folders": {path: _names(path, left) for path in folders},
            "answer": answer,
        }
        # Each connection to a database touches its folder.
        lasting = files | folders - {os.path.dirname(path) for path in databases}
        return None if any(_changed(path) > began - SLACK for path in lasting) else new
    except (OSError, LookupError, TypeError, ValueError):
        return None


def holds(kept: dict[str, Any] | None, asked: str) -> bool:
    """Whether `kept` answers the question of key `asked`, and all that its answer was drawn from is as it was."""
    left = _Left()
    try:
        return (
            kept is not None
            and kept["key"] == asked
            and all(_stamp(path) == was for path, was in kept["files"].items())
            and all(_names(path, left) == was for path, was in kept["folders"].items())
        )
    except (OSError, LookupError, TypeError, ValueError, AttributeError):
        return False


def load(path: str) -> dict[str, Any] | None:
    """The record kept there; None where there is none, or one that another account could have written."""
    try:
        kept = json.loads(cache.read(path))
    except ValueError:
        return None
    return kept if isinstance(kept, dict) else None


def save(path: str, kept: dict[str, Any]) -> None:
    """Put the record there."""
    cache.write(path, json.dumps(kept).encode())


def _stamp(path: str) -> list[int] | None:
    """What changes with a file; None where there is none, and for a WAL without content."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if path.endswith("-wal") and not found.st_size:
        return None
    return [found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_ctime_ns]


class _Left:
    """How many names may still be read."""

    def __init__(self) -> None:
        self.names = NAMES


def _names(path: str, left: _Left) -> list[Any] | None:
    """What changes with the names in a folder and who may see them; None where there is none.

    Python's and SQLite's own come and go. Raises ValueError for more than are `left`.
    """
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in itertools.islice(entries, left.names + 1))
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    left.names -= len(names)
    if left.names < 0:
        raise ValueError(f"{path} has more names than are looked at")
    passing = ("__pycache__", ".pyc", "-wal", "-shm", "-journal")
    text = "\0".join(name for name in names if not name.endswith(passing))
    return [found.st_mode, found.st_uid, found.st_gid, hashlib.sha256(os.fsencode(text)).hexdigest()]


def _changed(path: str) -> int:
    """When a file, or the names in a folder, changed last, in ns since the epoch; 0 where there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return 0 if path.endswith("-wal") and not found.st_size else max(found.st_mtime_ns, found.st_ctime_ns)

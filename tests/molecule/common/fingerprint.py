#!/usr/bin/python3
"""Runs on a host: `save` remembers its files, packages and processes, `compare` prints the differences since and fails.

Of folders that running programs write to, and that apt writes to when it only looks, only the subfolders count; none of
where Debian backs up dpkg's files at midnight.
What SQLite keeps beside a database while somebody has it open comes and goes with each of the project's tasks.
"""

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

SAVED = Path("/run/fingerprint")
IGNORED = {"/dev", "/proc", "/run", "/sys", "/tmp", "/var/backups", "/var/tmp", "/root/.ansible"}
BUSY = ("/var/cache/apt", "/var/log", "/var/lib/mysite", "/var/lib/redis", "/var/lib/systemd")
PASSING = ("-wal", "-shm", "-journal")


def files():
    for folder, names, leaves in os.walk("/"):
        names[:] = [name for name in names if os.path.join(folder, name) not in IGNORED]
        busy = folder.startswith(BUSY)
        for path in (os.path.join(folder, name) for name in names + ([] if busy else leaves)):
            if path.endswith(PASSING):
                continue
            entry = os.lstat(path)
            written = "" if os.path.isdir(path) else f"{entry.st_size} {entry.st_mtime_ns}"
            yield f"{path} {entry.st_mode:o} {entry.st_uid}:{entry.st_gid} {written}"


def processes():
    """All processes but logins and what they started, consoles and systemd's own."""
    table = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, name, _, parent = re.match(r"(\d+) \((.*)\) (\S) (\d+)", stat.read_text(), re.DOTALL).groups()
        except (FileNotFoundError, ProcessLookupError):
            continue
        table[pid] = (name, parent)
    for pid, (name, parent) in table.items():
        ancestor = pid
        while ancestor in table and not table[ancestor][0].startswith("sshd"):
            ancestor = table[ancestor][1]
        if ancestor not in table and not name.startswith(("systemd", "(sd-pam)", "agetty")):
            shown = name.split()[0]  # behind it beat counts its ticks
            yield f"process {pid} {shown} of {parent}"


def fingerprint():
    packages = subprocess.run(["dpkg-query", "--show"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return sorted([*files(), *processes(), *(f"package {line}" for line in packages.splitlines())])


now = fingerprint()
if sys.argv[1] == "save":
    SAVED.write_text("\n".join(now))
else:
    difference = list(difflib.unified_diff(SAVED.read_text().split("\n"), now, "before", "after", n=0, lineterm=""))
    print("\n".join(difference))
    sys.exit(bool(difference))

"""What a machine has that roles decide by: packages, free space, memory, listening ports. Changes nothing."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from typing import Any

ARGUMENTS = {"candidates": {"type": "list", "elements": "str", "default": []}}


def distribution(path: str = "/etc/os-release") -> tuple[str, str]:
    """(name, version) as os-release(5) has them, `Debian` and `13`."""
    with open(path, encoding="utf-8", errors="replace") as release:
        fields = dict(line.rstrip().split("=", 1) for line in release if "=" in line)
    return fields.get("ID", "?").strip('"').capitalize(), fields.get("VERSION_ID", "0").strip('"')


def installed(path: str = "/var/lib/dpkg/status") -> list[str]:
    """Names of the packages dpkg has fully installed; none where there is no dpkg."""
    try:
        with open(path, encoding="utf-8", errors="replace") as status:
            pattern = r"^Package: (\S+)\n(?:(?:Essential|Protected): yes\n)*Status: \S+ ok installed$"
            return re.findall(pattern, status.read(), re.MULTILINE)
    except OSError:
        return []


def interrupted(folder: str = "/var/lib/dpkg") -> bool:
    """Whether dpkg was killed half way: apt refuses then, or takes a half-configured package for installed.

    One that still works looks the same but for its lock.
    """
    try:
        with open(f"{folder}/lock-frontend", "a", encoding="ascii") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    if any(name.isdigit() for name in os.listdir(f"{folder}/updates")):
        return True
    with open(f"{folder}/status", encoding="utf-8", errors="replace") as status:
        return bool(re.search(r"^Status: \S+ \S+ (half-|unpacked|triggers-)", status.read(), re.MULTILINE))


def candidates(names: list[str]) -> dict[str, str]:
    """The upstream version (no epoch, no Debian revision) apt would install, by name; "" for an unknown package."""
    if not names:
        return {}
    try:
        out = subprocess.check_output(["apt-cache", "policy", *names], env=dict(os.environ, LC_ALL="C"), text=True)
    except (OSError, subprocess.CalledProcessError):
        out = ""
    found = dict(re.findall(r"^(\S+):\n.*\n  Candidate: (?:\d+:)?([\d.]+)", out, re.MULTILINE))
    return {name: found.get(name, "") for name in names}


def memory_mb() -> int:
    """MB of memory this machine or container may use."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as limit:
                limits.append(int(limit.read()))
        except (OSError, ValueError):  # no such controller, or "max"
            pass
    return min(limits) >> 20


def listening() -> dict[int, str]:
    """{port: name of the process}: a socket's inode leads from /proc/net/tcp to a process's file descriptors."""
    ports = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue
        ports.update({f"socket:[{row[9]}]": int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"})
    names = dict.fromkeys(ports.values(), "?")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                port = ports.get(os.readlink(f"/proc/{pid}/fd/{fd}"))
                if port is not None and names[port] == "?":
                    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
                        names[port] = comm.read().strip()
        except OSError:  # gone meanwhile, or not ours to see
            continue
    return names


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    free = {}
    for path in ("/", "/var"):
        space = os.statvfs(path)
        free[path] = space.f_bavail * space.f_frsize >> 20
    there = installed()
    name, version = distribution()
    return {
        "changed": False,
        "distribution": name,
        "distribution_version": version,
        "python": ".".join(map(str, sys.version_info[:3])),
        "bits": 64 if sys.maxsize > 1 << 32 else 32,
        # https://www.freedesktop.org/software/systemd/man/latest/sd_booted.html
        "systemd": os.path.isdir("/run/systemd/system"),
        "candidates": candidates([name for name in params["candidates"] if name not in there]),
        "installed": there,
        "interrupted": os.path.isdir("/var/lib/dpkg/updates") and interrupted(),
        "free_mb": free,
        "memory_mb": memory_mb(),
        "listening": listening(),
    }

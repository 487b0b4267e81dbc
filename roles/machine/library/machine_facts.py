#!/usr/bin/python
"""What a machine has that roles decide by: packages, free space, memory, listening ports. Changes nothing."""

from __future__ import annotations

import fcntl
import os
import re

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: machine_facts
short_description: Packages, free space, memory and listening ports of a machine
description: Reads them in one go; changes nothing.
options:
  candidates:
    description: Packages whose version apt would install is wanted.
    type: list
    elements: str
    default: []
author: celeryhost
"""

EXAMPLES = r"""
- name: Look at the machine
  machine_facts:
    candidates: [redis-server]
  register: machine
"""

RETURN = r"""
candidates: {description: "Upstream version for each package asked for, empty when apt knows none.", type: dict}
installed: {description: Names of the installed packages., type: list}
interrupted: {description: Whether dpkg was killed half way., type: bool}
free_mb: {description: "MB free in / and /var.", type: dict}
memory_mb: {description: "MB of memory, or the control group's limit when that is lower.", type: int}
listening: {description: "The process behind each listening TCP port, `?` when it can't be seen.", type: dict}
sudo_user: {description: Who came in and became root with sudo; empty for a root login., type: str}
"""


def installed(path="/var/lib/dpkg/status"):
    """Names of the packages dpkg has fully installed; none where there is no dpkg."""
    try:
        with open(path, encoding="utf-8", errors="replace") as status:
            return re.findall(r"^Package: (\S+)\nStatus: \S+ ok installed$", status.read(), re.MULTILINE)
    except OSError:
        return []


def interrupted(folder="/var/lib/dpkg"):
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


def candidates(module, names):
    """The upstream version (no epoch, no Debian revision) apt would install, by name; "" for an unknown package."""
    if not names:
        return {}
    module.run_command_environ_update = {"LC_ALL": "C"}
    out = module.run_command(["apt-cache", "policy", *names])[1]
    found = dict(re.findall(r"^(\S+):\n.*\n  Candidate: (?:\d+:)?([\d.]+)", out, re.MULTILINE))
    return {name: found.get(name, "") for name in names}


def memory_mb():
    """MB of memory this machine or container may use."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as limit:
                limits.append(int(limit.read()))
        except (OSError, ValueError):  # no such controller, or "max"
            pass
    return min(limits) >> 20


def listening():
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


def main():
    module = AnsibleModule({"candidates": {"type": "list", "elements": "str", "default": []}}, supports_check_mode=True)
    free = {}
    for path in ("/", "/var"):
        space = os.statvfs(path)
        free[path] = space.f_bavail * space.f_frsize >> 20
    module.exit_json(
        changed=False,
        candidates=candidates(module, module.params["candidates"]),
        installed=installed(),
        interrupted=os.path.isdir("/var/lib/dpkg/updates") and interrupted(),
        free_mb=free,
        memory_mb=memory_mb(),
        listening=listening(),
        sudo_user=os.environ.get("SUDO_USER", ""),
    )


if __name__ == "__main__":
    main()

"""A process as the watchdog sees it, read from /proc (proc(5))."""

from __future__ import annotations

import os
from collections import namedtuple

from ..proc import read

Look = namedtuple("Look", "command stopped children wakeups")
Look.__doc__ = """A process: the name of its program, whether it is stopped by a signal (a debugger's stop does not
count), the pids of its children, and how often its main thread has gone to sleep by itself."""


def look(pid: int) -> Look | None:
    """The Look of a process, None without one."""
    text, status = read(f"/proc/{pid}/stat"), read(f"/proc/{pid}/status")
    if not text or not status:
        return None
    command = text[text.index(b"(") + 1 : text.rindex(b")")].decode(errors="replace")
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return None
    children = [int(child) for thread in threads for child in read(f"/proc/{pid}/task/{thread}/children").split()]
    wakeups = int(status.partition(b"\nvoluntary_ctxt_switches:")[2].split(maxsplit=1)[0])
    return Look(command, text[text.rindex(b")") + 2 :][:1] == b"T", children, wakeups)

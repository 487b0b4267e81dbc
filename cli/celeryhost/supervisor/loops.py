"""Programs that end over and over, by supervisord's log.

One that lives a little longer than its startsecs is RUNNING at most looks, and supervisord, which restarts it, finds
nothing wrong with that.
"""

from __future__ import annotations

import os
import re
import time
from typing import NamedTuple

from .programs import Process
from .rpc import Supervisor
from .status import journal

SHORT = 60  # seconds: what has lived for so long lives on
MANY = 3  # shorter lives, one after the other


class Loop(NamedTuple):
    """How often a program has ended since it was last well, or was told to stop, the longest of these lives in seconds,
    and how long it has to live to have left them behind."""

    lives: int
    longest: float
    enough: float


def loops(supervisor: Supervisor, known: list[Process]) -> dict[str, Loop]:
    """A Loop for each program of `known`, all that there are, that has ended MANY times in a row, each time after less
    than SHORT, and has not lived long `enough` since.

    None is found where the log is not readable, and none of two processes with one name in two groups.
    """
    suspects = [process for process in known if process.state != "STOPPED" and not _lived(process, SHORT)]
    text = journal(supervisor.server.config) if suspects else b""
    names = [process.process for process in known]
    found = {process: _loop(text, process.process) for process in suspects if names.count(process.process) == 1}
    return {
        process.name: loop for process, loop in found.items() if loop.lives >= MANY and not _lived(process, loop.enough)
    }


def _lived(process: Process, seconds: float) -> bool:
    return bool(process.state == "RUNNING" and process.now - process.start >= seconds)


def _loop(text: bytes, name: str) -> Loop:
    lives: list[float] = []
    began = None
    word = re.escape(os.fsencode(name))
    line = rb"^(\S+ \S+),\d+ \S+ (spawned: '%b' |exited: %b |(?:stopped|gave up): %b )" % (word, word, word)
    for found in re.finditer(line, text, re.MULTILINE):
        moment, what = _seconds(found[1]), found[2]
        if what.startswith(b"spawned"):
            began = moment
        elif what.startswith(b"exited") and began is not None:
            lives = [*lives, moment - began] if moment - began < SHORT else []
        else:
            lives = []
    longest = max(lives, default=0)
    return Loop(len(lives), longest, min(SHORT, 2 * longest + 1))


def _seconds(moment: bytes) -> float:
    return time.mktime(time.strptime(moment.decode(), "%Y-%m-%d %H:%M:%S"))

"""Loaded into each beat: one that hangs is soon missed, and a clock that is set back silences none for long.

Beat sleeps up to 300 s when nothing is due, so that one that hangs could not be told from one that sleeps: here it
wakes every LONGEST_SLEEP, which the watchdog counts on, and shows each tick in /proc/PID/comm, since one that waits for
a database may wake up all the while (by psycopg 3 ten times a second). And as Celery computes the next run from the
last one, beat sends nothing after the clock was set back until it is as late as it was: here last runs that stay in the
future become now, as if beat had just been started for the first time.

`celery beat` has no -I, so this stands before it: `python celeryhost_beat.py VENV/bin/celery -A mysite beat …`; a
worker with -B takes it with -I. Runs in the project's Python.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import time
from typing import Any

if __name__ == "__main__":  # what beat imports later is of the environment that it began in, not of the next one's
    sys.path[:] = [os.path.realpath(place) for place in sys.path]

from celery import signals
from celery.utils.log import get_logger

logger = get_logger("celeryhost_beat")

LONGEST_SLEEP = 30  # seconds
# Less is waited for: what has just run at its hour would run again when that hour comes for the second time.
AHEAD = 90  # seconds
# A board without a battery-backed clock starts in the past, and is right as soon as it has found a time server.
PATIENCE = 60  # seconds


@signals.beat_init.connect
def watch(sender: Any, **_: Any) -> None:
    """Have the scheduler of `sender`, a celery.beat.Service, tick as above."""
    scheduler = sender.scheduler
    scheduler.max_interval = min(scheduler.max_interval, LONGEST_SLEEP)
    tick, ticks = scheduler.tick, 0
    since: float | None = None

    def watched() -> Any:
        nonlocal since, ticks
        interval = tick()
        ticks += 1
        _show(f"beat {ticks}")
        if not interval:
            return interval
        try:
            late = [entry for entry in scheduler.schedule.values() if _is_ahead(entry)]
            since = (since or time.monotonic()) if late else None
            if since is not None and time.monotonic() - since >= PATIENCE:
                _begin_anew(sender, late)
                return 0
        except Exception as error:
            scheduler.tick = tick
            _show("celery")
            logger.warning("a clock that is set back will silence beat: %r", error)
        return interval

    scheduler.tick = watched


def _show(text: str) -> None:
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(text)


def _is_ahead(entry: Any) -> bool:
    last = entry.last_run_at
    return last is not None and last.tzinfo and (last - entry.default_now()).total_seconds() > AHEAD


def _begin_anew(service: Any, late: list[Any]) -> None:
    """With a new scheduler: what else the old one holds may be of the old clock too (django-celery-beat's is)."""
    old = service.scheduler
    logger.warning("the clock was set back: what was last sent after now, %d tasks, is taken for sent now", len(late))
    for entry in late:
        new = old.reserve(entry)
        for counting in filter(None, (new, getattr(new, "model", None))):
            counting.total_run_count -= 1  # one_off of django-celery-beat must not take it for its run
    old.close()
    service.scheduler = service.get_scheduler()
    watch(service)


if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")

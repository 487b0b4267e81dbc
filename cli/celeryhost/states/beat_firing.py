"""Whether beats send tasks, by their logs: Celery has no command that asks a beat."""

from __future__ import annotations

import time

ARGUMENTS = {
    "logs": {"type": "dict", "required": True},
    "seconds": {"type": "int", "default": 0},
}
PAUSE = 0.5  # seconds between two looks at the logs


def bring(params, check):
    """`fired`: {app: the last line by which its beat, not one before it, has sent a task}, once all of `logs` have one
    or after so many `seconds`.
    """
    until = time.monotonic() + params["seconds"]
    while True:
        fired = {app: line for app, log in params["logs"].items() if (line := last_sending(log))}
        if len(fired) == len(params["logs"]) or time.monotonic() >= until:
            return {"changed": False, "fired": fired}
        time.sleep(PAUSE)


def last_sending(path):
    """The last line about a task, of those since beat was started; "" when there is none."""
    sending = ""
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            for line in log:
                if "beat: Starting" in line:
                    sending = ""
                elif "Scheduler: Sending due task" in line:
                    sending = line.rstrip("\n")
    except OSError:  # not there yet
        pass
    return sending

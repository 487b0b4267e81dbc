"""What Celery writes into its log, as far as anything here is told by it.

celery/app/trace.py, celery/worker/request.py, celery/beat.py; 5.2 to 5.7.
"""

from __future__ import annotations

import re

LONGEST = 1000  # characters of a line: an entry and a task have 200 each, and a longer one may take a pattern hours
ENDED = re.compile(r"\bTask (?:\S+\[\S+\] (?:(succeeded) in|raised|INTERNAL ERROR)|handler raised error:) ")
SENDING = re.compile(r"\bScheduler: Sending due task (.+) \(\S+\)\s*$")


def has_succeeded(line: str) -> bool | None:
    """Whether the task that a worker's line tells the end of succeeded; None for any other line."""
    found = ENDED.search(line[:LONGEST])
    return None if found is None else bool(found[1])


def entry_sent(line: str) -> str | None:
    """The entry of the schedule that beat says it sends; None for any other line."""
    found = SENDING.search(line) if len(line) <= LONGEST else None
    return found and found[1]

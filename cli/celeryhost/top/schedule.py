"""When beat sends next: the project's schedule, read in the background, since that takes seconds of a small board."""

from __future__ import annotations

import threading
import time
from typing import Any

from ..errors import DENIED, NOT_RUNNING, Failure
from ..hosts.target import Target
from ..project.tasks import MISREAD
from ..schedule import schedules
from .parts import Part

OFTEN = 600  # seconds between two readings when beat has been restarted
SELDOM = 3600  # when it has not: an entry may have been changed in the database
MOMENTS = 70  # that are asked of each entry: those of every minute last until the next reading


class Schedule:
    """The next moments of each beat of this machine. `target.config` is its supervisord's, None of one elsewhere."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.entries: dict[str, list[dict[str, Any]]] = {}  # program: its entries
        self.remark: str | None = None  # why there are none
        self.reader: threading.Thread | None = None
        self.read_at = 0.0
        self.pids: dict[str, int | None] = {}

    def refresh(self, pids: dict[str, int | None]) -> None:
        """Read it again if it is time to; `pids` are those of the programs that are beat."""
        age = time.monotonic() - self.read_at
        due = self.reader is None or age > SELDOM or (age > OFTEN and pids != self.pids)
        if not due or not any(pids.values()) or not self.target.config or (self.reader and self.reader.is_alive()):
            return
        self.pids, self.read_at = pids, time.monotonic()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        try:
            found = schedules.read(self.target, None, MOMENTS, None)
        except Failure as failure:
            denied = failure.code == DENIED
            self.remark = "only root may read the schedule" if denied else failure.message
            if failure.code == NOT_RUNNING:
                self.remark = None
            return
        self.remark = None
        self.entries = {beat["program"]: beat["entries"] for beat in found}

    def next(self, part: Part, now: float) -> tuple[list[Any] | None, str | None]:
        """[time, entry] of what a beat (parts.py) sends next, and why that is not known.

        The time has passed where beat is late.
        """
        try:
            return min(self._moments(part, now), default=None), self.remark
        except MISREAD as error:  # the project's Python may be any program
            return None, f"what its Python answers makes no sense ({type(error).__name__})"

    def _moments(self, part: Part, now: float) -> list[list[Any]]:
        moments: list[list[Any]] = []
        for entry in self.entries.get(part.program, ()):
            sent = part.sent.get(entry["name"])
            if entry["enabled"] is False:
                continue
            if entry["kind"] == "interval" and sent and not entry["fields"]["relative"]:
                moments.append([round(sent + entry["fields"]["seconds"], 2), entry["name"]])
            else:  # what beat has kept of its last runs may be some minutes old
                moments += [[moment, entry["name"]] for moment, _ in entry["next"] if moment > now][:1]
        return moments

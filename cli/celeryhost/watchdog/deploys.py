"""What the watchdog tells of runs that change the host: read from the end of what is noted of them (audit.py)."""

from __future__ import annotations

import json
import os

from ..paths import AUDIT

TYPE_CHECKING = False  # as typing has it, whose import would take half a megabyte
if TYPE_CHECKING:
    from typing import Any

COMMANDS = ("provision", "deploy", "rollback")
MOST = 1 << 20  # bytes at one look


class Deploys:
    """Where in the log the last look has ended."""

    def __init__(self, path: str = AUDIT) -> None:
        self.path = path
        self.file, self.place = self.end()

    def end(self) -> tuple[int, int]:
        """Which file it is, and how long."""
        try:
            found = os.stat(self.path)
        except OSError:
            return 0, 0
        return found.st_ino, found.st_size

    def look(self) -> list[tuple[str, str]]:
        """An event and a text for each run that has ended since, and changed something or failed."""
        file, size = self.end()
        if file != self.file or size < self.place:  # rotated
            self.file, self.place = file, 0
        if size == self.place:
            return []
        try:
            with open(self.path, "rb") as log:
                log.seek(self.place)
                text = log.read(MOST)
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1] or (text if len(text) == MOST else b"")
        self.place += len(whole)
        return [told for line in whole.splitlines() if (told := _told(line))]


def _told(line: bytes) -> tuple[str, str] | None:
    try:
        known: Any = json.loads(line)
        if known["event"] != "end" or known["command"] not in COMMANDS:
            return None
        command, outcome, who, took = (known[key] for key in ("command", "outcome", "user", "seconds"))
        changed = known.get("changed", True)
        text = f"{command} of {who}: {outcome} after {took:.0f} s"
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if outcome == "ok":
        return ("rolled-back" if command == "rollback" else "deployed", text) if changed else None
    return ("failed", text) if outcome in ("failed", "interrupted") else None

"""Since when the code of an app, which changes in place, is what it is: a file with the moment, which proc.py reads.

A process that was started before it may run what was there then, or modules of both. The moment is that of the
machine's boot and its seconds since, which no step of the clock moves.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from .. import proc

NOW = "any inf"  # what it says meanwhile, and still when a run is killed: whatever was started may have some of either


@contextlib.contextmanager
def changing(path: str | None) -> Iterator[None]:
    """Around the change of what is on disk; `path` None: nothing is noted."""
    _note(path, NOW)
    try:
        yield
    finally:
        _note(path, f"{proc.boot_id().decode()} {proc.since_boot():.2f}")


def is_halfway(path: str | None) -> bool:
    """Whether a run was killed in the middle of it."""
    try:
        with open(path or "", encoding="utf-8") as file:
            return file.read().strip() == NOW
    except OSError:
        return False


def _note(path: str | None, text: str) -> None:
    if path:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            os.fchmod(file.fileno(), 0o644)
        os.replace(f"{path}.new", path)

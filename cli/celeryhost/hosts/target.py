"""What the shared options of the command line say about where a command works."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """An inventory and a host pattern (both None: this machine), or a supervisord on this machine by configuration
    file, URL and user."""

    inventory: str | None = None
    hosts: str | None = None
    config: str | None = None
    url: str | None = None
    user: str | None = None

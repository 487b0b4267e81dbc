"""Throw-away Debian hosts for tests: a debootstrap tree, an overlay copy of it, systemd-nspawn, a bridge with NAT.

    with Host.up("web", suite="bookworm") as host:
        host.ssh("apt-get update")

Needs Linux, root and the tools that `requirements()` names; the command `python -m tests.hosts` does the same by hand.
"""

from __future__ import annotations

from .host import Host
from .machine import HostError, requirements
from .tree import Tree

__all__ = ["Host", "HostError", "Tree", "requirements"]

"""The machine: its clock, and a reboot that it waits for."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator

from . import Finding, Skip, ok, warn
from .host import Host

SUBJECT = "machine"
REBOOT = "/run/reboot-required"
TIME_ERROR = 5  # of adjtimex(2): the clock is not synchronised


def clock(host: Host) -> Iterator[Finding]:
    """https://man7.org/linux/man-pages/man2/adjtimex.2.html: crontabs and ETAs go by it."""
    libc = ctypes.CDLL(None, use_errno=True)
    question = ctypes.create_string_buffer(512)  # struct timex with modes 0: only asks
    state = libc.adjtimex(question)
    if state < 0:
        raise Skip(f"the kernel does not say, as in a container ({errno.errorcode.get(ctypes.get_errno())})")
    if state == TIME_ERROR:
        yield warn(
            SUBJECT,
            "System clock synchronized: no (crontabs fire at the wrong time; Substantial drift from …)",
            "no time service sets the clock",
            "apt-get install systemd-timesyncd, or chrony; on a board without a battery that clock starts in the past",
        )
    else:
        yield ok(SUBJECT, "the clock is synchronised")


def reboot(host: Host) -> Iterator[Finding]:
    """Debian's packages ask for one with this file (policy of update-notifier and unattended-upgrades)."""
    try:
        open(REBOOT).close()
    except FileNotFoundError:
        return
    try:
        with open(f"{REBOOT}.pkgs") as lines:
            packages = sorted({line.strip() for line in lines})
    except OSError:
        packages = []
    cause = f"updates of {', '.join(packages)}" if packages else "an update"
    yield warn(SUBJECT, "*** System restart required ***", f"{cause} wait for it", "reboot when the queue is short")

"""Ending with one's reader, also while there is nothing to write; and not ending in the middle of what was begun."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

TOLD = b"celeryhost: told to end: what was begun is brought to its end first, so that no program stays stopped\n"


@contextlib.contextmanager
def unbroken(*more: signal.Signals) -> Iterator[None]:
    """Within, a terminal that closes and a TERM end nothing half way (what waits is bounded); nor do signals `more`."""

    def told(number: int, _: FrameType | None) -> None:
        if number == signal.SIGTERM:
            with contextlib.suppress(OSError):
                os.write(2, TOLD)

    before = {}
    try:
        for number in (signal.SIGHUP, signal.SIGTERM, *more):
            before[number] = signal.signal(number, told)  # no SIG_IGN, which children would inherit
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_reader() -> None:
    """From now on this process ends, as by SIGPIPE, as soon as nobody reads its output any more.

    For commands that only read. Otherwise `logs -f` over ssh would stay on the host until the next line is logged, for
    without a terminal sshd tells a command of the end of its connection only by closing the pipes.
    """
    import select
    import sys
    import threading

    def wait() -> None:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # asks for nothing: errors and hang-ups are reported always
        poll.poll()
        os.kill(os.getpid(), signal.SIGPIPE)

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    threading.Thread(target=wait, daemon=True).start()

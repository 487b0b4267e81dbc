"""Ending with one's reader, also while there is nothing to write."""

from __future__ import annotations


def end_with_reader() -> None:
    """From now on this process ends, as by SIGPIPE, as soon as nobody reads its output any more.

    For commands that only read. Otherwise `logs -f` over ssh would stay on the host until the next line is logged, for
    without a terminal sshd tells a command of the end of its connection only by closing the pipes.
    """
    import os
    import select
    import signal
    import sys
    import threading

    def wait() -> None:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # asks for nothing: errors and hang-ups are reported always
        poll.poll()
        os.kill(os.getpid(), signal.SIGPIPE)

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    threading.Thread(target=wait, daemon=True).start()

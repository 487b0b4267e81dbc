"""Reading from a process that may never say anything."""

from __future__ import annotations

import subprocess
import threading


def line(process: subprocess.Popen, stream: str = "stdout", seconds: float = 120) -> str:
    """Its next line; empty when it ended, or was ended because nothing came in time."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        return getattr(process, stream).readline()
    finally:
        timer.cancel()

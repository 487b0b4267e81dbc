"""What starts a script."""

from __future__ import annotations

import os
import shutil
import sys
from shlex import split

from . import others

LONGEST = 4096  # characters of a line that names a Python


def python_of(script: str) -> str:
    """The Python that an installed script names; pip writes a long path as `#!/bin/sh` and `'''exec' PYTHON …`."""
    try:  # it may be the app's
        with open(others.opened(script), encoding="utf-8", errors="replace") as lines:
            first, second = lines.readline(LONGEST), lines.readline(LONGEST)
    except OSError:
        return os.path.join(os.path.dirname(script), "python")
    words = split(second[len("'''exec'") :]) if first.startswith("#!/bin/sh") else first[2:].split()
    if len(words) > 1 and words[0].endswith("/env"):
        words[0] = shutil.which(words[1]) or sys.executable
    return words[0] if words else sys.executable

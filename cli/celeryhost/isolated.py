"""Starting this very Python anew without the current folder, which may be anybody's, among the places of modules."""

from __future__ import annotations

import os
import sys

_RUN = """
import sys
sys.path[:] = {places!r}
from runpy import run_module
run_module({name!r}, run_name="__main__", alter_sys=True)
"""


def module(name: str) -> list[str]:
    """What `python -m NAME` is then; arguments may follow."""
    here = os.getcwd()
    places = [place for place in sys.path if os.path.isabs(place) and place != here]
    return [sys.executable, "-I", "-c", _RUN.format(places=places, name=name)]

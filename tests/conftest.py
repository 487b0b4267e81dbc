"""Fixtures that every part of the tests may use."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The tools that tests start (ansible-playbook, ruff, supervisord, …) are those of the Python that runs the tests.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
# A run in the background of a script ignores Ctrl-C, and so would every program that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT

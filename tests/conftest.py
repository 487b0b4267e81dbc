"""Fixtures that every part of the tests may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The tools that tests start (ansible-playbook, ruff, supervisord, …) are those of the Python that runs the tests.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT

"""The package's reading of an app's description and its ways to write values, as filters for the roles."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from ansible.errors import AnsibleFilterError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from celeryhost import apps
from celeryhost.controller import app_states
from celeryhost.errors import Failure


def _as_filter(function):
    @functools.wraps(function)
    def filtered(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Failure as failure:
            raise AnsibleFilterError(str(failure)) from None

    return filtered


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict:
        """Name and function of each filter."""
        return {name: _as_filter(function) for name, function in (apps.FILTERS | app_states.FILTERS).items()}

"""The controller's half of `celeryhost_package`: the package's texts, where the host has others."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from celeryhost.controller.asking import bring
from celeryhost.controller.halves import completed


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """What the module returns."""
        result = super().run(tmp, task_vars)
        state = "celeryhost_package"
        for asked in (True, False):  # the host's own answers only where it is this one, and then nothing differs
            arguments = completed(state, dict(self._task.args), asked)
            found = bring(self, state, arguments, task_vars, only_asked=asked)
            if found:
                return result | found
        return result

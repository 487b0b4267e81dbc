"""The controller's half of the modules that meta/runtime.yml names: the host's own celeryhost does their work."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from celeryhost.controller.asking import bring


class ActionModule(ActionBase):
    """Ansible's entry point."""

    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        """What the module returns."""
        result = super().run(tmp, task_vars)
        return result | bring(self, self._task.action.rpartition(".")[2], dict(self._task.args), task_vars)

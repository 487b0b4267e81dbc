"""Take the lock of a host before anything changes there, and keep it until the run ends."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from celeryhost.controller import locking
from celeryhost.errors import TIMEOUT, Failure


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """What the module `lock` says it returns."""
        result = super().run(tmp, task_vars)
        refused = [text for text in self._task.args.get("refused") or [] if text]
        if refused:
            return result | {"failed": True, "msg": "\n".join(refused), "exit_code": TIMEOUT}
        if "refused" in self._task.args or self._task.check_mode:
            return result
        host = task_vars["inventory_hostname"]
        wait = str(self._task.args.get("wait", False)).lower() in ("true", "yes", "on", "1")
        command = str(self._task.args["command"])
        try:
            return result | locking.take(self, host, command, wait, Display().display)
        except Failure as failure:
            return result | {"failed": True, "msg": str(failure)}

"""Take the lock of a host before anything changes there, and keep it until the run ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from celeryhost.controller import deploying, locking
from celeryhost.errors import TIMEOUT, Failure


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """What the module `lock` says it returns."""
        result = super().run(tmp, task_vars)
        refused = [text for text in self._task.args.get("refused") or [] if text]
        if refused:
            return result | {"failed": True, "msg": "\n".join(refused), "exit_code": TIMEOUT}
        if self._task.check_mode:
            return result
        if "refused" in self._task.args:
            return result | self._pre_deploy(task_vars)
        host = task_vars["inventory_hostname"]
        wait = str(self._task.args.get("wait", False)).lower() in ("true", "yes", "on", "1")
        command = str(self._task.args["command"])
        try:
            return result | locking.take(self, host, command, wait, Display().display)
        except Failure as failure:
            return result | {"failed": True, "msg": str(failure)}

    def _pre_deploy(self, task_vars) -> dict:
        """What its output is, or why it forbids the run."""
        if not os.environ.get(deploying.ABOUT):
            return {}
        names = list(task_vars["ansible_play_hosts"])
        apps = [app for name in names for app in task_vars["hostvars"][name].get("celery_apps") or []]
        try:
            said = deploying.begin(
                str(self._task.args["command"]), names, [app for app in apps if isinstance(app, dict)]
            )
        except Failure as failure:
            return {"failed": True, "msg": str(failure), "exit_code": failure.code}
        return {"msg": said.splitlines(), "_ansible_verbose_always": True} if said else {}

"""The controller's half of `project_look`: folders that are to be brought from here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "cli"))

from celeryhost.preflight import project_problems

# What the host's half reads; the rest, above all the environment, stays here.
KEYS = ("name", "user", "data", "logs", "source_kind", "directory", "python", "virtualenv", "requirements", "app")
KEYS += ("checkout", "subfolder", "extensions")


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """The host's answer, with the problems of folders here before its own."""
        result = super().run(tmp, task_vars)
        apps = self._task.args["apps"]
        here = [
            problem
            for app in apps
            if app["source_kind"] == "folder"
            for problem in project_problems(app, os.path.normpath(f"{app['source']}/{app['subfolder']}"), "source")
        ]
        needed = [{key: app[key] for key in KEYS} for app in apps]
        found = self._execute_module("project_look", {"apps": needed}, task_vars=task_vars)
        return result | found | {"problems": here + found.get("problems", [])}

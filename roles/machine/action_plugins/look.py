"""The controller's half of `look`: it has the host's own celeryhost answer, or else brings Ansible's module there."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "cli"))

from celeryhost.states.look import digest

PACKAGE = Path(__file__).resolve().parents[3] / "cli" / "celeryhost"
COMMAND = (
    '/usr/bin/python3 -IS -c \'import sys; sys.path.insert(0, "/usr/local/lib/celeryhost"); '
    "from celeryhost.states import look; look.main()'"
)
package = functools.cache(digest)


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """The answers, added to those that the registered variable of an earlier look holds."""
        result = super().run(tmp, task_vars)
        questions = self._task.args["questions"]
        earlier = (task_vars or {}).get("__machine_look") or {}
        answers = self._answers(questions)
        if answers:
            result["by_command"] = True
        else:
            result.update(self._execute_module("look", {"questions": questions}, task_vars=task_vars), by_command=False)
            answers = result.pop("answers", {})
        if not result.get("failed"):
            result["_ansible_no_log"] = True  # passwords are among them
        same = [name for name, answer in answers.items() if not answer["changed"]]
        return result | {"answers": earlier.get("answers", {}) | answers, "same": same}

    def _answers(self, questions):
        asked = json.dumps({"questions": questions, "package": package(PACKAGE)}).encode()
        done = self._low_level_execute_command(COMMAND, in_data=asked)
        try:
            return json.loads(done["stdout"].splitlines()[-1]) if done["rc"] == 0 else {}
        except (ValueError, IndexError):
            return {}

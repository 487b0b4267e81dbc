"""The controller's half of `look`: it has the host's own celeryhost answer, or else brings Ansible's module there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "cli"))

from celeryhost.states.look import digest

PACKAGE = digest(Path(__file__).resolve().parents[3] / "cli" / "celeryhost")
COMMAND = (
    '/usr/bin/python3 -IS -c \'import sys; sys.path.insert(0, "/usr/local/lib/celeryhost"); '
    "from celeryhost.states import look; look.main()'"
)


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """The answers, added to those that the registered variable of an earlier look holds."""
        result = super().run(tmp, task_vars)
        # Passwords are among the answers, and with -vvv a connection shows what the host has said.
        self._play_context.no_log = self._connection._play_context.no_log = True
        questions = self._task.args["questions"]
        earlier = (task_vars or {}).get("__machine_look") or {}
        answers = self._answers(questions)
        if answers:
            result["by_command"] = True
        else:
            found = self._execute_module("look", {"questions": questions}, task_vars=task_vars)
            answers = found.pop("answers", {})
            result.update(found, by_command=False)
        if result.get("failed"):
            return {key: value for key, value in result.items() if key not in ("module_stdout", "invocation")}
        same = [name for name, answer in answers.items() if not answer["changed"]]
        return result | {"answers": earlier.get("answers", {}) | answers, "same": same, "_ansible_no_log": True}

    def _answers(self, questions):
        """What the host's own package says; nothing where it is another, or where a command gets no input."""
        if not self._is_pipelining_enabled("new"):
            return {}
        asked = json.dumps({"questions": questions, "package": PACKAGE}).encode()
        done = self._low_level_execute_command(COMMAND, in_data=asked)
        try:
            return json.loads(done["stdout"].splitlines()[-1]) if done["rc"] == 0 else {}
        except (ValueError, IndexError):
            return {}

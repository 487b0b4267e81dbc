"""The controller's half of `look`: it has the host's own celeryhost answer, or else brings Ansible's module there."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from ansible import __version__ as release
from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.unsafe_proxy import wrap_var

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from celeryhost import cache
from celeryhost.controller.asking import ask
from celeryhost.controller.compiled import kept
from celeryhost.paths import COLLECTION

# What of Ansible has a say in the code that Jinja makes.
CODING = (release, str(getattr(constants, "ALLOW_EMBEDDED_TEMPLATES", "")))


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """What `look` in library/ says it returns."""
        result = super().run(tmp, task_vars)
        self._variables = dict(task_vars or {})
        gc.disable()  # this process is a fork that ends with the task, and a collection would copy the parent's memory
        arguments = self._task.args
        if "questions" in arguments:
            return result | self._added(self._ask(arguments["questions"]))
        step = self._compare if arguments.get("compare") else self._look
        with kept(f"{cache.folder()}/{step.__name__[1:]}.compiled", *CODING):
            return result | step(arguments["roles"])

    def _look(self, roles) -> dict:
        """What the roles ask before anything changes; fails with their problems."""
        questions = {name: question for role in roles for name, question in self._says(role, "questions").items()}
        found = self._variables["__machine_look"] = self._added(self._ask(questions))
        if found.get("failed"):
            return found
        # One role's may rest on what another's has refused.
        problems = next(filter(None, (self._says(role, "problems") for role in roles)), None)
        if problems:
            return {"failed": True, "msg": "\n".join(problems)}
        facts = {name: value for role in roles for name, value in self._says(role, "facts").items()}
        return found | {"ansible_facts": facts}

    def _compare(self, roles) -> dict:
        """What the roles bring about beside what is there; `todo`: those that have something to do, in their order."""
        # Much rests on these, and Ansible evaluates a variable anew at each use.
        for name in [name for role in ("machine", *roles) for name in self._says(role, "once")]:
            self._variables[name] = wrap_var(self._templar.template(self._variables[name]))
        # What comes after a role that has something to do rests on what it brings about.
        due = next((roles[number:] for number, role in enumerate(roles) if self._says(role, "due")), [])
        questions = {
            name: question
            for role in roles
            if role not in due
            for name, question in self._says(role, "comparison").items()
        }
        found = self._variables["__machine_compared"] = self._ask(questions)
        if found.get("failed"):
            return found
        differs = due + sorted(questions.keys() - set(found["same"]))
        names = {name.partition(" ")[0] for name in differs}
        # The last role proves that all works.
        todo = [role for role in roles if role in names or (names and role == roles[-1])]
        if todo:
            why = {name: answer["why"] for name, answer in found.get("answers", {}).items() if answer.get("why")}
            said = f"Differs: {', '.join(f'{name} ({why[name]})' if name in why else name for name in differs)}"
        else:
            said = ["Nothing differs.", *(line for role in roles for line in self._says(role, "said"))]
        return {"same": found["same"], "todo": todo, "msg": said, "_ansible_verbose_always": True}

    def _says(self, role, what):
        """The value of a role's variable; {} where it has none."""
        self._templar.available_variables = self._variables
        return self._templar.template(self._variables.get(f"__{role}_{what}", {}))

    def _added(self, found) -> dict:
        """With the answers of an earlier look, too."""
        earlier = self._variables.get("__machine_look") or {}
        return found if found.get("failed") else found | {"answers": earlier.get("answers", {}) | found["answers"]}

    def _ask(self, questions) -> dict:
        """{answers, same, by_command}, or how it failed."""
        answers = ask(self, questions=questions) if questions else {}
        found = {"by_command": bool(answers)}
        if questions and not answers:
            said = self._execute_module(f"{COLLECTION}.look", {"questions": questions}, task_vars=self._variables)
            answers = said.pop("answers", {})
            if said.get("failed"):
                return {key: value for key, value in said.items() if key not in ("module_stdout", "invocation")}
        same = [name for name, answer in answers.items() if not answer["changed"]]
        return found | {"answers": answers, "same": same, "_ansible_no_log": True}

"""What roles would change on a host: all their tasks that are states of ours, answered by it in one or two rounds."""

from __future__ import annotations

import gc
import hashlib
import sys
from pathlib import Path

import jinja2
from ansible.errors import AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase
from ansible.utils.unsafe_proxy import wrap_var

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from celeryhost.controller.asking import ask
from celeryhost.controller.halves import completed
from celeryhost.controller.role_check import Role, RoleCheck, State, Unknown
from celeryhost.errors import Failure
from celeryhost.paths import COLLECTION
from celeryhost.states.look import STATES

ROLES = Path(__file__).parents[2] / "roles"  # not resolved: as Ansible has read them for the plays to come
TEMPLATES = ROLES.parent / "templates"
RECORD = "role_record"


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """What the module `check` says it returns."""
        result = super().run(tmp, task_vars)
        gc.disable()  # this process is a fork that ends with the task, and a collection would copy the parent's memory
        self._variables = dict(task_vars or {})
        arguments = self._task.args
        names, first = list(arguments["roles"]), bool(arguments.get("first"))
        check = RoleCheck(
            [self._role(name) for name in names],
            {
                name: State(getattr(state, "UNASKED", ()), getattr(state, "COSTLY", False))
                for name, state in STATES.items()
            },
            self._template,
            self._true,
            lambda state, given: completed(state, given, asked=True),
            hidden=("hostvars",) if first else (),
        )
        check.answers |= wrap_var(dict(arguments.get("answers") or {}))
        try:
            return result | self._checked(check, names, first) | {"_ansible_no_log": True}
        except Failure as failure:
            return result | {"failed": True, "msg": str(failure)}

    def _checked(self, check, names, first) -> dict:
        digests = {name: _digest(name) for name in names[1:]}  # of all but role machine, which only looks
        record = {} if RECORD in check.answers else {RECORD: [RECORD, {"roles": digests}]}
        found = check.walk(self._variables)
        while questions := found.questions | record:
            check.answers |= wrap_var(self._ask(questions))
            record, found = {}, check.walk(self._variables)
            if first:
                break
        if found.refusal:
            raise Failure(found.refusal)
        whole = {"answers": check.answers, "facts": found.facts, "digests": digests}
        if first:
            return whole
        for name in check.answers[RECORD]["differ"]:
            found.differs.setdefault(name, []).append("its last run did not end, or was of another version")
        due = _due(names, found)
        said = "; ".join(f"{name}: {', '.join(due[name])}" for name in names if name in due)
        return whole | {
            "differ": [name for name in names if name in due],
            "packages": list(
                dict.fromkeys(
                    package
                    for key, state in found.asked.items()
                    if state == "packages"
                    for package in check.answers[key].get("missing", ())
                )
            ),
            "said": [*found.remarks, *([f"Differs: {said}"] if due else ["Nothing differs.", *found.said])],
        }

    def _role(self, name) -> Role:
        folder = ROLES / name
        # As Ansible has them: each role depends on role machine.
        defaults, own = (
            {key: value for place in (ROLES / "machine", folder) for key, value in self._vars(place / kind).items()}
            for kind in ("defaults", "vars")
        )
        place = {"role_path": str(folder), "role_name": name}
        more = getattr(getattr(self._task, "_variable_manager", None), "extra_vars", None) or {}
        return Role(
            name,
            self._load(folder / "tasks" / "main.yml"),
            lambda given: {**defaults, **given, **own, **place, **more},
            lambda file: self._load(folder / "tasks" / file),
        )

    def _vars(self, folder):
        return self._load(folder / "main.yml") or {}

    def _load(self, path):
        if not path.exists():
            return None
        trusted = {"trusted_as_template": True} if hasattr(self._templar, "evaluate_conditional") else {}
        return self._loader.load_from_file(str(path), unsafe=True, **trusted)

    def _template(self, value, variables):
        return self._evaluated(lambda: self._templar.template(value), variables)

    def _true(self, condition, variables) -> bool:
        if hasattr(self._templar, "evaluate_conditional"):
            return self._evaluated(lambda: self._templar.evaluate_conditional(condition), variables)
        return bool(self._evaluated(lambda: self._templar.template(f"{{{{ ({condition}) | bool }}}}"), variables))

    def _evaluated(self, evaluate, variables):
        self._templar.available_variables = variables
        try:
            found = evaluate()
        except Exception as error:
            cause = error
            while cause:
                if isinstance(cause, (AnsibleUndefinedVariable, jinja2.UndefinedError)):
                    raise Unknown(str(cause)) from None
                cause = cause.__cause__
            raise
        omit = variables.get("omit")  # before ansible-core 2.19 a text that stands for nothing
        return {key: each for key, each in found.items() if each != omit} if isinstance(found, dict) else found

    def _ask(self, questions) -> dict:
        """The answers by name; raises Failure without."""
        found = ask(self, questions=questions)
        if found:
            return found
        said = self._execute_module(f"{COLLECTION}.check", {"questions": questions}, task_vars=self._variables)
        if "answers" not in said:
            raise Failure("\n".join(filter(None, [said.get("msg", ""), said.get("module_stderr", "")])).strip())
        return said["answers"]


def _due(names, found) -> dict[str, list[str]]:
    """For each role that is to run why."""
    if not found.differs:
        return found.open
    due = {name: ["rests on that"] for name in found.open} | found.differs
    return {names[-1]: ["proves that all works"]} | due


def _digest(name) -> str:
    """Changes with a role's files and all templates."""
    texts = hashlib.sha256()
    for folder in (ROLES / name, TEMPLATES):
        for path in sorted(folder.rglob("*.*")):
            texts.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return texts.hexdigest()

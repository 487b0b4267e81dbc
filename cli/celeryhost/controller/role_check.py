"""What roles would change on a host, found from their own tasks before any of them runs.

`RoleCheck.walk` goes through the tasks as Ansible would, all of them under check: of each that is a state of ours it
evaluates `when`, loop and arguments, and what the host answers is its result. A walk ends with questions; with their
answers the next one comes further, for much rests on results. Each value is known, or it is not:

- The result of a state that differs is never known, nor what rests on it, by whatever variable: the role runs.
- A task with `changed_when: false` is a look. What it finds is known, unless its role has something to do before it.
- set_fact, debug, fail, included and imported tasks and blocks are followed; assert and meta are left to the run.
- Any other task makes its role run where it would not be skipped, so that nothing that a person adds is passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..paths import COLLECTION

# What stands beside the action of a task that can be followed; with anything else the task is one of another kind.
KEYWORDS = {
    *("name", "when", "register", "loop", "loop_control", "vars", "changed_when", "failed_when", "no_log", "tags"),
    *("until", "retries", "delay", "async", "poll", "throttle", "diff", "check_mode"),
}
BLOCK = {"block", "rescue", "name", "when", "vars", "tags"}  # what rescues is for a failure, which is none of a check
BUILTIN = ("", "ansible.builtin", "ansible.legacy")
FOLLOWED = ("debug", "fail", "import_tasks", "include_tasks", "set_fact")
LEFT = ("assert", "meta", "validate_argument_spec")
SKIPPED = {"skipped": True, "changed": False, "failed": False}
WORD = re.compile(r"(?<![.\w])[A-Za-z_]\w*")  # no attribute


Task = dict[str, Any]
Variables = dict[str, Any]
Result = dict[str, Any]
Evaluate = Callable[[Any, Variables], Any]


class Unknown(Exception):
    """A value that rests on what is not known, or not yet."""


@dataclass
class State:
    """What a state says of itself (states/__init__.py)."""

    unasked: tuple[str, ...] = ()
    costly: bool = False


@dataclass
class Role:
    name: str
    tasks: list[Task]
    variables: Callable[[Variables], Variables]  # those that hold in it, given the others
    included: Callable[[str], list[Task]]  # the tasks of a file of it


@dataclass
class Found:
    """What a walk has come to."""

    questions: dict[str, list[Any]] = field(default_factory=dict)  # {key: [state, arguments]} not answered yet
    differs: dict[str, list[str]] = field(default_factory=dict)  # for each role the tasks that have something to do
    open: dict[str, list[str]] = field(default_factory=dict)  # and those that rest on what is not known
    asked: dict[str, str] = field(default_factory=dict)  # {key: state} of all questions, answered or not
    facts: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # of states, to be said whether their role runs or not
    refusal: str = ""


class RoleCheck:
    """`states`: those that are ours by name; `template(value, variables)` and
    `true(condition, variables)` evaluate, and raise Unknown for what is not defined; `completed(state, arguments)` adds
    what only the controller knows; `hidden`: names that are not known in this check.
    """

    def __init__(
        self,
        roles: list[Role],
        states: dict[str, State],
        template: Evaluate,
        true: Evaluate,
        completed: Callable[[str, Variables], Variables] | None = None,
        hidden: Iterable[str] = (),
    ):
        self.roles, self.states = roles, states
        self._template, self._true = template, true
        self._completed = completed
        self._never = frozenset(hidden)
        self.answers: dict[str, Result] = {}
        self._words: dict[int, tuple[Any, frozenset[str]]] = {}
        self._values: dict[tuple[str, int, bool], tuple[Any, list[tuple[str, int]], Any]] = {}
        self._results: dict[str, Result] = {}

    def walk(self, variables: Variables) -> Found:
        """Go through all tasks with the answers that are there."""
        self.found, self.hidden = Found(), set(self._never)
        self.bound: Variables = {}
        self._pending: set[str] = set()  # roles with an unanswered task that may change something
        for role in self.roles:
            scope = _Scope(self, role, role.variables(variables))
            for task in role.tasks:
                self._task(scope, task)
        return self.found

    def _task(self, scope: _Scope, task: Task) -> None:
        if "block" in task and not task.keys() - BLOCK:
            self._block(scope, task)
            return
        actions = task.keys() - KEYWORDS
        action = actions.pop() if len(actions) == 1 else ""
        place, _, name = action.rpartition(".")
        if place in BUILTIN and name in LEFT:
            return
        if place in BUILTIN and name in FOLLOWED and (isinstance(task[action], dict) or name.endswith("_tasks")):
            step = getattr(self, f"_{name.replace('import', 'include')}")
            step(scope.within(task.get("vars")), task, task[action])
        else:
            name = name if place == COLLECTION else ""
            result = self._result(scope, task, name)
            if "register" in task:
                self._bind(task["register"], result)

    def _block(self, scope: _Scope, task: Task) -> None:
        for each in task["block"]:
            inner = each | {
                "when": [*_listed(task.get("when")), *_listed(each.get("when"))],
                "vars": (task.get("vars") or {}) | (each.get("vars") or {}),
            }
            self._task(scope, inner)

    def _bind(self, name: str, value: Any) -> None:
        self.hidden.discard(name)
        self.bound.pop(name, None)
        if value is None:
            self.hidden.add(name)
        else:
            self.bound[name] = value

    def _result(self, scope: _Scope, task: Task, name: str) -> Result | None:
        """What the task registers; None where that is not known."""
        inner = scope.within(task.get("vars"))
        if "loop" not in task:
            return self._once(inner, task, name)
        try:
            items = inner.value(task["loop"])
        except Unknown as why:
            self._waits(scope, task, why)
            return None
        control = task.get("loop_control") or {}
        results = []
        known = True
        for number, item in enumerate(items):
            local = {control.get("loop_var", "item"): item, control.get("index_var", "ansible_index"): number}
            result = self._once(inner.within(local), task, name)
            known = known and result is not None
            results.append((result or {}) | {"item": item})
        if not known:
            return None
        skipped = {"skipped": True} if all("skipped" in result for result in results) else {}
        return self._same({"results": results, "changed": False, "failed": False} | skipped)

    def _once(self, scope: _Scope, task: Task, name: str) -> Result | None:
        try:
            if not scope.when(task):
                return SKIPPED
        except Unknown as why:
            if name in self.states and not self.states[name].costly:
                with contextlib.suppress(Unknown):  # asked all the same, which may spare a round
                    self._question(scope, task, name)
            self._waits(scope, task, why)
            return None
        if name not in self.states:
            if not _is_look(task):
                self._other(scope, task)
            return None
        try:
            answer = self._question(scope, task, name)
        except Unknown as why:
            self._waits(scope, task, why)
            return None
        if answer is not None:
            return self._answered(scope, task, answer)
        if not _is_look(task):
            self._pending.add(scope.role.name)
        return None

    def _question(self, scope: _Scope, task: Task, name: str) -> Result | None:
        """The answer to what the task wants of the host, where it is there; raises Unknown."""
        given = task[next(iter(task.keys() - KEYWORDS))] or {}
        asked = {key: value for key, value in given.items() if key not in self.states[name].unasked}
        wanted = scope.value(asked, of=given)
        question = [name, self._completed(name, wanted) if self._completed else wanted]
        key = hashlib.sha256(json.dumps(question, sort_keys=True, default=str).encode()).hexdigest()
        self.found.asked[key] = name
        if key not in self.answers:
            self.found.questions[key] = question
        return self.answers.get(key)

    def _answered(self, scope: _Scope, task: Task, answer: Result) -> Result | None:
        result = {"changed": bool(answer.get("changed")), "failed": False} | answer
        if why := answer.get("failed"):
            result |= {"msg": why, "failed": task.get("failed_when") is not False, "changed": False}
        if remark := answer.get("remark"):
            self.found.remarks.append(str(remark))
        differs = result["failed"] or (result["changed"] and not _is_look(task))
        if differs:
            why = why or answer.get("why")
            self._note(self.found.differs, scope, f"{task.get('name')}{f': {why}' if why else ''}")
        known = not differs and not (_is_look(task) and scope.role.name in self.found.differs)
        return self._same(result | ({"changed": False} if _is_look(task) else {})) if known else None

    def _same(self, result: Result) -> Result:
        """The result itself, or the equal one of an earlier walk: what rests on it need not be evaluated anew."""
        text = json.dumps(result, sort_keys=True, default=str)
        return self._results.setdefault(text, result)

    def _waits(self, scope: _Scope, task: Task, why: Unknown) -> None:
        if not _is_look(task):
            self._note(self.found.open, scope, f"{task.get('name')} (rests on {why})")

    def _other(self, scope: _Scope, task: Task) -> None:
        self._note(self.found.differs, scope, str(task.get("name")))

    def _note(self, where: dict[str, list[str]], scope: _Scope, text: str) -> None:
        noted = where.setdefault(scope.role.name, [])
        if text not in noted:
            noted.append(text)

    def words_of(self, value: Any) -> frozenset[str]:
        """As _words, found once for each value, which is kept so that no other gets its id."""
        if id(value) not in self._words:
            self._words[id(value)] = value, _words(value)
        return self._words[id(value)][1]

    def _set_fact(self, scope: _Scope, task: Task, given: Variables) -> None:
        facts = {name: value for name, value in given.items() if name != "cacheable"}
        try:
            applies = "loop" not in task and scope.when(task)
        except Unknown:
            applies = None
        for name, value in facts.items() if applies is not False else ():
            try:
                fact = scope.value(value) if applies else None
            except Unknown:
                fact = None
            self._bind(name, fact)
            if fact is not None:
                self.found.facts[name] = fact

    def _debug(self, scope: _Scope, task: Task, given: Variables) -> None:
        try:
            if "loop" not in task and scope.when(task):
                said = scope.value(given.get("msg", []))
                self.found.said += said if isinstance(said, list) else [said]
        except Unknown:
            pass

    def _fail(self, scope: _Scope, task: Task, given: Variables) -> None:
        """Refuse before anything changes; not while something before it may still have to do what it wants."""
        try:
            if not self.found.refusal and scope.role.name not in self._pending and scope.when(task):
                self.found.refusal = scope.value(given.get("msg", task.get("name")))
        except Unknown:
            pass

    def _include_tasks(self, scope: _Scope, task: Task, given: Any) -> None:
        try:
            if scope.when(task):
                file = scope.value(given["file"] if isinstance(given, dict) else given)
                for each in scope.role.included(file):
                    self._task(scope, each)
        except Unknown as why:
            self._waits(scope, task, why)


class _Scope:
    """The variables of a task: those of its role, its own and an item, and what is registered or set by then."""

    def __init__(self, check: RoleCheck, role: Role, variables: Variables, local: frozenset[str] = frozenset()):
        self.check, self.role, self.variables, self.local = check, role, variables, local

    def within(self, more: Variables | None) -> _Scope:
        return _Scope(self.check, self.role, self.variables | more, self.local | more.keys()) if more else self

    def when(self, task: Task) -> bool:
        return all(self._evaluated(condition, self.check._true, bare=True) for condition in _listed(task.get("when")))

    def value(self, value: Any, of: Any = None) -> Any:
        """Of a value that is made anew each time, `of` is what it is made of."""
        return self._evaluated(value, self.check._template, of=of)

    def _evaluated(self, value: Any, evaluate: Evaluate, bare: bool = False, of: Any = None) -> Any:
        """The value, found once as long as what it rests on is the same."""
        words = _words(value, bare)
        if not words:
            return value
        rests = self._rests(words)
        if unknown := rests & self.check.hidden:
            raise Unknown(", ".join(sorted(unknown)))
        if rests & self.local:
            return evaluate(value, self._known(words))
        of = value if of is None else of
        given = [(name, id(self.check.bound[name])) for name in sorted(rests & self.check.bound.keys())]
        found = self.check._values.get((self.role.name, id(of), bare))
        if found is None or found[1] != given:
            found = of, given, evaluate(value, self._known(words))  # `of` is kept, so that no other gets its id
            self.check._values[self.role.name, id(of), bare] = found
        return found[2]

    def _known(self, words: frozenset[str]) -> Variables:
        """All variables, with the values of those that are named."""
        values = {}
        for name in words & self.variables.keys() - self.check.bound.keys() - self.local:
            if self.check.words_of(self.variables[name]):
                with contextlib.suppress(Exception):  # said when it turns out to be wanted
                    values[name] = self.value(self.variables[name])
        return self.variables | self.check.bound | values

    def _rests(self, names: Iterable[str]) -> set[str]:
        """All names that those rest on, by whatever variable."""
        seen: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if name not in self.check.bound and name not in self.check.hidden:
                todo += self.check.words_of(self.variables.get(name))
        return seen


def _words(value: Any, bare: bool = False) -> frozenset[str]:
    """The names in the templates of a value; `bare`: it is an expression, as of `when`."""
    if isinstance(value, str):
        return frozenset(WORD.findall(value)) if bare or "{{" in value or "{%" in value else frozenset()
    if isinstance(value, dict):
        return frozenset().union(*map(_words, value.values()))
    if isinstance(value, list):
        return frozenset().union(*(_words(each, bare) for each in value))
    return frozenset()


def _listed(when: Any) -> list[Any]:
    return when if isinstance(when, list) else [] if when is None else [when]


def _is_look(task: Task) -> bool:
    return task.get("changed_when") is False

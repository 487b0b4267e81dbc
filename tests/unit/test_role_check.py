"""What roles would change, found from their tasks: what is asked, what is known, and what is never passed over."""

from __future__ import annotations

import contextlib

import jinja2
import pytest
import yaml
from celeryhost.controller.role_check import Role, RoleCheck, State, Unknown

STATES = {"files": State(), "package": State(), "load": State(unasked=("secret",)), "migrate": State(costly=True)}
ENVIRONMENT = jinja2.Environment(undefined=jinja2.StrictUndefined)


def template(value, variables):
    """As Ansible does, which evaluates a variable within another one."""
    if isinstance(value, dict):
        return {key: template(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [template(each, variables) for each in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    known = {}
    for name, each in variables.items():
        with contextlib.suppress(Unknown):
            known[name] = template(each, {**variables, name: None})
    expression = value.strip().removeprefix("{{").removesuffix("}}")
    found = ENVIRONMENT.compile_expression(expression, undefined_to_none=False)(**known)
    if isinstance(found, jinja2.Undefined):
        raise Unknown(value)
    return found


def true(condition, variables):
    return bool(template(f"{{{{ {condition} }}}}", variables))


def role(tasks, name="one", **variables):
    included = {file: yaml.safe_load(text) for file, text in variables.pop("files", {}).items()}
    return Role(name, yaml.safe_load(tasks), lambda given: {**given, **variables}, included.__getitem__)


class Host:
    """Answers what it is asked; `there` says what is not as it is to be: {first argument: answer}."""

    def __init__(self, *roles, there=None, hidden=(), **variables):
        self.check = RoleCheck(list(roles), STATES, template, true, hidden=hidden)
        self.there, self.variables, self.rounds = there or {}, variables, []

    def __call__(self):
        found = self.check.walk(self.variables)
        while found.questions:
            self.rounds.append(sorted(next(iter(given.values())) for _, given in found.questions.values()))
            for key, (_, given) in found.questions.items():
                self.check.answers[key] = {"changed": False} | self.there.get(next(iter(given.values())), {})
            found = self.check.walk(self.variables)
        return found


ONE_AFTER_THE_OTHER = """
- name: Look
  celeryhost.celeryhost.files: {path: look}
  register: looked
  changed_when: false
- name: First
  celeryhost.celeryhost.files: {path: first}
  register: done
- name: Second
  celeryhost.celeryhost.files: {path: "{{ looked.says }}"}
"""


def test_what_rests_on_nothing_is_asked_at_once_and_the_rest_with_the_answers():
    host = Host(role(ONE_AFTER_THE_OTHER), there={"look": {"says": "second"}})
    assert (host().differs, host().open) == ({}, {})
    assert host.rounds == [["first", "look"], ["second"]]


def test_what_differs_is_told_by_the_task():
    there = {"look": {"says": "second"}, "second": {"changed": True, "why": "it is old"}}
    assert Host(role(ONE_AFTER_THE_OTHER), there=there)().differs == {"one": ["Second: it is old"]}


def test_a_failed_answer_makes_its_role_run_which_says_it_in_full():
    found = Host(role(ONE_AFTER_THE_OTHER), there={"first": {"changed": True, "failed": "no"}})()
    assert found.differs == {"one": ["First: no"]}


@pytest.mark.parametrize("value", ["{{ done.text }}", "{{ done.text | default('x') }}", "{{ through }}"])
def test_what_rests_on_what_differs_is_never_known(value):
    tasks = yaml.safe_load(ONE_AFTER_THE_OTHER)
    tasks[2] = {"name": "Second", "celeryhost.celeryhost.files": {"path": value}}
    host = Host(role(yaml.dump(tasks), through="{{ done.text | default('y') }}"), there={"first": {"changed": True}})
    found = host()
    assert found.differs == {"one": ["First"]}
    assert host.rounds == [["first", "look"]], "nothing is asked with a value that may be another one then"


def test_a_look_behind_what_differs_is_not_known():
    tasks = """
- {name: First, celeryhost.celeryhost.files: {path: first}}
- {name: Look, celeryhost.celeryhost.files: {path: look}, register: looked, changed_when: false}
- {name: Refuse, ansible.builtin.fail: {msg: refused}, when: looked.bad}
"""
    assert Host(role(tasks), there={"first": {"changed": True}, "look": {"bad": True}})().refusal == ""
    assert Host(role(tasks), there={"look": {"bad": True}})().refusal == "refused"


def test_a_true_fail_refuses_and_the_first_one_is_said():
    tasks = """
- {name: Look, celeryhost.celeryhost.files: {path: look}, register: looked, changed_when: false}
- {name: Refuse, ansible.builtin.fail: {msg: "{{ looked.why }}"}, when: looked.why | length > 0}
- {name: Refuse, ansible.builtin.fail: {msg: second}}
"""
    assert Host(role(tasks), there={"look": {"why": "too small"}})().refusal == "too small"
    assert Host(role(tasks), there={"look": {"why": ""}})().refusal == "second"


ORDINARY = [
    "{name: Mine, ansible.builtin.command: ls}",
    "{name: Mine, celeryhost.celeryhost.files: {path: a}, delegate_to: other}",
    "{name: Mine, celeryhost.celeryhost.files: {path: a}, with_items: [1]}",
    "{name: Mine, block: [{name: Mine, ansible.builtin.command: ls}]}",
    "{name: Mine, block: [{name: a, celeryhost.celeryhost.files: {path: a}}], always: []}",
    "{name: Mine, ansible.builtin.include_role: {name: other}}",
    "{name: Mine, somebody.else.package: {name: other}}",
    "{name: Mine, somebody.else.debug: {msg: other}}",
    "{name: Mine, ansible.builtin.set_fact: a=b}",
    "{name: Mine, celeryhost.celeryhost.files: {path: a}, become_user: other}",
    "{name: Mine, celeryhost.celeryhost.files: {path: a}, notify: other}",
]


@pytest.mark.parametrize("task", ORDINARY)
def test_a_task_of_another_kind_makes_its_role_run(task):
    assert Host(role(f"- {task}"))().differs == {"one": ["Mine"]}
    assert Host(role(f"- {task[:-1]}, when: wanted}}"), wanted=False)().differs == {}
    assert Host(role(f"- {task[:-1]}, when: nobody_knows}}"))().differs in ({"one": ["Mine"]}, {})
    found = Host(role(f"- {task[:-1]}, when: nobody_knows}}"))()
    assert found.differs or found.open, "where it is not known whether it would be skipped, it is not passed over"


def test_a_look_of_another_kind_is_never_known_and_does_not_make_its_role_run():
    look = "- {name: Look, ansible.builtin.command: ls, register: said, changed_when: false}"
    assert Host(role(look))().differs == {}
    found = Host(role(f"{look}\n- {{name: Next, celeryhost.celeryhost.files: {{path: '{{{{ said.stdout }}}}'}}}}"))()
    assert found.open == {"one": ["Next (rests on said)"]}


LOOP = """
- name: Each
  celeryhost.celeryhost.files: {path: "{{ item }}"}
  loop: "{{ paths }}"
  register: each
  when: item != 'b'
- name: Then
  celeryhost.celeryhost.files: {path: "{{ each.results[0].text }}"}
"""


def test_loops_ask_of_each_item_and_register_as_ansible_does():
    host = Host(role(LOOP), paths=["a", "b", "c"], there={"a": {"text": "then"}})
    assert host().differs == {}
    assert host.rounds == [["a", "c"], ["then"]]
    assert Host(role(LOOP), paths=["a", "b"], there={"a": {"changed": True}})().differs == {"one": ["Each"]}


def test_facts_are_set_and_are_not_known_where_they_rest_on_what_differs():
    tasks = """
- {name: Look, celeryhost.celeryhost.files: {path: look}, register: looked, changed_when: false}
- {name: Note, ansible.builtin.set_fact: {early: "{{ looked.says }}"}}
- {name: First, celeryhost.celeryhost.files: {path: first}, register: done}
- {name: Note, ansible.builtin.set_fact: {late: "{{ done.text }}"}}
"""
    there = {"look": {"says": "x"}, "first": {"text": "y"}}
    assert Host(role(tasks), there=there)().facts == {"early": "x", "late": "y"}
    assert Host(role(tasks), there=there | {"first": {"changed": True}})().facts == {"early": "x"}
    behind = role("- {name: Then, celeryhost.celeryhost.files: {path: '{{ late }}'}}", "two")
    assert Host(role(tasks), behind, there=there | {"first": {"changed": True}})().open == {
        "two": ["Then (rests on late)"]
    }


def test_included_tasks_and_blocks_are_followed():
    tasks = """
- {name: Include, ansible.builtin.include_tasks: more.yml, when: wanted}
- {name: Import, ansible.builtin.import_tasks: {file: imported.yml}, when: wanted}
- name: Together
  block: [{name: Inner, celeryhost.celeryhost.files: {path: inner}}]
  when: wanted
"""
    files = {"more.yml": "[{name: More, celeryhost.celeryhost.files: {path: more}}]", "imported.yml": "[]"}
    host = Host(role(tasks, files=files), wanted=True, there={"more": {"changed": True}, "inner": {"changed": True}})
    assert host().differs == {"one": ["More", "Inner"]}
    assert Host(role(tasks, files=files), wanted=False)().asked == {}


def test_a_state_is_not_given_what_it_is_not_asked_with():
    host = Host(role("- {name: Load, celeryhost.celeryhost.load: {app: a, secret: '{{ nobody_knows }}'}}"))
    assert host().open == {}
    assert host.rounds == [["a"]]


def test_what_is_costly_is_not_asked_before_it_is_known_to_be_wanted():
    tasks = """
- {name: Look, celeryhost.celeryhost.files: {path: look}, register: looked, changed_when: false}
- {name: Cheap, celeryhost.celeryhost.package: {name: cheap}, when: looked.wants}
- {name: Dear, celeryhost.celeryhost.migrate: {name: dear}, when: looked.wants}
"""
    host = Host(role(tasks), there={"look": {"wants": False}})
    assert host().open == {}
    assert host.rounds == [["cheap", "look"]]


def test_debug_is_said():
    tasks = "- {name: Say, debug: {msg: ['{{ word }}', b]}, when: word == 'a'}\n- {name: Say, debug: msg=c}"
    assert Host(role(tasks), word="a")().said == ["a", "b"]
    assert Host(role(tasks), word="c")().said == []


def test_a_remark_is_said_whether_its_role_runs_or_not():
    tasks = "- {name: One, celeryhost.celeryhost.files: {path: a}}"
    for changed in (True, False):
        assert Host(role(tasks), there={"a": {"changed": changed, "remark": "stays"}})().remarks == ["stays"]


def test_a_block_with_a_rescue_is_checked_as_it_is_without():
    tasks = """
- name: Switch, or go back
  block: [{name: One, celeryhost.celeryhost.files: {path: a}}]
  rescue: [{name: Back, ansible.builtin.command: back}]
"""
    assert Host(role(tasks))().differs == {}
    assert Host(role(tasks), there={"a": {"changed": True}})().differs == {"one": ["One"]}


def test_names_that_are_hidden_are_not_known_however_they_are_reached():
    tasks = "- {name: Task, celeryhost.celeryhost.files: {path: '{{ through }}'}}"
    found = Host(role(tasks, through="{{ hostvars['a'].url | default('') }}"), hidden=("hostvars",), hostvars={})()
    assert found.open == {"one": ["Task (rests on hostvars)"]}


def test_a_failure_that_is_let_pass_is_known():
    tasks = """
- {name: Look, celeryhost.celeryhost.files: {path: look}, register: looked, changed_when: false, failed_when: false}
- {name: Refuse, ansible.builtin.fail: {msg: "{{ looked.msg }}"}, when: looked.msg is defined}
"""
    assert Host(role(tasks), there={"look": {"changed": True, "failed": "no answer"}})().refusal == "no answer"

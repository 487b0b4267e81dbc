#!/usr/bin/python
"""Many questions about a machine, answered in one go. Changes nothing."""

from __future__ import annotations

import sys

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import machine_facts

DOCUMENTATION = r"""
module: look
short_description: Ask several of celeryhost's modules at once what they would change
description:
  - Each task that starts Python on a small board costs seconds; this is one for all.
  - Changes nothing. The action plugin of the same name has the answers come from the host's own celeryhost package
    where that is the same as the controller's.
  - The action plugin also speaks for roles. Of role C(x) it reads the variables C(__x_questions), C(__x_problems)
    (lines; the first role that has some fails the task with them) and C(__x_facts); to compare also C(__x_once)
    (variables to be evaluated but once), C(__x_due) (whether the answers already say that it has something to do),
    C(__x_comparison) (questions) and C(__x_said) (lines for a person).
options:
  questions:
    description: For each name a list of two, a module and its arguments.
    type: dict
  roles:
    description: Instead of questions, names of the roles that ask.
    type: list
    elements: str
  compare:
    description: Whether the roles ask their second questions, which rest on the answers to the first.
    type: bool
    default: false
author: celeryhost
"""

EXAMPLES = r"""
- name: Look
  celeryhost.celeryhost.look:
    questions:
      machine: [machine_facts, {candidates: [redis-server]}]
      password: [password_file, {path: /etc/celeryhost/redis.password}]
  register: __machine_look
"""

RETURN = r"""
answers:
  description: For each name what the module returns in check mode, or C(failed) and why. Earlier answers are kept.
  type: dict
same: {description: Names of the questions of this look under which nothing differs., type: list}
todo: {description: 'When comparing, instead of answers: the roles that have something to do, in order.', type: list}
by_command: {description: Whether the host's own package has answered., type: bool}
"""


def main():
    module = AnsibleModule({"questions": {"type": "dict", "required": True, "no_log": True}}, supports_check_mode=True)
    questions = module.params["questions"]
    module.no_log_values.clear()  # else Ansible would strike each value of a question out of the answers
    module.params["questions"] = None
    if sys.version_info < (3, 10):  # noqa: UP036 - to be refused, but told by what that Python can read
        module.exit_json(answers={"machine": machine_facts.bring({"candidates": []}, True)})
    from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states.look import look

    module.exit_json(answers=look(questions))


if __name__ == "__main__":
    main()

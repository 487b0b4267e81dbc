#!/usr/bin/python
"""What roles would change on a host, from their own tasks. Changes nothing."""

from __future__ import annotations

import sys

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import machine_facts

DOCUMENTATION = r"""
module: check
short_description: Ask what roles would change on a host, all of their tasks at once
description:
  - Each task that starts Python on a small board costs seconds; this is one or two for all.
  - The action plugin of the same name goes through the roles' tasks, evaluates those that are ours,
    and has the host answer all of them under check; the host's own celeryhost package where that is the same as the
    controller's, else this module. What rests on results is asked in a second round.
  - A task of any other kind that would not be skipped makes its role differ. C(fail) ends the check.
options:
  roles:
    description: Names of roles of this collection, in the order in which they run.
    type: list
    elements: str
  first:
    description: Whether to ask only what rests on nothing; the hosts may learn of each other then.
    type: bool
    default: false
  answers:
    description: Those of the first round.
    type: dict
  questions:
    description: Given by the action plugin, for each name a list of two, a module and its arguments.
    type: dict
author: celeryhost
"""

EXAMPLES = r"""
- name: Check
  celeryhost.celeryhost.check:
    roles: [machine, redis]
  register: __checked
"""

RETURN = r"""
differ: {description: The roles that have something to do., type: list}
packages: {description: Packages that roles will install., type: list}
said: {description: "What to say of it, with what the roles' debug tasks say where nothing differs.", type: raw}
digests: {description: For each role but the first what it is now., type: dict}
answers: {description: What the host has answered., type: dict}
facts: {description: What the roles note of it that other roles and hosts ask for., type: dict}
"""


def main():
    module = AnsibleModule({"questions": {"type": "dict", "required": True, "no_log": True}}, supports_check_mode=True)
    questions = module.params["questions"]
    module.no_log_values.clear()  # else Ansible would strike each value of a question out of the answers
    module.params["questions"] = None
    if sys.version_info < (3, 10):  # noqa: UP036 - to be refused, but told by what that Python can read
        facts = machine_facts.bring({"candidates": []}, True)
        asked = [name for name, (state, _) in questions.items() if state == "machine_facts"]
        module.exit_json(answers=dict.fromkeys(asked, facts))
    from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states.look import look

    module.exit_json(answers=look(questions))


if __name__ == "__main__":
    main()

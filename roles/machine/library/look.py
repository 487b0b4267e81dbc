#!/usr/bin/python
"""Many questions about a machine, answered in one go. Changes nothing."""

from __future__ import annotations

import sys

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.celeryhost.states import machine_facts

DOCUMENTATION = r"""
module: look
short_description: Ask several of celeryhost's modules at once what they would change
description:
  - Each task that starts Python on a small board costs seconds; this is one for all.
  - Changes nothing. The action plugin of the same name has the answers come from the host's own celeryhost package
    where that is the same as the controller's.
options:
  questions:
    description: For each name a list of two, a module and its arguments.
    type: dict
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Look
  look:
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
by_command: {description: Whether the host's own package has answered., type: bool}
"""


def main():
    module = AnsibleModule({"questions": {"type": "dict", "required": True, "no_log": True}}, supports_check_mode=True)
    questions = module.params["questions"]
    module.no_log_values.clear()  # else Ansible would strike each value of a question out of the answers
    module.params["questions"] = None
    if sys.version_info < (3, 10):  # noqa: UP036 - to be refused, but told by what that Python can read
        module.exit_json(answers={"machine": machine_facts.bring({"candidates": []}, True)})
    from ansible.module_utils.celeryhost.states.look import look

    module.exit_json(answers=look(questions))


if __name__ == "__main__":
    main()

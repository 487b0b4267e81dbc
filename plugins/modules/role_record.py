#!/usr/bin/python
"""What roles were at their last complete run on a host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import role_record, serve

DOCUMENTATION = r"""
module: role_record
short_description: Note that roles have begun to run, or are done
description:
  - The action C(check) compares what is noted, so that a run that broke off is not forgotten.
options:
  roles:
    description: For each role what it is now, a digest.
    type: dict
    required: true
  state:
    description: What is to be noted.
    type: str
    choices: [begun, complete]
    default: complete
  folder:
    description: Where.
    type: path
    default: /etc/celeryhost/roles
author: celeryhost
"""

EXAMPLES = r"""
- name: Note that role redis is about to run
  celeryhost.celeryhost.role_record:
    roles: "{{ {'redis': digest} }}"
    state: begun
"""

RETURN = r"""
differ: {description: The roles of which something else was noted., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, role_record)

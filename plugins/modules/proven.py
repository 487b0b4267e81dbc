#!/usr/bin/python
"""That what was brought was seen to work, noted on the host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import proven, serve

DOCUMENTATION = r"""
module: proven
short_description: See that what was brought works, and note that it was seen
description:
  - After C(supervisor_programs), which forgets O(path). Fails when a task has not come back, a program has ended or a
    beat is late.
options:
  path:
    description: The file that says so.
    type: path
    required: true
  key:
    description: What C(supervisor_programs) has returned as such.
    type: str
    required: true
  config:
    description: The C(supervisord.conf) of the supervisord that the programs are of.
    type: path
    required: true
  pids:
    description: What C(supervisor_programs) has returned as such.
    type: dict
    default: {}
  tasks:
    description: What C(supervisor_programs) has returned as C(meanwhile).
    type: dict
    default: {}
  logs:
    description: For each app with a beat, beat's log.
    type: dict
    default: {}
  seconds:
    description:
      - How long to wait for each beat to send a task. One that has nothing to send is no failure, one that lets an
        entry fall due is.
    type: int
    default: 0
author: celeryhost
"""

EXAMPLES = r"""
- name: See that it works
  celeryhost.celeryhost.proven:
    path: /etc/celeryhost/proven
    key: "{{ brought.key }}"
    pids: "{{ brought.pids }}"
    config: /etc/supervisor/supervisord.conf
"""

RETURN = r"""
fired: {description: For each app the last line of its beat about a task., type: dict}
exit_code: {description: What the command line ends with., type: int, returned: when it was not seen to work}
"""

if __name__ == "__main__":
    serve(AnsibleModule, proven)

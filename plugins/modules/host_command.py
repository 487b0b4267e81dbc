#!/usr/bin/python
"""A command that may go on in the background."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import host_command, serve

DOCUMENTATION = r"""
module: host_command
short_description: Run a command
description:
  - As ansible.builtin.command. With async and poll 0 the host's own celeryhost begins it, where there is one, in a
    third of the time that Ansible needs for that.
options:
  argv:
    description: The command and its arguments.
    type: list
    elements: str
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Begin
  celeryhost.celeryhost.host_command:
    argv: [sleep, "10"]
  async: 60
  poll: 0
  register: begun
"""

RETURN = r"""
rc: {description: Its exit code., type: int}
stdout: {description: What it has printed., type: str}
stderr: {description: What it has said beside that., type: str}
"""

if __name__ == "__main__":
    serve(AnsibleModule, host_command)

#!/usr/bin/python
"""A line NAME=value in a file of settings."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import serve, setting_line

DOCUMENTATION = r"""
module: setting_line
short_description: Have a line NAME=value in a file
description:
  - The last line of that name counts, and is replaced.
options:
  path:
    description: The file.
    type: path
    required: true
  name:
    description: Its name.
    type: str
    required: true
  value:
    description: Its value.
    type: str
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Tell the init script
  celeryhost.celeryhost.setting_line:
    path: /etc/default/redis-server
    name: DAEMON_ARGS
    value: /etc/redis/celeryhost.conf
"""

RETURN = r"""
{}
"""

if __name__ == "__main__":
    serve(AnsibleModule, setting_line)

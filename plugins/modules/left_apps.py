#!/usr/bin/python
"""Apps that an earlier run has put on a host and that nobody describes any more. Changes nothing."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import left_apps, serve

DOCUMENTATION = r"""
module: left_apps
short_description: Look for apps that nobody describes any more
description:
  - They run on; nothing is changed.
options:
  folder:
    description: Where Supervisor's entries are.
    type: path
    required: true
  apps:
    description: Names of those that are described.
    type: list
    elements: str
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Look for apps that nobody describes
  celeryhost.celeryhost.left_apps:
    folder: /etc/supervisor/conf.d
    apps: [mysite]
"""

RETURN = r"""
lines: {description: For each such app what to say of it., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, left_apps)

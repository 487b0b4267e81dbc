#!/usr/bin/python
"""The table of `celeryhost status`. Changes nothing."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import serve, status

DOCUMENTATION = r"""
module: status
short_description: Look at Supervisor's programs
description:
  - The lines of C(celeryhost status).
options:
  config:
    description: Supervisor's configuration.
    type: path
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Look at the programs
  celeryhost.celeryhost.status:
    config: /etc/supervisor/supervisord.conf
"""

RETURN = r"""
lines: {description: The table., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, status)

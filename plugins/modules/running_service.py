#!/usr/bin/python
"""A service that runs, now and after each boot."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import running_service, serve

DOCUMENTATION = r"""
module: running_service
short_description: Start a service, now and at each boot
description:
  - Under systemd, or by its init script.
options:
  name:
    description: Its name.
    type: str
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Start Redis
  celeryhost.celeryhost.running_service:
    name: redis-server
"""

RETURN = r"""
{}
"""

if __name__ == "__main__":
    serve(AnsibleModule, running_service)

#!/usr/bin/python
"""What a machine has for its apps, and what keeps them from running on it. Changes nothing."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import project_look, serve

DOCUMENTATION = r"""
module: project_look
short_description: Check apps against the machine they are to run on
description: Changes nothing.
options:
  apps:
    description: The descriptions, as the filter C(apps) makes them.
    type: list
    elements: dict
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Look
  celeryhost.celeryhost.project_look:
    apps: "{{ celery_apps | celeryhost.celeryhost.apps }}"
"""

RETURN = r"""
problems: {description: What would not work, one line each., type: list}
groups: {description: "By app, the group of its user; the user's name while there is no such account.", type: dict}
environments: {description: "For each app the C(revision) that its environment was last filled for.", type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, project_look)

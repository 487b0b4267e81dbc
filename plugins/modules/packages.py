#!/usr/bin/python
"""Debian packages, installed or removed in one transaction."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import packages, serve

DOCUMENTATION = r"""
module: packages
short_description: Have Debian packages, or not
description:
  - Waits for whatever apt is at, in the background too, and ends what a killed dpkg has begun.
options:
  names:
    description: The packages.
    type: list
    elements: str
    required: true
  state:
    description: Whether they are to be there; V(purged) takes their configuration away, too.
    type: str
    choices: [present, absent, purged]
    default: present
  quiet:
    description:
      - Packages that bring a service of their name along which is not wanted; it is stopped for good where the package
        was not there before.
    type: list
    elements: str
    default: []
author: celeryhost
"""

EXAMPLES = r"""
- name: Install Redis
  celeryhost.celeryhost.packages:
    names: [redis-server]
"""

RETURN = r"""
missing: {description: Those that were not as they are to be., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, packages)

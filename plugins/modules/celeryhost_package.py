#!/usr/bin/python
"""The celeryhost package on a host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import celeryhost_package, serve

DOCUMENTATION = r"""
module: celeryhost_package
short_description: Install the celeryhost package, as the controller has it
description:
  - From then on it does the work of the other modules there. The action plugin of the same name gives the options.
options:
  path:
    description: Its folder.
    type: path
    default: /usr/local/lib/celeryhost/celeryhost
  digest:
    description: Changes with its files.
    type: str
    required: true
  files:
    description: For each path below the folder its text.
    type: dict
author: celeryhost
"""

EXAMPLES = r"""
- name: Install the celeryhost package
  celeryhost.celeryhost.celeryhost_package:
"""

RETURN = r"""
paths: {description: What was changed., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, celeryhost_package)

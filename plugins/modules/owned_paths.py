#!/usr/bin/python
"""Folders and empty files with an owner and a mode, several in one task."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import owned_paths, serve

DOCUMENTATION = r"""
module: owned_paths
short_description: Have folders and files there, with an owner, a group and a mode
description:
  - Makes what is missing. What is in a folder or file stays as it is.
  - In check mode an account that is not there yet is taken for one that will be.
options:
  folders:
    description:
      - For each path its C(owner), C(group) and C(mode); C(made=true) leaves one that is there as it is.
    type: dict
    default: {}
  files:
    description: The same for files, made empty.
    type: dict
    default: {}
  taken:
    description:
      - Logs that root takes over, with their rotated files, as long as nothing is at the new place
        (C(old path) is C(new path), in a folder of root's).
    type: dict
    default: {}
  absent:
    description: What is removed, folders with all in them.
    type: list
    elements: path
    default: []
author: celeryhost
"""

EXAMPLES = r"""
- name: Have a log
  celeryhost.celeryhost.owned_paths:
    folders:
      /var/log/mysite: {owner: mysite, group: adm, mode: "0750"}
    files:
      /var/log/mysite/worker.log: {owner: mysite, group: adm, mode: "0640"}
"""

RETURN = r"""
paths: {description: What was made or changed., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, owned_paths)

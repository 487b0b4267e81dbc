#!/usr/bin/python
"""Many small files in one go: on a small board each task that starts Python costs seconds."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import install_files, serve

DOCUMENTATION = r"""
module: install_files
short_description: Install files with their contents, owners and modes, in one task
description:
  - Each file is replaced as a whole, by renaming; missing folders are made (0755).
options:
  files:
    description:
      - For each path its `content` (text), or `absent=true`; `owner` and `group` (default root), `mode` ("0644").
      - Or `directory=true`, which makes a missing folder (0755).
      - Contents are shown in a diff unless it has `diff=false`; a secret one goes in O(secrets) instead.
    type: dict
    default: {}
  secrets:
    description: Contents, by path, that no log and no diff may show. Owner, group and mode come from O(files).
    type: dict
    default: {}
  prune:
    description: Folders in which Python files that O(files) does not name are removed.
    type: list
    elements: path
    default: []
  compile:
    description: A folder to byte-compile, by the Python of the programs that will import it.
    type: path
  python:
    description: That Python.
    type: path
    default: /usr/bin/python3
author: celeryhost
"""

EXAMPLES = r"""
- name: Install two files
  celeryhost.celeryhost.install_files:
    files:
      /etc/one.conf: {content: "a = 1\n"}
      /etc/two.conf: {group: adm, mode: "0640"}
    secrets:
      /etc/two.conf: "password = {{ password }}\n"
"""

RETURN = r"""
paths: {description: The files that were changed or removed., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, install_files)

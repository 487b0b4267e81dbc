#!/usr/bin/python
"""A password that is made on the machine at first use, and never leaves it by a log or a diff."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import password_file, serve

DOCUMENTATION = r"""
module: password_file
short_description: Keep a password in a file of its own, made at first use
description: The file holds one line; one that exists keeps it. Its folder is made when missing (0755).
options:
  path: {description: The file., type: path, required: true}
  password: {description: "What a new file holds; empty: a random one.", type: str, default: ""}
  owner: {description: Owner of the file., type: str, default: root}
  group: {description: Group of the file., type: str, default: root}
  mode: {description: Mode of the file., type: raw, default: "0600"}
author: celeryhost
"""

EXAMPLES = r"""
- name: Make the password at first use
  celeryhost.celeryhost.password_file:
    path: /etc/celeryhost/redis.password
  register: password
  no_log: true
"""

RETURN = r"""
password: {description: "What the file holds; empty in check mode before it is made. Register with no_log.", type: str}
"""

if __name__ == "__main__":
    serve(AnsibleModule, password_file)

#!/usr/bin/python
"""A password that is made on the machine at first use, and never leaves it by a log or a diff."""

from __future__ import annotations

import os
import secrets

from ansible.module_utils.basic import AnsibleModule

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
  password_file:
    path: /etc/celeryhost/redis.password
  register: password
  no_log: true
"""

RETURN = r"""
password: {description: "What the file holds; empty in check mode before it is made. Register with no_log.", type: str}
"""


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def write(path, password):
    """All or nothing: a run killed here leaves either no file or a whole one."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    new = f"{path}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(password + "\n")
    os.replace(new, path)


def main():
    module = AnsibleModule(
        {
            "path": {"type": "path", "required": True},
            "password": {"type": "str", "default": "", "no_log": True},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "raw", "default": "0600"},
        },
        supports_check_mode=True,
    )
    path = module.params["path"]
    password = read(path)
    changed = not password
    if changed and not module.check_mode:
        password = module.params["password"] or secrets.token_urlsafe(24)
        write(path, password)
    if os.path.exists(path):
        access = {key: module.params[key] for key in ("path", "owner", "group", "mode")}
        changed |= module.set_fs_attributes_if_different({**access, "secontext": None, "attributes": None}, False)
    module.exit_json(changed=changed, password=password)


if __name__ == "__main__":
    main()

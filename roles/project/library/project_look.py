#!/usr/bin/python
"""What a machine has for its apps, and what keeps them from running on it. Changes nothing."""

from __future__ import annotations

import grp
import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.celeryhost.preflight import app_problems

DOCUMENTATION = r"""
module: project_look
short_description: Check apps against the machine they are to run on
description: Changes nothing. The action plugin of the same name checks what is on the controller first.
options:
  apps:
    description: The descriptions, as the filter C(celeryhost_apps) makes them.
    type: list
    elements: dict
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Look
  project_look:
    apps: "{{ celery_apps | celeryhost_apps }}"
"""

RETURN = r"""
problems: {description: What would not work, one line each., type: list}
groups: {description: "By app, the group of its user; the user's name while there is no such account.", type: dict}
missing: {description: Accounts that are not there., type: list}
"""


def main():
    module = AnsibleModule(
        {"apps": {"type": "list", "elements": "dict", "required": True, "no_log": False}}, supports_check_mode=True
    )
    problems, groups, missing = [], {}, []
    for app in module.params["apps"]:
        problems += app_problems(app)
        try:
            groups[app["name"]] = grp.getgrgid(pwd.getpwnam(app["user"]).pw_gid).gr_name
        except KeyError:
            groups[app["name"]] = app["user"]
            missing.append(app["user"])
    module.exit_json(changed=False, problems=problems, groups=groups, missing=missing)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Groups with members, and accounts of the system."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import accounts, serve

DOCUMENTATION = r"""
module: accounts
short_description: Have groups, members and accounts
description:
  - Accounts are made without a home and for nobody to log in to.
options:
  groups:
    description: For each group its members. C($SUDO_USER) is the user who connects; root is left out.
    type: dict
    default: {}
  users:
    description:
      - For each account its C(home), C(shell), C(group) and C(comment); C(made=true) leaves one that is there as it is.
    type: dict
    default: {}
author: celeryhost
"""

EXAMPLES = r"""
- name: Let people in
  celeryhost.celeryhost.accounts:
    groups:
      supervisor: [$SUDO_USER]
"""

RETURN = r"""
accounts: {description: What was made or changed., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, accounts)

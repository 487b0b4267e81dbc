#!/usr/bin/python
"""A git checkout that belongs to another account, at one commit."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import project_git, serve

DOCUMENTATION = r"""
module: project_git
short_description: Have a commit of a git repository checked out in a folder
description:
  - Works in a folder that has other things in it already, such as the virtual environment, and goes on where a killed
    run stopped.
  - git runs as O(owner) and with that account's keys; C(ansible.builtin.git) would need sudo to become it.
  - A changed file of the repository is kept, and the module fails.
options:
  repo:
    description: URL of the repository.
    type: str
    required: true
  version:
    description: Branch, tag or commit.
    type: str
    default: HEAD
  dest:
    description: The folder; it must be there and be O(owner)'s, except in check mode.
    type: path
    required: true
  owner:
    description: The account.
    type: str
    required: true
  key:
    description: File of root's with a private key that git may use and O(owner) may not read.
    type: path
  moment:
    description: A file that says since when the code is what it is, for everybody to read.
    type: path
author: celeryhost
"""

EXAMPLES = r"""
- name: Have the code
  celeryhost.celeryhost.project_git:
    repo: https://git.example/me/mysite.git
    version: v1.4
    dest: /srv/mysite
    owner: mysite
"""

RETURN = r"""
revision: {description: The commit; empty where check mode cannot know it., type: str}
"""

if __name__ == "__main__":
    serve(AnsibleModule, project_git)

#!/usr/bin/python
"""The key by which git gets at a repository."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import git_key, serve

DOCUMENTATION = r"""
module: git_key
short_description: Have a private key of root's that a git repository lets in
description:
  - Makes a key where there is none, or brings one, and fails with its public half until the repository lets it in.
options:
  path:
    description: The private key's file; beside it, with C(.pub), is its public half.
    type: path
    required: true
  text:
    description: The private key; without it one is made.
    type: str
  repo:
    description: URL of the repository.
    type: str
    required: true
  owner:
    description: The account that git runs as.
    type: str
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Have a key
  celeryhost.celeryhost.git_key:
    path: /etc/celeryhost/mysite.git-key
    repo: git@git.example:me/mysite.git
    owner: mysite
"""

RETURN = r"""
public: {description: The public half; empty where check mode cannot know it., type: str}
"""

if __name__ == "__main__":
    serve(AnsibleModule, git_key)

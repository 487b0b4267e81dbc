#!/usr/bin/python
"""A release of an app: its code in a folder of its own."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import project_release, serve

DOCUMENTATION = r"""
module: project_release
short_description: Have the code of a commit in a folder of its own
description:
  - The folder is made beside those that run, by O(owner), and never changed once it is there.
  - A commit that a person has rolled back from is passed over unless O(again) is set.
options:
  app: {description: Name of the app., type: str, required: true}
  base: {description: "The folder of the app, with C(releases) in it.", type: path, required: true}
  source: {description: Folder that holds the code of that commit., type: path, required: true}
  commit: {description: "The commit, or the digest of a folder; empty: the release that runs.", type: str, default: ""}
  version: {description: "The branch, tag or commit that was asked for.", type: str, default: ""}
  owner: {description: The account., type: str, required: true}
  again: {description: Whether to deploy what was rolled back., type: bool, default: false}
  by: {description: Who deploys., type: str, default: ""}
  origin: {description: From which machine., type: str, default: ""}
author: celeryhost
"""

EXAMPLES = r"""
- name: Make a release
  celeryhost.celeryhost.project_release:
    app: mysite
    base: /srv/mysite
    source: /srv/mysite/source
    commit: 1f2e3d4c5b6a
    owner: mysite
"""

RETURN = r"""
id: {description: Name of the release., type: str}
code: {description: Its folder., type: str}
remark: {description: "Why another release than that of the commit is to run; else empty.", type: str}
"""

if __name__ == "__main__":
    serve(AnsibleModule, project_release)

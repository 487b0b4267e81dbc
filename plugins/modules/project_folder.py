#!/usr/bin/python
"""The host's half of bringing a folder over: what differs from a list of files, and putting an archive in place.

The controller's half, which makes list and archive, is the action plugin of the same name.
"""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import project_folder, serve

DOCUMENTATION = r"""
module: project_folder
short_description: Bring a project's folder from the controller
description:
  - Sends the files that differ, as one archive.
  - Leaves out version control, virtual environments, caches and SQLite's databases.
  - Removes only files that an earlier run brought and that the source no longer has; whatever else is there stays.
options:
  src:
    description: The folder on the controller.
    type: path
    required: true
  dest:
    description: The folder on the host.
    type: path
    required: true
  owner:
    description: Who owns the files, and as whom they are written.
    type: str
    required: true
  record:
    description: Where the host notes what was brought.
    type: path
    required: true
  files:
    description: Set by the action plugin. For each file its SHA-256, or C(x) and its SHA-256, or C(->) and its target.
    type: dict
  archive:
    description: Set by the action plugin. The archive on the host, absent to be told what differs.
    type: path
  moment:
    description: A file that says since when the code is what it is, for everybody to read.
    type: path
author: celeryhost
"""

EXAMPLES = r"""
- name: Bring the code
  celeryhost.celeryhost.project_folder:
    src: /home/me/mysite
    dest: /srv/mysite
    owner: mysite
    record: /etc/celeryhost/mysite.files
"""

RETURN = r"""
wanted: {description: Files that the host lacks or has otherwise., type: list}
stale: {description: Files that the source no longer has., type: list}
revision: {description: Changes with the files., type: str}
"""

if __name__ == "__main__":
    serve(AnsibleModule, project_folder)

#!/usr/bin/python
"""What outlives a release: SQLite's databases and uploads."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import project_shared, serve

DOCUMENTATION = r"""
module: project_shared
short_description: Have what outlives a release lie beside the releases
description:
  - Databases and uploads that lie in the code are moved to C(shared) once, while the programs of the app stand, and
    each release has a link to them.
options:
  app: {description: Name of the app., type: str, required: true}
  base: {description: "The folder of the app, with C(shared) in it.", type: path, required: true}
  code: {description: Folder of the release., type: path, required: true}
  owner: {description: The account., type: str, required: true}
  found:
    description: Whole paths that the settings name; those outside the code are left alone.
    type: list
    elements: path
    default: []
  named: {description: "Further paths, as seen from the code.", type: list, elements: str, default: []}
  config: {description: Configuration of the supervisord that runs the programs., type: path}
author: celeryhost
"""

EXAMPLES = r"""
- name: Share the database
  celeryhost.celeryhost.project_shared:
    app: mysite
    base: /srv/mysite
    code: /srv/mysite/releases/20260101T120000-1f2e3d4c5b6a
    owner: mysite
    named: [media]
"""

RETURN = r"""
shared: {description: "The paths, as seen from the code.", type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, project_shared)

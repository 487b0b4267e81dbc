#!/usr/bin/python
"""What an app wants done with a release before it runs."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import project_build, serve

DOCUMENTATION = r"""
module: project_build
short_description: Run an app's own commands in a new release, once
description:
  - They run as O(owner), in the folder of C(manage.py) of the release, with the environment of the app.
options:
  app: {description: Name of the app., type: str, required: true}
  release: {description: Name of the release., type: str, required: true}
  directory: {description: Folder of C(manage.py) in it., type: path, required: true}
  owner: {description: The account., type: str, required: true}
  commands: {description: "The commands, each a list of words.", type: list, elements: list, required: true}
  environment: {description: Variables that they find., type: dict, default: {}}
  timeout: {description: Seconds that one may take., type: int, default: 600}
author: celeryhost
"""

EXAMPLES = r"""
- name: Collect static files
  celeryhost.celeryhost.project_build:
    app: mysite
    release: 20260101T120000-1f2e3d4c5b6a
    directory: /srv/mysite/releases/20260101T120000-1f2e3d4c5b6a
    owner: mysite
    commands: [[/srv/mysite/venv/bin/python, manage.py, collectstatic, --noinput]]
"""

RETURN = r"""
{}
"""

if __name__ == "__main__":
    serve(AnsibleModule, project_build)

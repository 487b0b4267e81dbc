#!/usr/bin/python
"""Which releases were seen to work, and what it takes to go back to them."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import releases_proven, serve

DOCUMENTATION = r"""
module: releases_proven
short_description: Note that releases were seen to work
description:
  - Keeps the entry and the environment file, leads the link C(current) to the code, and removes older releases.
options:
  apps:
    description: The apps.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name of the app., type: str, required: true}
      id: {description: Name of the release., type: str, required: true}
      base: {description: The folder of the app., type: path, required: true}
      virtualenv: {description: Its virtual environment., type: path, required: true}
      owner: {description: The account., type: str, required: true}
      keep: {description: How many releases that worked stay., type: int, required: true}
      entry: {description: The file of Supervisor., type: path, required: true}
      environment: {description: The environment file., type: path, required: true}
      migrated: {description: Migrations that were applied for it., type: list, elements: str, default: []}
      verify: {description: The command that proves it., type: list, elements: str, default: []}
  config: {description: Configuration of the supervisord that runs them., type: path}
author: celeryhost
"""

EXAMPLES = r"""
- name: Note it
  celeryhost.celeryhost.releases_proven:
    apps:
      - name: mysite
        id: 20260101T120000-1f2e3d4c5b6a
        base: /srv/mysite
        virtualenv: /srv/mysite/venvs/0a1b2c3d4e5f.1
        owner: mysite
        keep: 5
        entry: /etc/supervisor/conf.d/mysite-celery.conf
        environment: /etc/celeryhost/mysite.env
"""

RETURN = r"""
{}
"""

if __name__ == "__main__":
    serve(AnsibleModule, releases_proven)

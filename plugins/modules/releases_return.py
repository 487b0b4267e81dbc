#!/usr/bin/python
"""Going back to releases that were seen to work."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import releases_return, serve

DOCUMENTATION = r"""
module: releases_return
short_description: Go back from a switch that has failed
description:
  - Each app whose entry is not that of its last proven release goes back to that.
options:
  apps:
    description: The apps.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name of the app., type: str, required: true}
      id: {description: Name of the release., type: str, required: true}
      entry: {description: The file of Supervisor., type: path, required: true}
  config: {description: Configuration of supervisord., type: path, required: true}
  why: {description: What has failed., type: str, default: ""}
author: celeryhost
"""

EXAMPLES = r"""
- name: Go back
  celeryhost.celeryhost.releases_return:
    config: /etc/supervisor/supervisord.conf
    apps:
      - name: mysite
        id: 20260101T120000-1f2e3d4c5b6a
        entry: /etc/supervisor/conf.d/mysite-celery.conf
"""

RETURN = r"""
said: {description: A line for each app., type: list}
lost: {description: Whether an app could not go back., type: bool}
"""

if __name__ == "__main__":
    serve(AnsibleModule, releases_return)

#!/usr/bin/python
"""supervisord on this machine: whose it is, what it runs, and a restart for a new configuration when it may be."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import serve, supervisord

DOCUMENTATION = r"""
module: supervisord
short_description: Look at supervisord, or restart it when its configuration is newer than itself
description:
  - Without O(restart) it only looks.
  - A restart is supervisord's own, in place. It is left out where it would touch other people's programs; that is told.
options:
  config: {description: Its configuration file., type: path, required: true}
  programs: {description: The folder of its programs' files., type: path, required: true}
  group: {description: The group that may use it., type: str, required: true}
  members:
    description: Users who should be in that group; C($SUDO_USER) is the one who became root with sudo, if anyone.
    type: list
    elements: str
    default: []
  restart: {description: "See that it runs, and restart it when O(config) is newer.", type: bool, default: false}
  timeout: {description: Seconds that its programs may take to stop., type: int, default: 360}
author: celeryhost
"""

EXAMPLES = r"""
- name: Look at supervisord
  celeryhost.celeryhost.supervisord:
    config: /etc/supervisor/supervisord.conf
    programs: /etc/supervisor/conf.d
    group: supervisor
"""

RETURN = r"""
origin: {description: "Whose the configuration is: absent, package, celeryhost or foreign.", type: str}
includes: {description: Whether it reads the files in the folder of programs., type: bool}
running: {description: Whether supervisord answers., type: bool}
foreign:
  description: Programs that celeryhost did not make and that a restart would touch, since they run or would start.
  type: list
beats: {description: Programs that celeryhost did not make and that are a Celery beat., type: list}
stale: {description: Whether it still runs with an older configuration., type: bool}
pip: {description: Whether celeryhost's virtual environment of it is complete., type: bool}
grouped: {description: Whether the group is there., type: bool}
outsiders: {description: Members who are not in the group yet., type: list}
unknown: {description: Members who do not exist here., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, supervisord)

#!/usr/bin/python
"""Where the releases that run on a host are."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import releases_look, serve

DOCUMENTATION = r"""
module: releases_look
short_description: Look at the releases that run
description: Changes nothing.
options: {}
author: celeryhost
"""

EXAMPLES = r"""
- name: Look
  celeryhost.celeryhost.releases_look:
"""

RETURN = r"""
places: {description: "By app the C(id), C(code) and C(virtualenv) of its release.", type: dict}
"""

if __name__ == "__main__":
    serve(AnsibleModule, releases_look)

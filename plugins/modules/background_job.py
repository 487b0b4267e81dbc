#!/usr/bin/python
"""A wait for what Ansible does in the background."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import background_job, serve

DOCUMENTATION = r"""
module: background_job
short_description: Wait for a task with async and poll 0
description:
  - As ansible.builtin.async_status, which would have to ask again and again; this waits on the host.
options:
  path:
    description: The `results_file` that such a task has returned.
    type: path
    required: true
  seconds:
    description: How long to wait at most.
    type: int
    default: 5
author: celeryhost
"""

EXAMPLES = r"""
- name: Wait
  celeryhost.celeryhost.background_job:
    path: "{{ begun.results_file }}"
  register: job
  until: job is finished
  retries: 100
  delay: 0
"""

RETURN = r"""
finished: {description: Whether it has ended; all that it returned comes with it., type: bool}
"""

if __name__ == "__main__":
    serve(AnsibleModule, background_job)

#!/usr/bin/python
"""What a machine has that roles decide by: packages, free space, memory, listening ports. Changes nothing."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import machine_facts, serve

DOCUMENTATION = r"""
module: machine_facts
short_description: Packages, free space, memory and listening ports of a machine
description: Reads them in one go; changes nothing.
options:
  candidates:
    description: Packages whose version apt would install is wanted.
    type: list
    elements: str
    default: []
author: celeryhost
"""

EXAMPLES = r"""
- name: Look at the machine
  celeryhost.celeryhost.machine_facts:
    candidates: [redis-server]
  register: machine
"""

RETURN = r"""
candidates:
  description: Upstream version of each package asked for that is not installed, empty when apt knows none.
  type: dict
installed: {description: Names of the installed packages., type: list}
interrupted: {description: Whether dpkg was killed half way., type: bool}
free_mb: {description: "MB free in / and /var.", type: dict}
memory_mb: {description: "MB of memory, or the control group's limit when that is lower.", type: int}
listening: {description: "The process behind each listening TCP port, `?` when it can't be seen.", type: dict}
distribution: {description: "Its name, as Debian.", type: str}
distribution_version: {description: "Its version, as 13.", type: str}
python: {description: Version of the Python that looked., type: str}
bits: {description: "Of an address in that Python, 32 or 64.", type: int}
systemd: {description: Whether systemd is its init., type: bool}
"""

if __name__ == "__main__":
    serve(AnsibleModule, machine_facts)

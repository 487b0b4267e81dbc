#!/usr/bin/python
"""The lock of a host. All of its work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lock
short_description: Take the lock of a host, and keep it until the run ends
description:
  - One run that changes a host at a time. A connection of its own holds the lock, and with it the host's kernel,
    which lets it go when that connection ends or has been silent for 20 seconds.
  - A host whose lock somebody else has does not fail; it returns C(refused), for a second task with the refusals of all
    hosts, which fails before anything has changed on any of them.
  - In check mode, and over connections other than ssh and local, no lock is taken.
options:
  command:
    description: What the run does, as others are told.
    type: str
  wait:
    description: Whether to wait for whoever has it.
    type: bool
    default: false
  refused:
    description: What the first task has returned of all hosts. Fails if there is anything, and takes no lock.
    type: list
    elements: str
author: celeryhost
"""

EXAMPLES = r"""
- name: Take the lock
  celeryhost.celeryhost.lock:
    command: provision
  register: __lock
"""

RETURN = r"""
refused: {description: Who has the lock and since when, if it was not got., type: str}
outcome: {description: Of a lock that was got, the file that says how the run went., type: str}
"""

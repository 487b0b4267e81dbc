#!/usr/bin/python
"""The Redis on this machine, as it runs: looked at, and brought to settings without a restart."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import redis_server, serve

DOCUMENTATION = r"""
module: redis_server
short_description: Look at a running Redis, or change its settings at run time
description:
  - Without O(settings) it only looks; a Redis that does not run is no error then.
  - Data are never removed. Switching the append-only file on waits until it holds all data, because a server
    that starts with C(appendonly yes) reads that file alone, and would come up empty next to a full C(dump.rdb)
    (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/).
options:
  host: {description: Where it listens., type: str, default: 127.0.0.1}
  port: {description: The port it should listen on., type: int, default: 6379}
  password: {description: The password to log in with., type: str, default: ""}
  requirepass: {description: The password it should ask for from now on., type: str, default: ""}
  settings: {description: What C(CONFIG SET) is to bring about., type: dict, default: {}}
  password_file: {description: "Holds celeryhost's password, and thereby says whose Redis this is.", type: path}
  package: {description: "The one that it comes from, redis-server or valkey-server.", type: str, default: redis-server}
  timeout: {description: Seconds to wait for it to load or write its data., type: int, default: 900}
  overcommit:
    description: Whether the kernel is to fork it when memory is half full, together with O(settings).
    type: bool
    default: false
author: celeryhost
"""

EXAMPLES = r"""
- name: Make it durable
  celeryhost.celeryhost.redis_server:
    settings: {appendonly: "yes"}
"""

RETURN = r"""
running: {description: Whether a Redis answers., type: bool}
locked: {description: Whether it refuses the passwords known here., type: bool}
misconf: {description: Why it refuses to write, empty when it does not., type: str}
version: {description: Its version., type: str}
shared: {description: "Whether it is other people's: here before, with a password, data or clients.", type: bool}
empty: {description: Whether there are neither a running server nor data on disk., type: bool}
candidate: {description: "The version that apt would install, where none runs or is installed.", type: str}
keys: {description: Number of keys., type: int}
clients: {description: Number of other connections., type: int}
config_file: {description: The file it was started with., type: str}
config: {description: The settings in force that decide something., type: dict}
restart: {description: Settings that this version only takes at a restart., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, redis_server)

#!/usr/bin/python
"""Databases in the PostgreSQL on this machine, each with a role of its name that owns it and logs in with a password.

Asks Debian's psql, as the account postgres, so that a host needs no client library.
"""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import postgresql_databases, serve

DOCUMENTATION = r"""
module: postgresql_databases
short_description: Keep databases for apps in the PostgreSQL on this machine
description:
  - Each is in UTF-8 and belongs to a role of its own name, which logs in at 127.0.0.1 with a password.
  - Other people's roles, databases and settings are left as they are; one that is in the way is refused.
options:
  databases: {description: "For each name of a database, the file that holds its password.", type: dict, required: true}
  state:
    description: Whether they are to be there. Only those with a role made here are taken away.
    type: str
    choices: [present, absent]
    default: present
  record: {description: A file that is there when PostgreSQL was installed by celeryhost., type: path}
  timeout: {description: Seconds to wait for PostgreSQL to start., type: int, default: 60}
author: celeryhost
"""

EXAMPLES = r"""
- name: Have a database for mysite
  celeryhost.celeryhost.postgresql_databases:
    databases: {mysite: /etc/celeryhost/mysite-postgresql.password}
"""

RETURN = r"""
answers: {description: Whether a PostgreSQL answers., type: bool}
port: {description: Where it listens., type: str}
problems: {description: "In check mode, what is in the way; a line each.", type: list}
installed: {description: Whether O(record) is there., type: bool}
alone: {description: Whether it holds no databases but these and its own., type: bool}
"""

if __name__ == "__main__":
    serve(AnsibleModule, postgresql_databases)

#!/usr/bin/python
"""A project's virtual environment: made, filled and mended only when something asks for it."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import project_virtualenv, serve

DOCUMENTATION = r"""
module: project_virtualenv
short_description: Have a virtual environment with a project's requirements and Celery
description:
  - A new one is made only when the requirements, the Python or the Celery that Redis allows have changed, or when the
    one that is there does not work. It is made beside the other, and takes its place when all is installed.
  - uv does it, which root's pip brings from the configured index; where there is none, pip does. Either runs as
    O(owner), with temporary files beside the environment, since /tmp may be in memory.
options:
  path:
    description: The virtual environment.
    type: path
    required: true
  directory:
    description: The project's folder, that of C(manage.py).
    type: path
    required: true
  top:
    description: The top of the code, where requirements are looked for when O(directory) has none.
    type: path
  owner:
    description: Whose it is.
    type: str
    required: true
  python:
    description: The Python that makes it, a path or a version.
    type: str
    default: /usr/bin/python3
  system_site_packages:
    description: Whether Debian's Python packages are seen in it.
    type: bool
    default: false
  requirements:
    description: Files of requirements, or a lock file; without it those that are found.
    type: list
    elements: str
  extensions:
    description: Further packages; the requirements say which release of them when they name them too.
    type: list
    elements: str
    default: []
  tools:
    description: Packages that the project itself does not use, so that they do not count for RV(revision).
    type: list
    elements: str
    default: []
  managed:
    description: Whether to change it; otherwise it is only looked at.
    type: bool
    default: true
  redis_version:
    description: Version of the Redis that Celery is to run on, which bounds Celery's. Empty if unknown.
    type: str
    default: ""
  record:
    description: What module celery_app keeps of a load, from which check mode knows that the environment works.
    type: path
  key:
    description: A private key, which root alone may read, for requirements that git gets by ssh.
    type: path
  folder:
    description: The folder of the environments of an app with releases; else they lie beside O(path).
    type: path
  app:
    description: Name of that app, whose releases keep their environments.
    type: str
    default: ""
author: celeryhost
"""

EXAMPLES = r"""
- name: Have the virtual environment
  celeryhost.celeryhost.project_virtualenv:
    path: /srv/mysite/venv
    directory: /srv/mysite
    owner: mysite
    redis_version: "7.0.15"
"""

RETURN = r"""
path: {description: The folder that O(path) is a link to., type: str}
revision: {description: Changes with what is to be in the environment., type: str}
celery: {description: The Celery that is in it., type: str}
pending: {description: "Whether something was, or in check mode would be, done.", type: bool}
"""

if __name__ == "__main__":
    serve(AnsibleModule, project_virtualenv)

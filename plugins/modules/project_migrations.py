#!/usr/bin/python
"""Django's migrations, run only when some are pending."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import project_migrations, serve

DOCUMENTATION = r"""
module: project_migrations
short_description: Apply a Django project's pending migrations
options:
  directory:
    description: The folder of C(manage.py).
    type: path
    required: true
  virtualenv:
    description: The virtual environment.
    type: path
    required: true
  owner:
    description: The account to run as.
    type: str
    required: true
  environment:
    description: The project's variables. They appear nowhere.
    type: dict
    default: {}
author: celeryhost
"""

EXAMPLES = r"""
- name: Migrate
  celeryhost.celeryhost.project_migrations:
    directory: /srv/mysite
    virtualenv: /srv/mysite/venv
    owner: mysite
    environment: {DJANGO_SETTINGS_MODULE: mysite.settings}
"""

RETURN = r"""
pending: {description: The migrations that were, or in check mode would be, applied., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, project_migrations)

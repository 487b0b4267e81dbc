#!/usr/bin/python
"""Whether a project's Celery app and tasks load, in its own Python and with the environment its worker will have."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import celery_app, serve

DOCUMENTATION = r"""
module: celery_app
short_description: Load a project's Celery app as its worker will
description:
  - Changes nothing. Fails with one line when the app or a module of its tasks does not load, a setting is none of
    Celery's, or a Django app that the description turns on is not in INSTALLED_APPS.
  - In check mode an environment that is not there yet is taken for one that will do.
options:
  app:
    description: The description, as the filter C(apps) makes it.
    type: dict
    required: true
  environment:
    description: The worker's variables. They appear nowhere.
    type: dict
    default: {}
  environment_file:
    description: Where they are when O(environment) is empty, a file of lines C(NAME='value').
    type: path
  results:
    description:
      - Whether C(CELERY_RESULT_BACKEND) of O(environment_file) is the description's own. Else it is left out, for an
        earlier load has found it.
    type: bool
    default: true
  migrations:
    description: Whether check mode asks for Django's pending migrations, too.
    type: bool
    default: false
  unmigrated:
    description: Whether migrations are still to come, so that an error of the database says nothing yet.
    type: bool
    default: false
  record:
    description:
      - Where the answer of an earlier check without O(environment) may be, with what it was drawn from. It is taken as
        long as all of that is as it was.
    type: path
  keep:
    description: Whether a check writes O(record), which is a cache.
    type: bool
    default: false
  drop_unknown:
    description: Whether tasks may wait in the queues of its workers that it does not know, and would throw away.
    type: bool
    default: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Load the app
  celeryhost.celeryhost.celery_app:
    app: "{{ item }}"
    environment: {DJANGO_SETTINGS_MODULE: mysite.settings}
"""

RETURN = r"""
transport_options: {description: The project's own broker_transport_options., type: dict}
unsupported: {description: Our defaults among the settings that its Celery does not know., type: list}
pending: {description: Migrations that are not applied., type: list}
unknown: {description: C(true) where only the migrations that are still to come can tell., type: bool}
redis: {description: "Where it uses a Redis without a password, packed (redis_places.py).", type: str}
versions: {description: Of celery and kombu; none where the app does without redis., type: list}
"""

if __name__ == "__main__":
    serve(AnsibleModule, celery_app)

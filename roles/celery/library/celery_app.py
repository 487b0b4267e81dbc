#!/usr/bin/python
"""Whether a project's Celery app loads, in its own Python and with the environment its worker will have."""

from __future__ import annotations

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.celeryhost.account import last_line, run
from ansible.module_utils.celeryhost.preflight import not_installed

DOCUMENTATION = r"""
module: celery_app
short_description: Load a project's Celery app as its worker will
description:
  - Changes nothing. Fails with one line when the app does not load, a setting is none of Celery's, or a Django app that
    the description turns on is not in INSTALLED_APPS.
  - In check mode an environment that is not there yet is taken for one that will do.
options:
  app:
    description: The description, as the filter C(celeryhost_apps) makes it.
    type: dict
    required: true
  environment:
    description: The worker's variables. They appear nowhere.
    type: dict
    default: {}
author: celeryhost
"""

EXAMPLES = r"""
- name: Load the app
  celery_app:
    app: "{{ item }}"
    environment: {DJANGO_SETTINGS_MODULE: mysite.settings}
"""

RETURN = r"""
transport_options: {description: The project's own broker_transport_options., type: dict}
"""

# With -c the first place of modules is the working directory, as for `celery -A`.
SCRIPT = """
import difflib, json, sys
from celery.app.defaults import flatten, NAMESPACES
from celery.app.utils import find_app
name, settings, extensions = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
app = find_app(name)
absent = []
if extensions:
    import django
    from django.conf import settings as project
    installed = {name.partition(".")[0] for name in project.INSTALLED_APPS}
    absent = [module for module in extensions if module not in installed]
    django.setup()
options = dict(app.conf.broker_transport_options or {})
known = {key for key, option in flatten(NAMESPACES)}
near = {key: difflib.get_close_matches(key, known, 2) for key in settings if key not in known}
broker = app.connection_for_write().transport_cls
print("\\n" + json.dumps({"options": options, "near": near, "absent": absent, "broker": broker}))
"""


def main():
    module = AnsibleModule(
        {
            "app": {"type": "dict", "required": True, "no_log": False},
            "environment": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    app = module.params["app"]
    name, python = app["name"], f"{app['virtualenv']}/bin/python"
    if module.check_mode and not os.access(python, os.X_OK):
        module.exit_json(changed=False, transport_options={})
    settings = sorted({*app["settings"], *(key for worker in app["workers"] for key in worker["settings"])})
    try:
        code, output = run(
            app["user"],
            *(python, "-c", SCRIPT, app["app"], json.dumps(settings), json.dumps(list(app["extensions"]))),
            cwd=app["directory"],
            environment=module.params["environment"],
        )
    except (KeyError, OSError) as error:
        if module.check_mode:
            module.exit_json(changed=False, transport_options={})
        module.fail_json(msg=f"virtualenv of app {name} is {app['virtualenv']!r}: {error}; name one with Celery in it")
    if code:
        module.fail_json(
            msg=f"app of app {name} is {app['app']!r}, which does not load in {app['directory']}: {last_line(output)}; "
            f"try it there: {app['virtualenv']}/bin/celery -A {app['app']} report",
            output=output.splitlines()[-30:],
        )
    found = json.loads(output.splitlines()[-1])
    for extension in found["absent"]:
        cause = "INSTALLED_APPS does not have it"
        module.fail_json(msg=not_installed(extension, app["extensions"][extension], cause))
    for key, close in found["near"].items():
        fix = f"did you mean {' or '.join(close)}?" if close else "see Celery's list of settings"
        module.fail_json(msg=f"settings of app {name}: Celery has no setting {key!r}; {fix}")
    module.exit_json(changed=False, transport_options=found["options"])


if __name__ == "__main__":
    main()

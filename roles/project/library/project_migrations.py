#!/usr/bin/python
"""Django's migrations, run only when some are pending."""

from __future__ import annotations

import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.celeryhost.account import last_line, run

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
  project_migrations:
    directory: /srv/mysite
    virtualenv: /srv/mysite/venv
    owner: mysite
    environment: {DJANGO_SETTINGS_MODULE: mysite.settings}
"""

RETURN = r"""
pending: {description: The migrations that were, or in check mode would be, applied., type: list}
"""


def main():
    module = AnsibleModule(
        {
            "directory": {"type": "path", "required": True},
            "virtualenv": {"type": "path", "required": True},
            "owner": {"required": True},
            "environment": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    directory, python = module.params["directory"], f"{module.params['virtualenv']}/bin/python"
    if module.check_mode and not os.access(python, os.X_OK):
        module.exit_json(changed=True, pending=[], diff={"before": "", "after": "all migrations\n"})

    def manage(*words):
        environment = module.params["environment"]
        code, output = run(module.params["owner"], python, "manage.py", *words, cwd=directory, environment=environment)
        if code:
            module.fail_json(
                msg=f"manage.py {words[0]} in {directory}: {last_line(output)}; "
                "mend it there, or write `migrate: false` if the project has no database",
                output=output.splitlines()[-30:],
            )
        return output

    pending = re.findall(r"^\[ \]\s+(\S+)", manage("showmigrations", "--plan"), re.MULTILINE)
    if pending and not module.check_mode:
        manage("migrate", "--noinput")
    after = "".join(f"{name}\n" for name in pending)
    module.exit_json(changed=bool(pending), pending=pending, diff={"before": "", "after": after} if pending else {})


if __name__ == "__main__":
    main()

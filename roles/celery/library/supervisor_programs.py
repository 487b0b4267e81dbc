#!/usr/bin/python
"""Install one conf.d file and bring Supervisor to it, over the code of `celeryhost apply`."""

from __future__ import annotations

import os
from functools import partial

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.celeryhost import apply as engine
from ansible.module_utils.celeryhost import conffile, lifecycle, locate, programs
from ansible.module_utils.celeryhost.errors import DOWN, OK, USAGE, Failure
from ansible.module_utils.celeryhost.rpc import Supervisor
from ansible.module_utils.parsing.convert_bool import boolean

DOCUMENTATION = r"""
module: supervisor_programs
short_description: Install a Supervisor file and bring its programs to it
description:
  - Checks the text as the host's own supervisord would read it, writes it atomically, then restarts each program that
    changed exactly once, adds new ones, stops and removes those that are gone, and leaves all others alone.
  - Waits until each is RUNNING with a new pid; fails with the end of its log when one is not.
  - Changes of other people's files that are not applied yet stay so, and are named in a warning.
  - supervisord itself is never restarted. An apply that was killed half way is completed by the next.
options:
  path:
    description: The file. It must be one that the C([include]) of O(config) matches.
    type: path
    required: true
  content:
    description: Its whole text. Needed for O(state=present). Values of C(environment) appear in no output.
    type: str
  state:
    description: Whether the file and its programs are to be there.
    type: str
    choices: [present, absent]
    default: present
  config:
    description: The C(supervisord.conf) of the supervisord to work on.
    type: path
    default: /etc/supervisor/supervisord.conf
  started:
    description:
      - Whether unchanged programs of the file that should run (C(autostart)) and do not (stopped by hand, FATAL, ended
        with an unexpected exit code) are started, or a list of those for which this is done.
    type: raw
    default: true
  timeout:
    description: Seconds for all programs together. By default each has its C(stopwaitsecs) and C(startsecs) and more.
    type: float
  owner:
    description: Owner of the file.
    type: str
    default: root
  group:
    description: Group of the file.
    type: str
    default: root
  mode:
    description: Mode of the file, octal. An environment may hold a password, so others should not read it.
    type: raw
    default: "0600"
attributes:
  check_mode:
    description: Reports the plan and changes nothing. Users and folders that do not exist yet are taken for granted.
    support: full
  diff_mode:
    description: The file's text before and after; what C(environment) holds is masked.
    support: full
author: celeryhost
"""

EXAMPLES = r"""
- name: Install the programs of mysite
  supervisor_programs:
    path: /etc/supervisor/conf.d/mysite-celery.conf
    content: "{{ lookup('ansible.builtin.template', celery_templates ~ '/celery.conf.j2') }}"

- name: Take them away
  supervisor_programs:
    path: /etc/supervisor/conf.d/mysite-celery.conf
    state: absent
"""

RETURN = r"""
plan:
  description: What was, or in check mode would be, done; an action is add, change, remove or start.
  type: dict
  returned: success
  sample:
    changes: [{program: mysite-worker, action: change, options: {command: ["… -c 2", "… -c 4"]}}]
    unchanged: [mysite-beat]
    foreign: []
restarted:
  description: For each process that was replaced or started, its old and new pid (0 when there was none).
  type: dict
  returned: success, and when a program did not come up
  sample: {mysite-worker: [412, 598]}
"""

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "no_log": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "config": {"type": "path", "default": "/etc/supervisor/supervisord.conf"},
    "started": {"type": "raw", "default": True},
    "timeout": {"type": "float"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "raw", "default": "0600"},
}


def main():
    module = AnsibleModule(
        ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["content"])], no_log=True
    )
    text = module.params["content"] if module.params["state"] == "present" else None
    # Ansible would strike out the whole text wherever it appears, so the diff too; what is secret in it is named here.
    module.no_log_values.discard(module.params["content"])
    module.no_log_values.update(conffile.secrets(text or ""))
    module.params["content"] = text and conffile.MASK
    result = {"changed": False, "restarted": {}}
    failure = None
    try:
        bring(module, text, result)
    except Failure as error:
        failure = error
    if failure:  # said out here, since fail_json makes a traceback of an exception that is being handled
        module.fail_json(msg=str(failure), **result)
    module.exit_json(**result)


def bring(module, text, result):
    """Fill `result` with what is, or in check mode would be, done; raises Failure."""
    given = module.params
    file = engine.File(given["path"], text, given["owner"], given["group"], octal(given["mode"]))
    if module.check_mode and not os.path.exists(given["config"]):
        tell(module, engine.plan_ahead(file, Failure(f"{given['config']} does not exist yet", DOWN)), result)
        return
    supervisor = Supervisor(locate.find(given["config"]))
    look = partial(engine.plan_file, supervisor, given["config"], file, started(given["started"]), module.check_mode)
    if module.check_mode:
        tell(module, look(), result)
        return
    with engine.exclusive(given["config"]):
        plan = look()
        tell(module, plan, result)
        old = {} if plan.down else {process.name: process.pid for process in programs.processes(supervisor)}
        last = {}
        for event in engine.apply(supervisor, plan, given["timeout"]):
            last[event.program] = event
            if event.kind == "running" and event.pid != old.get(event.program):
                result["restarted"][event.program] = [old.get(event.program, 0), event.pid]
    failed = [event for event in last.values() if lifecycle.KINDS[event.kind] != OK]
    if failed:
        raise Failure("\n".join(f"{event.program}: {event.kind}: {event.text}" for event in failed))


def tell(module, plan, result):
    """Put a plan into the result, with the texts before and after, and warn of what it does not do."""
    result.update(changed=engine.is_stale(plan) or bool(plan.changes), plan=engine.as_dict(plan))
    for warning in plan.warnings:
        module.warn(warning)
    if engine.is_stale(plan):
        before, after = plan.stored[0] if plan.stored else "", plan.file.text or ""
        module.no_log_values.update(conffile.secrets(before))
        header = {"before_header": plan.file.path, "after_header": plan.file.path}
        result["diff"] = header | {"before": conffile.hide(before), "after": conffile.hide(after, before)}


def started(value):
    """The module's `started`: a boolean, or a list of programs."""
    try:
        return value if isinstance(value, list) else boolean(value)
    except TypeError:
        raise Failure(f"started is {value!r}", USAGE, "write true, false or a list of programs") from None


def octal(value):
    """The module's `mode`: YAML makes a number of 0600 and a text of "0600"."""
    try:
        return value if isinstance(value, int) else int(value, 8)
    except ValueError:
        raise Failure(f"mode is {value!r}", USAGE, 'write it in octal: "0600"') from None


if __name__ == "__main__":
    main()

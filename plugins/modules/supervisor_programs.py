#!/usr/bin/python
"""Install files in conf.d and bring Supervisor to them, over the code of `celeryhost apply`."""

from __future__ import annotations

import copy

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.states import serve, supervisor_programs
from ansible_collections.celeryhost.celeryhost.plugins.module_utils.celeryhost.supervisor import conffile

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
  content:
    description: Its whole text. Needed for O(state=present). Values of C(environment) appear in no output.
    type: str
  state:
    description: Whether the file and its programs are to be there.
    type: str
    choices: [present, absent]
    default: present
  files:
    description: Several files instead of one; their programs come up at the same time.
    type: list
    elements: dict
    suboptions:
      path: {description: As O(path)., type: path}
      content: {description: As O(content)., type: str}
      state: {description: As O(state)., type: str, choices: [present, absent], default: present}
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
  meanwhile:
    description:
      - Commands, each a list of words under a name, that are run once all programs are told to start and while they are
        waited for. They are ended when a program does not come up; their own failure is none of the task's.
    type: dict
    default: {}
  proof:
    description:
      - A file that module C(proven) writes once all that this one has brought was seen to work. It is removed before
        anything is done, and what differs from it counts as a change.
    type: path
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
  celeryhost.celeryhost.supervisor_programs:
    path: /etc/supervisor/conf.d/mysite-celery.conf
    content: "{{ lookup('ansible.builtin.template', celery_templates ~ '/celery.conf.j2') }}"

- name: Take them away
  celeryhost.celeryhost.supervisor_programs:
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
key:
  description: What module C(proven) is to write into O(proof).
  type: str
  returned: success, but in check mode
pids:
  description: The process of each program that is to run.
  type: dict
  returned: success, but in check mode
why:
  description: What differs, where no file and no program's configuration does.
  type: str
  returned: in check mode
exit_code:
  description: What the command line ends with.
  type: int
  returned: when a program does not come up
meanwhile:
  description: For each command of O(meanwhile) its C(rc), C(stdout) and C(stderr).
  type: dict
  returned: success, but in check mode
  sample: {mysite: {rc: 0, stdout: "5\n", stderr: ""}}
"""


def unveiled(module):
    """The arguments, for the work; in the module itself only what is secret in the texts stays out of the output.

    Ansible would strike out a whole text wherever it appears, so the diff too.
    """
    given = copy.deepcopy(module.params)
    module.no_log_values.update(supervisor_programs.veiled(given))
    for file in supervisor_programs.files_of(module.params):
        module.no_log_values.discard(file["content"])
        file["content"] = file["content"] and conffile.MASK
    return given


if __name__ == "__main__":
    serve(
        AnsibleModule,
        supervisor_programs,
        unveiled,
        required_one_of=[("path", "files")],
        mutually_exclusive=[("path", "files")],
        required_if=[("state", "present", ["content", "files"], True)],
        no_log=True,
    )

#!/usr/bin/python
"""supervisord on this machine: whose it is, what it runs, and a restart for a new configuration when it may be."""

from __future__ import annotations

import glob
import grp
import hashlib
import os
import pwd
import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.celeryhost import locate
from ansible.module_utils.celeryhost.errors import Failure
from ansible.module_utils.celeryhost.rpc import Fault, Supervisor

DOCUMENTATION = r"""
module: supervisord
short_description: Look at supervisord, or restart it when its configuration is newer than itself
description:
  - Without O(restart) it only looks.
  - A restart is supervisord's own, in place. It is left out while other people's programs run, which is told.
options:
  config: {description: Its configuration file., type: path, required: true}
  programs: {description: The folder of its programs' files., type: path, required: true}
  group: {description: The group that may use it., type: str, required: true}
  members: {description: Users who should be in that group., type: list, elements: str, default: []}
  restart: {description: "See that it runs, and restart it when O(config) is newer.", type: bool, default: false}
  timeout: {description: Seconds that its programs may take to stop., type: int, default: 360}
author: celeryhost
"""

EXAMPLES = r"""
- name: Look at supervisord
  supervisord:
    config: /etc/supervisor/supervisord.conf
    programs: /etc/supervisor/conf.d
    group: supervisor
"""

RETURN = r"""
origin: {description: "Whose the configuration is: absent, package, celeryhost or foreign.", type: str}
includes: {description: Whether it reads the files in the folder of programs., type: bool}
running: {description: Whether supervisord answers., type: bool}
foreign: {description: Running programs that celeryhost did not make., type: list}
stale: {description: Whether it still runs with an older configuration., type: bool}
pip: {description: Whether celeryhost's virtual environment of it is complete., type: bool}
outsiders: {description: Members who are not in the group yet., type: list}
unknown: {description: Members who do not exist here., type: list}
"""

MARK = "celeryhost"
STARTS = 30  # seconds supervisord may take to start
ALIVE = (10, 20, 30, 40)  # STARTING, RUNNING, BACKOFF, STOPPING


def read(path):
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def origin(module, config):
    """Who wrote the configuration: `absent`, the `package`, `celeryhost`, or somebody else (`foreign`)."""
    text = read(config)
    if not text:
        return "absent"
    if MARK in text.partition("\n")[0]:
        return "celeryhost"
    known = module.run_command(["dpkg-query", "-W", "-f=${Conffiles}", "supervisor"])[1]
    digest = hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return "package" if f" {config} {digest}" in known else "foreign"


def own_programs(folder):
    """Names of the groups that celeryhost's files define."""
    texts = filter(lambda text: MARK in text[:200], map(read, glob.glob(f"{folder}/*.conf")))
    return {name for text in texts for name in re.findall(r"^\[[a-z-]+:([^\]]+)\]", text, re.MULTILINE)}


def look(module):
    """What RETURN says, and the connection (None when there is no supervisord)."""
    config, programs = module.params["config"], module.params["programs"]
    found = {"origin": origin(module, config), "includes": True, "running": False, "foreign": [], "stale": False}
    if found["origin"] == "absent":
        return found, None
    include = locate.read_section(config, "include").get("files", "")
    places = [os.path.join(os.path.dirname(config), pattern) for pattern in include.split()]
    found["includes"] = any(os.path.dirname(place) == programs and place.endswith("*.conf") for place in places)
    supervisor = Supervisor(locate.find(config))
    try:
        running = {each["group"] for each in supervisor.call("getAllProcessInfo") if each["state"] in ALIVE}
    except (Failure, Fault):
        return found, None
    socket = supervisor.server.url.removeprefix("unix://")
    if os.path.exists(socket):  # made anew at each start
        found["stale"] = os.stat(config).st_mtime_ns > os.stat(socket).st_mtime_ns
    found.update(running=True, foreign=sorted(running - own_programs(programs)))
    return found, supervisor


def await_new(module, seconds):
    """What `look` finds once supervisord runs with the file as it is; fails the module when that does not come."""
    end = time.monotonic() + seconds
    while True:
        found, _ = look(module)
        if found["running"] and not found["stale"]:
            return found
        if time.monotonic() > end:
            where = "journalctl -u supervisor and /var/log/supervisor/supervisord.log"
            module.fail_json(msg=f"supervisord does not run with {module.params['config']}; see {where}")
        time.sleep(0.2)


def outside(group, members):
    """(members not in the group yet, members who do not exist)."""
    unknown = []
    for name in members:
        try:
            pwd.getpwnam(name)
        except KeyError:
            unknown.append(name)
    try:
        inside = grp.getgrnam(group).gr_mem
    except KeyError:
        inside = []
    return [name for name in members if name not in inside], unknown


def main():
    module = AnsibleModule(
        {
            "config": {"type": "path", "required": True},
            "programs": {"type": "path", "required": True},
            "group": {"type": "str", "required": True},
            "members": {"type": "list", "elements": "str", "default": []},
            "restart": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 360},
        },
        supports_check_mode=True,
    )
    try:
        found, supervisor = look(module)
        wanted = module.params["restart"] and not module.check_mode
        if wanted and not found["running"]:
            found = await_new(module, STARTS)
        due = module.params["restart"] and found["stale"] and not found["foreign"]
        if due and wanted:
            supervisor.call("restart")
            found = await_new(module, module.params["timeout"])
    except Failure as failure:
        module.fail_json(msg=str(failure))
    outsiders, unknown = outside(module.params["group"], module.params["members"])
    complete = os.path.exists("/opt/supervisor/installed")
    module.exit_json(changed=bool(due), **found, pip=complete, outsiders=outsiders, unknown=unknown)


if __name__ == "__main__":
    main()

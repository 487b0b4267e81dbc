#!/usr/bin/python
"""Folders and empty files with an owner and a mode, several in one task."""

from __future__ import annotations

import grp
import os
import pwd
import stat

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: owned_paths
short_description: Have folders and files there, with an owner, a group and a mode
description:
  - Makes what is missing. What is in a folder or file stays as it is.
  - In check mode an account that is not there yet is taken for one that will be.
options:
  folders:
    description: For each path its C(owner), C(group) and C(mode); C(made=true) leaves one that is there as it is.
    type: dict
    default: {}
  files:
    description: The same for files, made empty.
    type: dict
    default: {}
author: celeryhost
"""

EXAMPLES = r"""
- name: Have a log
  owned_paths:
    folders:
      /var/log/mysite: {owner: mysite, group: adm, mode: "0750"}
    files:
      /var/log/mysite/worker.log: {owner: mysite, group: adm, mode: "0640"}
"""

RETURN = r"""
paths: {description: What was made or changed., type: list}
"""


def wrong(path, wanted, kind):
    """Whether `path` is missing or not as wanted; ValueError when something else is there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return True
    if not kind(os.stat(path).st_mode if wanted.get("made") else found.st_mode):
        raise ValueError(f"{path} is there and is something else")
    if wanted.get("made"):
        return False
    try:
        owner, group = pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid
    except KeyError:
        return True
    return (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (owner, group, int(wanted["mode"], 8))


def put(path, wanted, folder):
    if not os.path.lexists(path):
        if folder:
            os.makedirs(path, 0o700)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    # The folder above may belong to the owner, who must not gain another file by a link put here meanwhile.
    place = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchown(place, pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid)
        os.fchmod(place, int(wanted["mode"], 8))
    finally:
        os.close(place)


def main():
    paths = {"type": "dict", "default": {}}
    module = AnsibleModule({"folders": paths, "files": paths}, supports_check_mode=True)
    changed = []
    for kind, test in (("folders", stat.S_ISDIR), ("files", stat.S_ISREG)):
        for path, wanted in module.params[kind].items():
            try:
                if wrong(path, wanted, test):
                    changed.append(path)
                    if not module.check_mode:
                        put(path, wanted, folder=kind == "folders")
            except KeyError as error:
                module.fail_json(msg=f"{path}: no such account: {error}")
            except (OSError, ValueError) as error:
                module.fail_json(msg=str(error))
    after = "".join(f"{path}\n" for path in changed)
    module.exit_json(changed=bool(changed), paths=changed, diff={"before": "", "after": after} if changed else {})


if __name__ == "__main__":
    main()

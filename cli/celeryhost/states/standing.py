"""What Ansible's own modules bring about (services, accounts, a line of a file), so that a look can ask for it, too."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import subprocess

from .install_files import read

ARGUMENTS = {
    "services": {"type": "list", "elements": "str", "default": []},
    "accounts": {"type": "dict", "default": {}},
    "lines": {"type": "dict", "default": {}},
}


def bring(params, check):
    """`missing`: services that do not run or not at boot, accounts without their group, files without their line."""
    missing = [name for name in params["services"] if not serves(name)]
    missing += [name for name, group in params["accounts"].items() if not belongs(name, group)]
    missing += [path for path, line in params["lines"].items() if line not in (read(path) or "").splitlines()]
    return {"changed": bool(missing), "missing": missing}


def serves(name):
    """Whether the service starts at boot and, where systemd can say so, runs."""
    if not os.path.isdir("/run/systemd/system"):
        return bool(glob.glob(f"/etc/rc[2-5].d/S[0-9][0-9]{name}"))
    states = subprocess.run(
        ["systemctl", "show", "--value", "--property=UnitFileState", "--property=ActiveState", name],
        capture_output=True,
        text=True,
        check=False,
    )
    return sorted(states.stdout.split()) == ["active", "enabled"]


def belongs(name, group):
    try:
        return grp.getgrgid(pwd.getpwnam(name).pw_gid).gr_name == group
    except KeyError:
        return False

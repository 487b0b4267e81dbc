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
    """`missing`: services that do not run, or not at boot, or not by their present unit; accounts that differ
    ({name: {group, home, shell}}); files whose last line of the kind is not as it should be ({path: NAME=value}).
    """
    missing = [name for name in params["services"] if not serves(name)]
    missing += [name for name, wanted in params["accounts"].items() if account(name) != wanted]
    missing += [path for path, line in params["lines"].items() if last(path, line.partition("=")[0]) != line]
    return {"changed": bool(missing), "missing": missing}


def serves(name):
    """Whether the service starts at boot and, where systemd can say so, runs."""
    if not os.path.isdir("/run/systemd/system"):
        return bool(glob.glob(f"/etc/rc[2-5].d/S[0-9][0-9]{name}"))
    states = subprocess.run(
        ["systemctl", "show", "--value", "--property=UnitFileState,ActiveState,NeedDaemonReload", name],
        capture_output=True,
        text=True,
        check=False,
    )
    return sorted(states.stdout.split()) == ["active", "enabled", "no"]


def account(name):
    try:
        found = pwd.getpwnam(name)
        return {"group": grp.getgrgid(found.pw_gid).gr_name, "home": found.pw_dir, "shell": found.pw_shell}
    except KeyError:
        return None


def last(path, name):
    """The last line `NAME=…` of a file, which is the one that counts; None when there is none."""
    lines = [line for line in (read(path) or "").splitlines() if line.startswith(f"{name}=")]
    return lines[-1] if lines else None

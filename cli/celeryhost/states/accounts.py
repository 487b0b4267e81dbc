"""Groups with members, and accounts of the system, none of which anybody logs in to."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Callable
from typing import Any

from ..account import last_line
from ..errors import Failure

ARGUMENTS = {
    "groups": {"type": "dict", "default": {}},
    "users": {"type": "dict", "default": {}},
}
# Of a user: option of useradd and usermod, and what is there.
OPTIONS: dict[str, tuple[str, Callable[[pwd.struct_passwd], Any]]] = {
    "group": ("--gid", lambda found: grp.getgrgid(found.pw_gid).gr_name),
    "home": ("--home-dir", lambda found: found.pw_dir),
    "shell": ("--shell", lambda found: found.pw_shell),
}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    changed = []
    for name, members in params["groups"].items():
        found = _group(name)
        lacking = [member for member in people(members) if member not in (found.gr_mem if found else [])]
        if found is None:
            changed.append(f"group {name}")
            if not check:
                _run("groupadd", "--system", name)
        for member in lacking:
            changed.append(f"{member} in group {name}")
            if not check:
                _run("gpasswd", "--add", member, name)
    for name, wanted in params["users"].items():
        user = _user(name)
        differing = [key for key in OPTIONS if key in wanted and not (user and _is(user, key, wanted[key]))]
        if user and (wanted.get("made") or not differing):
            continue
        changed.append(f"user {name}")
        if check:
            continue
        options = [word for key in differing for word in (OPTIONS[key][0], wanted[key])]
        if user:
            _run("usermod", *("--home" if word == "--home-dir" else word for word in options), name)
            continue
        if "group" not in wanted:
            options += ["--gid", name] if _group(name) else ["--user-group"]
        _run("useradd", "--system", "--no-create-home", "--comment", wanted.get("comment", ""), *options, name)
    after = "".join(f"{what}\n" for what in changed)
    return {"changed": bool(changed), "accounts": changed, "diff": {"before": "", "after": after} if changed else {}}


def people(names: list[str]) -> list[str]:
    """The members that `names` stands for: $SUDO_USER is the user who connects; root needs no group."""
    user = os.environ.get("SUDO_USER", "root")
    return [name for name in (user if name == "$SUDO_USER" else name for name in names) if name != "root"]


def _is(found: Any, key: str, wanted: Any) -> bool:
    try:
        return bool(OPTIONS[key][1](found) == wanted)
    except KeyError:
        return False


def _group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"{command[0]} {command[-1]}: {last_line(done.stderr or done.stdout)}")

"""Running a command as the account that a project belongs to, without sudo, which a bare machine lacks."""

from __future__ import annotations

import os
import pwd
import subprocess


def run(user: str, *command: str, cwd: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output (stdout and stderr as they came) of `command`, run as `user` with that account's groups.

    Variables of this process are passed on, HOME is the account's, `environment` is added.
    Raises KeyError without such an account, OSError when the command cannot be started.
    """
    account = pwd.getpwnam(user)
    become = {}
    if os.geteuid() != account.pw_uid:
        groups = os.getgrouplist(user, account.pw_gid)
        become = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"HOME": account.pw_dir, "USER": user, "LC_ALL": "C.UTF-8"} | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        **become,
    )
    return done.returncode, done.stdout


def last_line(output: str) -> str:
    """The last line of `output` that says something: of a traceback that is the exception."""
    return ([line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"])[-1]

"""A service that runs, now and after each boot, by its present unit or init script."""

from __future__ import annotations

import glob
import os
import subprocess
from typing import Any

from ..account import last_line
from ..errors import Failure

ARGUMENTS = {"name": {"type": "str", "required": True}}
SERVICE = "/usr/sbin/service"


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    name = params["name"]
    changed = not serves(name)
    if changed and not check:
        if _systemd():
            _run("systemctl", "daemon-reload")
            _run("systemctl", "enable", "--now", "--quiet", name)
        else:
            _run("update-rc.d", name, "defaults")
            _run("update-rc.d", name, "enable")
            if not _runs(name):
                _run(SERVICE, name, "start")
    return {"changed": changed}


def serves(name: str) -> bool:
    if not _systemd():
        return bool(glob.glob(f"/etc/rc[2-5].d/S[0-9][0-9]{name}")) and _runs(name)
    shown = _said("systemctl", "show", "--value", "--property=UnitFileState,ActiveState,NeedDaemonReload", name)
    return sorted(shown.stdout.split()) == ["active", "enabled", "no"]


def stop(name: str) -> None:
    """Now, and at each boot."""
    if _systemd():
        _run("systemctl", "disable", "--now", "--quiet", name)
    else:
        _run(SERVICE, name, "stop")
        _run("update-rc.d", name, "disable")


def _systemd() -> bool:
    return os.path.isdir("/run/systemd/system")


def _runs(name: str) -> bool:
    return _said(SERVICE, name, "status").returncode == 0


def _run(*command: str) -> None:
    done = _said(*command)
    if done.returncode:
        raise Failure(f"{' '.join(command)}: {last_line(done.stderr or done.stdout)}")


def _said(*command: str) -> subprocess.CompletedProcess[str]:
    # A daemon that an init script starts may keep its output open.
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if command[0] == SERVICE and command[-1] == "start":
        streams |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, **streams, text=True, errors="replace", check=False, cwd="/"
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
    done.stdout, done.stderr = done.stdout or "", done.stderr or ""
    return done

"""Apps that an earlier run has put on a host and that nobody describes any more: they run on. Changes nothing."""

from __future__ import annotations

import glob
import os
from typing import Any

from ..paths import CACHE, ETC
from .install_files import read

MARK = "Made by celeryhost"  # templates/celery.conf.j2
END = "-celery.conf"
ARGUMENTS = {
    "folder": {"type": "path", "required": True},
    "apps": {"type": "list", "elements": "str", "required": True},
}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """`lines`: for each such app what to say of it."""
    found = sorted(glob.glob(f"{glob.escape(params['folder'])}/*{END}"))
    left = {os.path.basename(path).removesuffix(END): path for path in found if MARK in (read(path) or "")}
    return {"changed": False, "lines": [_line(*of) for of in left.items() if of[0] not in params["apps"]]}


def _line(name: str, path: str) -> str:
    notes = f"{ETC}/{name}"
    return (
        f"App {name} is not in celery_apps and stays on this host. To stop it, as root: "
        f"rm -f {path} /etc/logrotate.d/{name}-celery {notes}.env {notes}.files {notes}.code "
        f"{CACHE}/{name}.loads && celeryhost apply"
    )

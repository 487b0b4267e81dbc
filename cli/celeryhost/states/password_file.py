"""A password that is made on the machine at first use, and never leaves it by a log or a diff."""

from __future__ import annotations

import secrets
from typing import Any

from .install_files import access, read, replace

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "password": {"type": "str", "default": "", "no_log": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "raw", "default": "0600"},
}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    path = params["path"]
    password = (read(path) or "").strip()
    wanted = (params["owner"], params["group"], str(params["mode"]))
    changed = not password or access(path) != wanted
    if changed and not check:
        password = password or params["password"] or secrets.token_urlsafe(24)
        replace(path, f"{password}\n", wanted)
    return {"changed": changed, "password": password}

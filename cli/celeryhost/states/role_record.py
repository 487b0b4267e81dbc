"""What a role was at its last complete run on this host: a run that breaks off is not forgotten, nor a changed role."""

from __future__ import annotations

import os
from typing import Any

from .. import cache
from ..paths import ROLES

ARGUMENTS = {
    "roles": {"type": "dict", "required": True},
    "state": {"type": "str", "choices": ["begun", "complete"], "default": "complete"},
    "folder": {"type": "path", "default": ROLES},
}
BEGUN = "begun"


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """`differ`: those of `roles`, {name: digest}, whose last run was of another digest, or is not complete."""
    differ = []
    for role, digest in params["roles"].items():
        path = os.path.join(params["folder"], role)
        noted = cache.read(path).decode(errors="replace")
        if noted != digest:
            differ.append(role)
        if not check and params["state"] == "begun":
            cache.write(path, BEGUN.encode())
        elif not check and noted == BEGUN:  # not where a run was started in the middle
            cache.write(path, digest.encode())
    return {"changed": False, "differ": differ}

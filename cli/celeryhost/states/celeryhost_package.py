"""This package on a host, where it does the work of the roles' modules in a third of the time.

The controller's half, which brings the texts, is the action plugin of the same name.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from ..paths import LIB, PYTHON
from . import install_files

ARGUMENTS = {
    "path": {"type": "path", "default": f"{LIB}/celeryhost"},
    "digest": {"type": "str", "required": True},
    "files": {"type": "dict"},
}
UNASKED = ("files",)


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    path = params["path"]
    if os.path.isdir(path) and digest(path) == params["digest"] and untouched(path):
        return {"changed": False}
    if check and not params["files"]:
        return {"changed": True}
    files = {os.path.join(path, name): {"content": text, "diff": False} for name, text in params["files"].items()}
    whole = {"files": files, "secrets": {}, "prune": [path], "compile": path, "python": PYTHON}
    shown = {"before": "", "after": f"the celeryhost package in {path}\n"}
    return {"changed": True, "paths": install_files.bring(whole, check)["paths"], "diff": shown}


def digest(folder: str) -> str:
    """Changes with the Python files below `folder`."""
    texts = hashlib.sha256()
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - {"_ansible", "__pycache__"})
        for name in sorted(name for name in names if name.endswith(".py")):
            path = os.path.join(here, name)
            with open(path, "rb") as file:
                texts.update(f"{os.path.relpath(path, folder)}\0".encode() + file.read() + b"\0")
    return texts.hexdigest()


def untouched(folder: str) -> bool:
    """Whether nobody but the one who runs this may change a Python file below `folder`, and everybody may read it."""
    for here, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".py"):
                found = os.stat(os.path.join(here, name))
                if (found.st_uid, found.st_mode & 0o777) != (os.geteuid(), 0o644):
                    return False
    return True

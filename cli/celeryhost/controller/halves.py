"""What only the controller knows of a state's arguments: the files of a folder here, and this package."""

from __future__ import annotations

import os
from typing import Any

from .. import paths
from ..errors import USAGE, Failure
from .app_states import source_files
from .asking import PACKAGE


def completed(state: str, arguments: dict[str, Any], asked: bool = False) -> dict[str, Any]:
    """The arguments with what the state's action plugin adds; `asked`: only what it is asked for under check.

    Raises Failure for a folder that can't be read.
    """
    if state == "project_folder":
        try:
            return arguments | {"files": source_files(str(arguments["src"]))}
        except OSError as error:
            raise Failure(f"source {arguments['src']}: {error.filename}: {error.strerror}", USAGE) from None
    if state == "celeryhost_package":
        return arguments | {"digest": PACKAGE} | ({} if asked else {"files": python_tree(paths.PACKAGE)})
    return arguments


def python_tree(folder: str) -> dict[str, str]:
    """{path below `folder`: text} of its Python files, without what it carries for a controller (_ansible)."""
    files = {}
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - {"_ansible", "__pycache__"})
        for name in sorted(name for name in names if name.endswith(".py")):
            path = os.path.join(here, name)
            with open(path, encoding="utf-8") as file:
                files[os.path.relpath(path, folder)] = file.read()
    return files

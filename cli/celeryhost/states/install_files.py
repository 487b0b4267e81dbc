"""Many small files in one go: on a small board each task that starts Python costs seconds."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import stat
import subprocess
import tempfile
from typing import Any

from ..errors import Failure

ARGUMENTS = {
    "files": {"type": "dict", "default": {}},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "prune": {"type": "list", "elements": "path", "default": []},
    "compile": {"type": "path"},
    "python": {"type": "path", "default": "/usr/bin/python3"},
}


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None


def access(path: str) -> tuple[str | int, str | int, str] | None:
    """(owner, group, mode) as a file has them; None when it is not there."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    owner: str | int
    group: str | int
    try:
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        owner, group = status.st_uid, status.st_gid
    return owner, group, f"{stat.S_IMODE(status.st_mode):04o}"


def replace(path: str, content: str, wanted: tuple[str | int, str | int, str]) -> None:
    """Put the file there as a whole, with its access rights (as `access` has them) from the first moment on."""
    owner, group, mode = wanted
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    handle, new = tempfile.mkstemp(prefix=".celeryhost-", dir=os.path.dirname(path))
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
            uid = owner if isinstance(owner, int) else pwd.getpwnam(owner).pw_uid
            gid = group if isinstance(group, int) else grp.getgrnam(group).gr_gid
            os.fchown(handle, uid, gid)
            os.fchmod(handle, int(mode, 8))
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def compiled(folder: str, changed: list[str]) -> bool:
    """Whether each Python file below is unchanged and has a compiled one beside it."""
    return all(
        path not in changed and glob.glob(f"{os.path.dirname(path)}/__pycache__/{os.path.basename(path)[:-3]}.*.pyc")
        for path in glob.glob(f"{folder}/**/*.py", recursive=True)
    )


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    files, secret = params["files"], params["secrets"]
    stale = [
        path
        for folder in params["prune"]
        for path in glob.glob(f"{folder}/**/*.py", recursive=True)
        if path not in files
    ]
    changed, diff = [], []
    path = folder = params["compile"]
    try:
        for path, file in [*files.items(), *((path, {"absent": True}) for path in stale)]:
            if file.get("directory"):
                if not os.path.isdir(path):
                    changed.append(path)
                    if not check:
                        os.makedirs(path, mode=0o755)
                continue
            before = read(path)
            after = None if file.get("absent") else secret.get(path, file.get("content"))
            wanted = (file.get("owner", "root"), file.get("group", "root"), str(file.get("mode", "0644")))
            if before == after and (after is None or access(path) == wanted):
                continue
            changed.append(path)
            hidden = "(secret)\n" if path in secret else "(not shown)\n" if file.get("diff") is False else None
            shown = ("", hidden) if hidden else (before or "", after or "")
            diff.append({"before_header": path, "after_header": path, "before": shown[0], "after": shown[1]})
            if check:
                continue
            if after is None:
                os.unlink(path)
            else:
                replace(path, after, wanted)
        if folder and not check and not (os.path.isdir(folder) and compiled(folder, changed)):
            subprocess.run(
                [params["python"], "-I", "-m", "compileall", "-q", folder], check=True, stdout=subprocess.DEVNULL
            )
    except (OSError, KeyError, subprocess.CalledProcessError) as error:
        raise Failure(f"{path}: {error}") from None
    return {"changed": bool(changed), "paths": changed, "diff": diff}

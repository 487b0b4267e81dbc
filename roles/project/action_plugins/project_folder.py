"""The controller's half of `project_folder`: which files a folder has, and the archive of those a host lacks."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile

from ansible.plugins.action import ActionBase

FOLDERS = {".git", ".hg", ".svn", ".idea", ".vscode", ".tox", ".nox", ".celeryhost", "node_modules", "__pycache__"}
CACHES = ("_cache",)
FILES = (".pyc", ".pyo", ".sqlite3", ".sqlite3-journal", ".sqlite3-wal", ".sqlite3-shm", ".celeryhost-new", "~")


def files(src: str) -> dict[str, str]:
    """For each file below `src`, by its path there: its SHA-256, after an `x` if executable; `->` and a link's target.

    Left out are version control, virtual environments (wherever a pyvenv.cfg is), caches and SQLite's databases,
    which on the host hold the host's own data. Raises OSError for a file that can't be read.
    """
    found = {}
    for folder, folders, names in os.walk(src):
        keep = [name for name in folders if name not in FOLDERS and not name.endswith(CACHES)]
        folders[:] = sorted(name for name in keep if not os.path.exists(os.path.join(folder, name, "pyvenv.cfg")))
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*names, *links]):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[os.path.relpath(path, src)] = f"->{os.readlink(path)}"
            elif os.path.isfile(path) and not name.endswith(FILES):
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
                    executable = os.fstat(file.fileno()).st_mode & 0o100
                found[os.path.relpath(path, src)] = f"x{digest}" if executable else digest
    return found


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """Ask the host what differs; send that, unless this is check mode."""
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        src = str(arguments["src"])
        try:
            arguments["files"] = files(src)
            found = self._execute_module("project_folder", arguments, task_vars=task_vars)
            if found.get("failed") or not found.get("changed") or self._task.check_mode:
                return result | found
            remote = self._make_tmp_path()
            self._connection._shell.tmpdir = remote
            with tempfile.NamedTemporaryFile(suffix=".tar.gz") as local:
                with tarfile.open(local.name, "w:gz", compresslevel=6) as archive:
                    for name in found["wanted"]:
                        archive.add(os.path.join(src, name), name, recursive=False)
                arguments["archive"] = self._transfer_file(
                    local.name, self._connection._shell.join_path(remote, "code")
                )
                self._fixup_perms2((remote, arguments["archive"]))
            return result | self._execute_module("project_folder", arguments, task_vars=task_vars)
        except OSError as error:
            return result | {"failed": True, "msg": f"source {src}: {error.strerror}: {error.filename}"}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

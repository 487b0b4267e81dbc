"""The controller's half of `project_folder`: which files a folder has, and the archive of those a host lacks."""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from pathlib import Path

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from celeryhost.controller.asking import bring
from celeryhost.controller.halves import completed
from celeryhost.errors import Failure


class ActionModule(ActionBase):
    """Ansible's entry point."""

    def run(self, tmp=None, task_vars=None):
        """Ask the host what differs; send that, unless this is check mode."""
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        src = str(arguments["src"])
        try:
            arguments = completed("project_folder", arguments)
            found = bring(self, "project_folder", arguments, task_vars)
            if found.get("failed") or not found.get("changed") or self._task.check_mode:
                return result | found
            remote = self._make_tmp_path()
            self._connection._shell.tmpdir = remote
            with tempfile.NamedTemporaryFile(suffix=".tar.gz") as local:
                with tarfile.open(local.name, "w:gz", compresslevel=6) as archive:
                    for name in arguments["files"].keys() & found["wanted"]:  # no other file, whatever a host asks for
                        archive.add(os.path.join(src, name), name, recursive=False)
                arguments["archive"] = self._transfer_file(
                    local.name, self._connection._shell.join_path(remote, "code")
                )
                self._fixup_perms2((remote, arguments["archive"]))
            return result | bring(self, "project_folder", arguments, task_vars)
        except OSError as error:
            return result | {"failed": True, "msg": f"source {src}: {error.strerror}: {error.filename}"}
        except Failure as failure:
            return result | {"failed": True, "msg": str(failure)}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

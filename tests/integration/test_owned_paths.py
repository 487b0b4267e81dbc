"""Folders of logs, in which supervisord, as root, makes files that a program of another account writes."""

from __future__ import annotations

import os
import subprocess

import pytest
from celeryhost.states import owned_paths

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other accounts, so it needs root")


def test_the_owner_writes_what_root_makes_in_it(tmp_path):
    log = tmp_path / "log"
    wanted = {"owner": "nobody", "group": "adm", "mode": "2750", "owner_writes": True}
    params = {"folders": {str(log): wanted}, "files": {}}
    assert owned_paths.bring(params, False)["changed"]
    assert not owned_paths.bring(params, False)["changed"]
    (log / "by-root").touch()
    made = "umask 027 && echo line >>by-root && echo line >by-owner && mkdir folder && touch folder/file"
    subprocess.run(["sh", "-c", made], cwd=log, user="nobody", group="nogroup", extra_groups=[], check=True)
    assert (log / "by-root").read_text() == "line\n"
    assert {(log / name).group() for name in ("by-root", "by-owner", "folder")} == {"adm"}
    assert not any((log / name).stat().st_mode & 0o007 for name in ("by-root", "by-owner", "folder"))
    reading = ["sh", "-c", "cat by-root && ! echo line 2>&1 >>by-root"]
    subprocess.run(reading, cwd=log, user="daemon", group="adm", extra_groups=[], check=True, capture_output=True)
    os.removexattr(log, owned_paths.DEFAULT_ACL)
    assert owned_paths.bring(params, True)["paths"] == [str(log)]

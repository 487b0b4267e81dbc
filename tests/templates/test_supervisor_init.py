"""templates/supervisor.init.j2, run as a person or Ansible runs it."""

from __future__ import annotations

import subprocess

from celeryhost.project.rendering import render


def test_supervisord_gets_the_environment_of_a_boot(root, tmp_path):
    daemon = tmp_path / "supervisord"
    daemon.write_text(f"#!/bin/sh\nenv >{tmp_path}/environment\n")
    daemon.chmod(0o755)
    script = render(str(root / "templates"), "supervisor.init.j2")
    script = script.replace("/opt/supervisor/bin/supervisord", str(daemon)).replace("/run/supervisord.pid", "/nowhere")
    caller = {"PATH": "/usr/bin:/bin", "AWS_SECRET_ACCESS_KEY": "of-root"}
    subprocess.run(["/bin/sh", "-s", "start"], input=script, text=True, env=caller, timeout=60, check=True)
    found = (tmp_path / "environment").read_text()
    assert "PATH=/usr/local/sbin:" in found
    assert "of-root" not in found

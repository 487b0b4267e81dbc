"""The quick start, word for word, on hosts that have only git, python3 and ca-certificates."""

from __future__ import annotations

import re
import subprocess
from collections import Counter

import pytest


@pytest.mark.parametrize("init", ["systemd", "none"])
def test_one_command(host, init, root):
    bare = host(init=init)
    listing = ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(listing, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    bare.copy(root, "celeryhost", files=[path for path in listed if (root / path).is_file()])

    first = bare.ssh("cd celeryhost && ./celeryhost provision")
    password = bare.ssh("cat /etc/celeryhost/redis.password").stdout.strip()
    assert password not in first.stdout + first.stderr
    bare.ssh("python3 -", input=(root / "tests/molecule/common/verify.py").read_text())

    second = bare.ssh("cd celeryhost && ./celeryhost provision")
    assert set(re.findall(r"changed=(\d+)", second.stdout)) == {"0"}

    spawned = starts(bare)
    inventory = "inventory/local/group_vars/all.yml"
    bare.ssh(f"cd celeryhost && sed -i 's/  - name: mysite/&\\n    workers: [{{concurrency: 1}}]/' {inventory}")
    bare.ssh("cd celeryhost && ./celeryhost provision")
    assert starts(bare) - spawned == Counter({"mysite-worker": 1})


def starts(host):
    """How often supervisord has started each program, from its log."""
    return Counter(re.findall(r"spawned: '(\S+)'", host.ssh("cat /var/log/supervisor/supervisord.log").stdout))

"""The quick start, word for word, on hosts that have only git, python3 and ca-certificates."""

from __future__ import annotations

import re
import secrets
import subprocess

import pytest

from tests.hosts import Host, requirements


@pytest.fixture(params=["systemd", "none"])
def host(request):
    """A bare Debian 13; "none": process 1 is not systemd."""
    if reasons := requirements():
        pytest.skip("; ".join(reasons))
    with Host.up(f"bare-{secrets.token_hex(3)}", init=request.param) as host:
        yield host


def test_one_command(host, root):
    listing = ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    tracked = subprocess.run(listing, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    host.copy(root, "celeryhost", files=[path for path in tracked if (root / path).is_file()])

    first = host.ssh("cd celeryhost && ./celeryhost provision")
    password = host.ssh("cat /etc/celeryhost/redis.password").stdout.strip()
    assert password not in first.stdout + first.stderr
    host.ssh("python3 -", input=(root / "tests/molecule/common/verify.py").read_text())

    second = host.ssh("cd celeryhost && ./celeryhost provision")
    assert set(re.findall(r"changed=(\d+)", second.stdout)) == {"0"}

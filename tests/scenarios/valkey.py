"""Valkey in place of Redis, on a host that had celeryhost's Redis until then."""

from __future__ import annotations

import json
import subprocess

COMMAND = "./celeryhost {} -i inventory/mine"


def use_valkey(host, folder):
    """Refused while Redis has the port; then provisioned, all of it, and known by name to what looks at it."""
    refused = call(folder, "provision -e redis_package=valkey-server", check=False)
    assert "is taken on board by redis-server, which is not the system's valkey-server (redis_package)" in refused
    call(folder, "unprovision --yes")
    with (folder / "inventory" / "mine" / "group_vars" / "all.yml").open("a") as variables:
        variables.write("redis_package: valkey-server\n")
    call(folder, "provision")
    assert "Nothing differs" in call(folder, "provision")
    packages = host.ssh("dpkg -l redis-server valkey-server | awk '/^[ir]/ {print $1, $2}'").stdout.split("\n")
    assert {"rc redis-server", "ii valkey-server"} <= {*packages}
    answer = "REDISCLI_AUTH=$(cat /etc/celeryhost/redis.password) valkey-cli config get maxmemory-policy appendonly"
    words = host.ssh(answer).stdout.split()
    assert dict(zip(words[::2], words[1::2], strict=True)) == {"maxmemory-policy": "noeviction", "appendonly": "yes"}
    assert "RUNNING" in host.ssh("celeryhost status").stdout
    assert host.ssh("celeryhost run app.tasks.sum 2 3").stdout.strip() == "5"
    findings = json.loads(host.ssh("celeryhost doctor --json", check=False).stdout)["findings"]
    assert [finding for finding in findings if finding["level"] == "fail"] == []
    assert "Valkey version=" in host.ssh("celeryhost logs redis -n 1000").stdout
    host.ssh("systemctl stop valkey-server")
    assert "systemctl start valkey-server" in host.ssh("celeryhost doctor", check=False).stdout
    call(folder, "unprovision --yes --data")
    left = "ls /var/lib/valkey/dump.rdb /var/lib/valkey/appendonlydir /etc/valkey/celeryhost.conf 2>/dev/null"
    assert host.ssh(left, check=False).stdout == ""


def call(folder, command, check=True):
    done = subprocess.run(
        COMMAND.format(command),
        shell=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.stdout

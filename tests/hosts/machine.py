"""What all hosts share on this machine: the folder, locks, the bridge with NAT, the handler for foreign programs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

HOME = Path(os.environ.get("CELERYHOST_TESTS_HOME", "/var/cache/celeryhost-tests"))
BRIDGE = "chtest0"
NETWORK = "10.78.13"  # a /24; .1 is this machine
FOREIGN = {"armhf": "arm"}  # Debian's name: qemu's name
BINFMT = Path("/proc/sys/fs/binfmt_misc")

_NO_NAT = f"table ip {BRIDGE} {{\n}}\ndelete table ip {BRIDGE}\n"  # a table can be deleted only where there is one
_NAT = f"""table ip {BRIDGE} {{
    chain out {{
        type nat hook postrouting priority srcnat
        ip saddr {NETWORK}.0/24 oifname != "{BRIDGE}" masquerade
    }}
}}
"""

TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setsid": "util-linux",
}


class HostError(Exception):
    """A host could not be made, reached or removed; the message says which and why."""


def run(*argv, **options):
    """Run a command and return its standard output; HostError carries the end of its standard error."""
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **options}
    if "input" in options:
        del options["stdin"]
    done = subprocess.run([str(arg) for arg in argv], check=False, **options)
    if done.returncode:
        reason = "\n".join((done.stderr or "").strip().splitlines()[-5:])
        raise HostError(f"{argv[0]} {argv[1]} … ended with {done.returncode}: {reason}")
    return done.stdout


def requirements(*architectures):
    """The reasons why hosts of these architectures (default amd64) cannot run on this machine; empty when they can."""
    if sys.platform != "linux":
        return [f"hosts need Linux, this is {sys.platform}"]
    if os.geteuid() != 0:
        return ["hosts need root: sudo ./tests/run hosts"]
    reasons = [
        f"missing {tool}: apt-get install {package}" for tool, package in TOOLS.items() if not shutil.which(tool)
    ]
    machine = os.uname().machine
    for arch in architectures or ("amd64",):
        if arch in FOREIGN and not _binfmt_line(arch):
            reasons.append(f"no emulator for {arch}: apt-get install qemu-user-static")
        elif arch == "amd64" and machine != "x86_64":
            reasons.append(f"amd64 hosts need an x86_64 machine, this is {machine}")
    return reasons or _mount_refused()


def _mount_refused():
    """A reason when namespaces or an overlay on HOME are refused (a container, or HOME itself on an overlay)."""
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        script = "cd $0; mkdir l u w m; mount -t overlay -o lowerdir=l,upperdir=u,workdir=w probe m"
        probe = ["unshare", "--mount", "--net", "sh", "-c", script, folder]
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    reason = done.stderr.strip().rpartition(": ")[2] or f"exit code {done.returncode}"
    return [f"no overlay on {HOME} ({reason}): not in a container, and CELERYHOST_TESTS_HOME on ext4, xfs or tmpfs"]


@contextmanager
def locked(name):
    """Hold the lock NAME of this machine; other processes wait."""
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def network_up():
    """Bridge, forwarding and NAT, each only when missing."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run("nft", "-f", "-", input=_NO_NAT + _NAT)


def network_down():
    """Take bridge, NAT and the program handlers of `foreign_up` away (the last host does)."""
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        run("ip", "link", "delete", BRIDGE)
    run("nft", "-f", "-", input=_NO_NAT)
    for arch in FOREIGN:
        if (handler := BINFMT / f"celeryhost-{arch}").exists():
            handler.write_text("-1")


def foreign_up(arch, privileged=True):
    """Let this machine run programs of a foreign architecture.

    sudo in a guest needs the flag C (credentials) that Debian's handler lacks, hence a second, `privileged` one.
    """
    if arch not in FOREIGN:
        return
    if not (BINFMT / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
    line = _binfmt_line(arch)
    name = f"qemu-{FOREIGN[arch]}"
    if privileged:
        line = line.replace(name, f"celeryhost-{arch}", 1).rpartition(":")[0] + ":POCF"
        name = f"celeryhost-{arch}"
    if not (BINFMT / name).exists():
        (BINFMT / "register").write_text(line)


def _binfmt_line(arch):
    conf = Path(f"/usr/lib/binfmt.d/qemu-{FOREIGN[arch]}.conf")
    return conf.read_text().strip() if conf.exists() else ""

"""Base trees: what debootstrap makes of a suite and an architecture, built once, never written to again."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from pathlib import Path

from . import machine
from .machine import HOME, HostError, run

PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,python3,sudo,iproute2,ca-certificates,git"
SUDO_PASSWORD = "correct horse"  # of user deploypw

# Nothing may hold the apt lock or stall the boot behind a test's back; two hosts must not share a machine-id.
SETUP = r"""
set -eu
useradd --create-home --shell /bin/bash deploy
useradd --create-home --shell /bin/bash deploypw
printf 'deploypw:%s\n' "$1" | chpasswd
printf 'deploy ALL=(ALL) NOPASSWD: ALL\ndeploypw ALL=(ALL) ALL\n' >/etc/sudoers.d/tests
chmod 440 /etc/sudoers.d/tests
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer systemd-firstboot.service; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
printf 'UseDNS no\n' >/etc/ssh/sshd_config.d/tests.conf
update-ca-certificates >/dev/null
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id
"""

# qemu-user lacks clone() flags that sandboxed units use: they end with 243/CREDENTIALS or 217/USER.
QEMU_DROPIN = """[Service]
LoadCredential=
SetCredential=
LoadCredentialEncrypted=
SetCredentialEncrypted=
PrivateUsers=no
"""


class Tree:
    """The base tree of SUITE-ARCH; its folder carries a hash of everything that goes into it."""

    def __init__(self, suite, arch):
        self.suite, self.arch = suite, arch
        self.name = f"{suite}-{arch}"
        recipe = [PACKAGES, SUDO_PASSWORD, SETUP, QEMU_DROPIN, *(path.read_bytes() for path in _borrowed().values())]
        digest = hashlib.sha256(b"\0".join(part if isinstance(part, bytes) else part.encode() for part in recipe))
        self.path = HOME / "trees" / f"{self.name}-{digest.hexdigest()[:8]}"

    def build(self):
        """Path of the finished tree; builds it when missing (45 s, armhf 3 min), waits while another process does."""
        with machine.locked(self.name):
            if not self.path.exists():
                machine.foreign_up(self.arch, privileged=False)
                self.path.parent.mkdir(parents=True, exist_ok=True)
                part = self.path.with_name(f"{self.name}.part")
                run("rm", "--recursive", "--force", "--one-file-system", part)
                self._debootstrap(part)
                part.rename(self.path)
        return self.path

    def _debootstrap(self, root):
        log = self.path.parent / f"{self.name}.log"
        with log.open("w") as output:
            options = ["--variant=minbase", f"--arch={self.arch}", f"--include={PACKAGES}"]
            try:
                # a mount namespace: what debootstrap mounts goes with it, even when it is killed
                command = ["unshare", "--mount", "debootstrap", *options, self.suite, root, mirror()]
                run(*command, capture_output=False, stdout=output, stderr=output)
            except HostError as error:
                raise HostError(f"{error}, see {log}") from None
        for target, source in _borrowed().items():
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / target)
        if self.arch in machine.FOREIGN:
            dropin = root / "etc/systemd/system/service.d/qemu.conf"
            dropin.parent.mkdir(parents=True)
            dropin.write_text(QEMU_DROPIN)
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        run("chroot", root, "/bin/sh", "-c", SETUP, "setup", SUDO_PASSWORD, env={"PATH": path, "LANG": "C.UTF-8"})


def _borrowed():
    """Files a guest takes over, as it goes out through this machine's network: further CAs and pip's configuration."""
    files = {f"usr/local/share/ca-certificates/{path.name}": path for path in _certificates()}
    if Path("/etc/pip.conf").exists():
        files["etc/pip.conf"] = Path("/etc/pip.conf")
    return files


def _certificates():
    return sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))


@functools.cache
def mirror():
    """The Debian mirror: CELERYHOST_TESTS_MIRROR, else the one that apt of this machine uses."""
    if given := os.environ.get("CELERYHOST_TESTS_MIRROR"):
        return given
    for uri in run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise HostError("no Debian mirror in this machine's apt configuration: set CELERYHOST_TESTS_MIRROR to its URL")

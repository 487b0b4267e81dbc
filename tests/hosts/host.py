"""One throw-away host: an overlay copy of a base tree, run by systemd-nspawn in a cgroup and a network of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

from . import machine
from .machine import BRIDGE, HOME, NETWORK, HostError, run
from .tree import Tree

HOSTS = HOME / "hosts"
KEY = HOME / "key"
NAME = re.compile(r"[a-z][a-z0-9-]{0,11}")  # a veth's name has at most 15 characters, three of them ours
BOOT_SECONDS = 240
CGROUPS = [
    path
    for path in (Path("/sys/fs/cgroup", sub) for sub in ("systemd", "unified", ""))
    if (path / "cgroup.procs").exists()
]
INIT = {
    "systemd": ["--boot"],
    "none": ["--", "/bin/sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e"],
}
SSH = [
    "-oIdentitiesOnly=yes",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
    "-oConnectTimeout=30",  # of a busy machine, which can keep a host waiting for seconds
    "-oBatchMode=yes",
]


class Host:
    """A host by name; `Host.up` makes one, `Host.all` lists them. Leaving a `with` block takes it down.

    Users: root, deploy (sudo without a password), deploypw (sudo with `tree.SUDO_PASSWORD`); all take `key`.
    """

    key = KEY

    def __init__(self, name):
        self.name = name
        self.folder = HOSTS / name
        self.root = self.folder / "root"
        try:
            self.meta = json.loads((self.folder / "meta.json").read_text())
        except FileNotFoundError:
            raise HostError(f"no host {name}: python -m tests.hosts list shows them") from None
        self.address = self.meta["address"]
        self.systemd = self.meta["init"] == "systemd"

    @classmethod
    def all(cls):
        """Every host there is, running or not."""
        return [cls(meta.parent.name) for meta in sorted(HOSTS.glob("*/meta.json"))]

    @classmethod
    def up(cls, name, suite="trixie", arch="amd64", init="systemd", sync=False, like=None):
        """Make and boot a host (2 s, armhf 4 s; the first of its kind builds the base tree).

        init: "systemd", or "none": sshd is process 1 and packages' services do not start, as in a Debian container.
        sync: make fsync() real, for tests of durability; else it costs nothing and does nothing.
        like: a Host of the same kind that it begins as a copy of; what writes there should have stopped.
        """
        if not NAME.fullmatch(name):
            raise HostError(f"host name {name!r}: a to z, 0 to 9 and -, at most 12 characters")
        if reasons := machine.requirements(arch):
            raise HostError("; ".join(reasons))
        tree = Tree(suite, arch).build()
        with machine.locked("hosts"):
            if (HOSTS / name / "meta.json").exists():
                if cls(name).alive():
                    raise HostError(f"host {name} is up already: python -m tests.hosts down {name}")
                cls(name)._remove()
            taken = {host.address for host in cls.all()}
            address = next(ip for ip in (f"{NETWORK}.{number}" for number in range(10, 250)) if ip not in taken)
            for part in ("upper", "work", "root"):
                (HOSTS / name / part).mkdir(parents=True, exist_ok=True)
            meta = {"address": address, "suite": suite, "arch": arch, "init": init}
            (HOSTS / name / "meta.json").write_text(json.dumps(meta))
            if not KEY.exists():
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", KEY)
        host = cls(name)
        try:
            with machine.locked("hosts"):
                machine.network_up()
                machine.foreign_up(arch)
            if like:
                run("cp", "--archive", "--no-target-directory", like.folder / "upper", host.folder / "upper")
            folders = f"lowerdir={tree},upperdir={host.folder}/upper,workdir={host.folder}/work"
            run("mount", "-t", "overlay", "-o", folders + ("" if sync else ",volatile"), f"host-{name}", host.root)
            host._personalise()
            host._plug_in()
            host._boot()
        except BaseException:
            host.down()
            raise
        return host

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    def ssh_command(self, user="root"):
        """The argument list that reaches this host; append a command."""
        return ["ssh", f"-i{KEY}", *SSH, f"{user}@{self.address}"]

    def ssh(self, command, user="root", check=True, timeout=900, **options):
        """Run a command (text for the host's shell, or a list) and return the CompletedProcess, output as text.

        HostError when it fails and `check`; further options go to subprocess.run (input, env, text=False).
        """
        line = command if isinstance(command, str) else shlex.join(map(str, command))
        options = {"text": True, "capture_output": True, "timeout": timeout, **options}
        if "input" not in options and "stdin" not in options:
            options["stdin"] = subprocess.DEVNULL
        done = subprocess.run([*self.ssh_command(user), line], check=False, **options)
        if check and done.returncode:
            raise HostError(f"{self.name}: {line!r} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def copy(self, folder, destination, files=None, user="root"):
        """Copy what is in a folder here (or only `files`, paths relative to it) into a folder on the host."""
        names = "\0".join(map(str, files or ["."])).encode()
        pack = ["tar", "-C", str(folder), "--create", "--owner=0", "--group=0", "--null", "--files-from=-"]
        data = subprocess.run(pack, input=names, stdout=subprocess.PIPE, check=True).stdout
        place = shlex.quote(str(destination))
        unpack = f"mkdir -p {place} && tar -C {place} --extract --no-same-owner"
        self.ssh(unpack, user=user, input=data, text=False)

    def reboot(self):
        """Shut down in order and boot the same root again; without systemd, as `docker restart` does."""
        self.ssh("systemctl poweroff" if self.systemd else "kill -TERM 1", check=False)
        self._wait(lambda: not self.alive(), "does not go down")
        self._boot()

    def power_cut(self):
        """Kill every process at once and boot the same root again.

        This machine's page cache survives: it shows what processes lose, not what a disk that lies would.
        """
        self._kill()
        self._boot()

    def down(self):
        """Kill and remove the host; the last one takes bridge and NAT away."""
        with machine.locked("hosts"):
            self._remove()
            if not self.all():
                machine.network_down()
                for cgroup in filter(Path.exists, {cgroup.parent for cgroup in self._cgroups()}):
                    cgroup.rmdir()

    def alive(self):
        """Whether any process of this host runs."""
        return bool(self._pids())

    def console(self):
        """The last lines that the host printed on its console."""
        log = self.folder / "console.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-10:]) if log.exists() else ""

    def _personalise(self):
        """What tells this host from others, and how it reaches the network."""
        etc = self.root / "etc"
        (etc / "machine-id").write_text("")
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        # systemd-resolved's stub listens on this machine's loopback only
        resolver = Path("/run/systemd/resolve/resolv.conf")
        resolver = resolver if resolver.exists() else Path("/etc/resolv.conf")
        (etc / "resolv.conf").unlink(missing_ok=True)
        (etc / "resolv.conf").write_bytes(resolver.read_bytes())
        for home in (self.root / "root", self.root / "home/deploy", self.root / "home/deploypw"):
            owner = home.stat()
            ssh = home / ".ssh"
            ssh.mkdir(mode=0o700, exist_ok=True)
            keys = ssh / "authorized_keys"
            keys.write_bytes(KEY.with_suffix(".pub").read_bytes())
            keys.chmod(0o600)
            for path in (ssh, keys):
                os.chown(path, owner.st_uid, owner.st_gid)
        if not self.systemd:
            policy = self.root / "usr/sbin/policy-rc.d"
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)

    def _plug_in(self):
        """A network namespace with one cable to the bridge; it outlives reboots."""
        space = f"test-{self.name}"
        run("ip", "netns", "add", space)
        run("ip", "link", "add", f"vt-{self.name}", "type", "veth", "peer", "name", "host0", "netns", space)
        run("ip", "link", "set", f"vt-{self.name}", "master", BRIDGE, "up")
        run("ip", "-n", space, "link", "set", "lo", "up")
        run("ip", "-n", space, "address", "add", f"{self.address}/24", "dev", "host0")
        run("ip", "-n", space, "link", "set", "host0", "up")
        run("ip", "-n", space, "route", "add", "default", "via", f"{NETWORK}.1")

    def _boot(self):
        """Start systemd-nspawn and wait until the host takes commands.

        The cgroup is the host's identity: a process in it is ours, whatever its number. One per host, as with
        --keep-unit guests would otherwise share a subtree and stop each other's services.
        """
        for cgroup in self._cgroups():
            cgroup.mkdir(parents=True, exist_ok=True)
        run_in = 'until [ "$1" = -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec setsid --fork "$@"'
        tell = ["sh", "-c", '"$@"; echo "systemd-nspawn ended with $?"', "tell"]
        nspawn = [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no"),
            *("--resolv-conf=off", "--timezone=off", f"--machine={self.name}", f"--directory={self.root}"),
            f"--network-namespace-path=/run/netns/test-{self.name}",
            *INIT[self.meta["init"]],
        ]
        with (self.folder / "console.log").open("w") as console:
            argv = ["sh", "-c", run_in, "run_in", *map(str, self._cgroups()), "--", *tell, *nspawn]
            subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, check=True)
        self._wait(self._answers, f"does not answer within {BOOT_SECONDS} s", dead="died")

    def _answers(self):
        probe = "systemctl is-system-running --wait || true" if self.systemd else "echo running"
        try:
            done = self.ssh(probe, check=False, timeout=BOOT_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return done.stdout.strip() in ("running", "degraded")

    def _wait(self, condition, failure, dead=None):
        deadline = time.monotonic() + BOOT_SECONDS
        while not condition():
            if dead and not self.alive():
                raise HostError(f"{self.name} {dead}:\n{self.console()}")
            if time.monotonic() > deadline:
                raise HostError(f"{self.name} {failure}:\n{self.console()}")
            time.sleep(0.2)

    def _cgroups(self):
        return [cgroup / "celeryhost-tests" / self.name for cgroup in CGROUPS]

    def _pids(self):
        pids = []
        for folder, _, _ in os.walk(self._cgroups()[0]):  # which passes over what goes away meanwhile
            with contextlib.suppress(OSError):
                pids += map(int, Path(folder, "cgroup.procs").read_text().split())
        return [pid for pid in pids if pid]

    def _kill(self):
        deadline = time.monotonic() + 30
        while pids := self._pids():
            if time.monotonic() > deadline:
                raise HostError(f"{self.name}: processes {pids} do not die")
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)

    def _remove(self):
        self._kill()
        for cgroup in self._cgroups():
            for folder in (*sorted(cgroup.rglob("*/"), reverse=True), cgroup):
                if folder.is_dir():
                    folder.rmdir()
        if Path(f"/sys/class/net/vt-{self.name}").exists():
            run("ip", "link", "delete", f"vt-{self.name}")
        if Path(f"/run/netns/test-{self.name}").exists():
            run("ip", "netns", "delete", f"test-{self.name}")
        if os.path.ismount(self.root):
            run("umount", self.root)
        run("rm", "--recursive", "--force", "--one-file-system", self.folder)

"""A real sshd of the test's own: loopback, a free port, its own keys, and a PATH on which `celeryhost` is ours."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def sshd(folder: Path, celeryhost: str = ""):
    """Run it; yields what an inventory says of a host on it (connection variables).

    `celeryhost`: the text of the program of that name there, default this checkout's.
    """
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip("needs sshd (apt-get install openssh-server)")
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    launcher = bin_folder / "celeryhost"
    launcher.write_text(celeryhost or f'#!/bin/sh\nPYTHONPATH={ROOT}/cli exec {sys.executable} -m celeryhost "$@"\n')
    launcher.chmod(0o755)
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    # SHLVL: bash reads ~/.bashrc for ssh only at the first level, and that file is of whoever runs the tests.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    public = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
    root = os.getuid() == 0
    if root:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (folder / "sshd_config").write_text(f"""\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
StrictModes no
PidFile none
UsePAM {"yes" if root else "no"}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxSessions 100
MaxStartups 100
SetEnv PATH={bin_folder}:/usr/bin:/bin SHLVL=2
""")
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen(
            [program, "-D", "-e", "-f", folder / "sshd_config"], stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        _wait_for(port, server, folder / "sshd.log")
        yield {
            "ansible_host": "127.0.0.1",
            "ansible_port": port,
            "ansible_ssh_private_key_file": str(folder / "key"),
            "ansible_ssh_common_args": f"-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known_hosts",
        }
    finally:
        connections = _children(server.pid)
        server.terminate()
        server.wait(10)
        for pid in connections:  # with them end the clients' shared connections, which would stay for minutes
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_for(port: int, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"sshd does not listen: {log.read_text()}")

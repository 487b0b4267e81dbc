"""templates/redis.conf.j2, read back by a real Redis; and roles/redis's module against that Redis."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time

import pytest
from celeryhost.project.rendering import render
from celeryhost.states import redis_server as module

SERVER = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(not SERVER, reason="no redis-server on PATH (apt-get install redis-server)")


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def start(root, tmp_path, port):
    """Start Redis with a file; returns a connection. It is ended with the test, or at the next start."""
    running = []

    def start(config):
        stop()
        (tmp_path / "running.conf").write_text(config)
        running.append(subprocess.Popen([SERVER, tmp_path / "running.conf"], stdout=subprocess.DEVNULL))
        end = time.monotonic() + 20
        while not (connection := module.connect("127.0.0.1", [port])):
            assert running[-1].poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.02)
        return connection

    def stop():
        for process in running:
            process.kill()
            process.wait()
        running.clear()

    yield start
    stop()


@pytest.fixture
def package(tmp_path, port):
    """Like the package's redis.conf: snapshots only."""
    return f"bind 127.0.0.1\nport {port}\ndir {tmp_path}\nlogfile {tmp_path}/log\nsave 3600 1\nappendonly no\n"


@pytest.fixture
def config(root, tmp_path, package, port):
    """The rendered file, its includes in this folder."""

    def config(shared=False):
        (tmp_path / "redis.conf").write_text(package)
        (tmp_path / "celeryhost-password.conf").write_text('requirepass "se\\"cret"\n')
        return render(
            str(root / "templates"),
            "redis.conf.j2",
            redis_is_shared=shared,
            redis_includes=[f"{tmp_path}/redis.conf", f"{tmp_path}/celeryhost-password.conf"],
            redis_bind="127.0.0.1",
            redis_port=port,
            redis_maxmemory="64mb",
        )

    return config


WANTED = {
    "maxmemory": "64mb",
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
}


def params(requirepass="", **settings):
    return {"settings": settings, "requirepass": requirepass, "timeout": 20}


def test_redis_reads_it_as_meant(start, config):
    redis = start(config())
    assert module.log_in(redis, ["wrong", 'se"cret']) == 'se"cret'
    assert redis.config(*WANTED) == WANTED | {"maxmemory": str(64 << 20)}


def test_shared_only_becomes_durable(start, config):
    redis = start(config(shared=True))
    assert module.log_in(redis, []) == ""
    assert redis.config("maxmemory", "appendonly") == {"maxmemory": "0", "appendonly": "yes"}


def test_without_the_password_it_refuses(start, config):
    redis = start(config())
    assert module.log_in(redis, ["wrong"]) is None
    with pytest.raises(module.Refused, match="NOAUTH"):
        redis("DBSIZE")


def test_data_of_a_server_with_snapshots_live_on(start, config, package):
    """Started with `appendonly yes` next to a dump.rdb alone, Redis would be empty."""
    redis = start(package)
    for number in range(100):
        redis("SET", f"key:{number}", "x" * 1000)
    redis("SAVE")
    assert module.apply(redis, params('se"cret', **WANTED), check=False)["changed"]
    redis = start(config())
    module.log_in(redis, ['se"cret'])
    assert redis("DBSIZE") == "100"


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a small disk, and what fills it."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=False).returncode:
        pytest.skip("only root may mount")

    def fill():
        with contextlib.suppress(OSError), (place / "filler").open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()

    yield place, fill
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_not_taken_for_a_password_and_does_not_hinder_the_stop(
    start, config, package, full_disk, tmp_path, port
):
    place, fill = full_disk
    package = package.replace(f"dir {tmp_path}\n", f"dir {place}\n")
    redis = start(package)
    (tmp_path / "redis.conf").write_text(package)
    assert module.apply(redis, params('se"cret', **WANTED), check=False)["changed"]
    redis = start(config().replace(f"include {tmp_path}/redis.conf", f"include {tmp_path}/redis.conf\ndir {place}"))
    module.log_in(redis, ['se"cret'])
    fill()
    with pytest.raises(module.Refused, match="MISCONF Errors writing to the AOF file"):
        for number in range(1000):
            redis("SET", number, "x" * 4096)
            time.sleep(0.01)
    again = module.Redis("127.0.0.1", port)
    assert module.log_in(again, ['se"cret']) == 'se"cret'
    assert "AOF" in module.misconf(again)
    with pytest.raises(OSError):
        again("SHUTDOWN")  # as on SIGTERM; it answers only when it stays
        again("PING")


def test_one_that_cannot_save_snapshots_writes_again_when_they_are_switched_off(start, package, tmp_path):
    redis = start(package)
    (tmp_path / "dump.rdb").mkdir()
    redis("BGSAVE")
    module.wait(redis, lambda state: state.get("rdb_last_bgsave_status") == "ok", 20)
    assert module.log_in(redis, []) == ""
    assert "RDB" in module.misconf(redis)
    module.apply(redis, params(**WANTED), check=False)
    assert module.misconf(redis) == ""


def test_second_time_changes_nothing(start, package):
    redis = start(package)
    assert module.apply(redis, params(**WANTED), check=False)["changed"]
    assert not module.apply(redis, params(**WANTED), check=False)["changed"]


def test_check_mode_changes_nothing_and_shows_no_password(start, package):
    redis = start(package)
    result = module.apply(redis, params("hidden", **WANTED), check=True)
    assert result["changed"]
    assert "appendonly yes\n" in result["diff"]["after"]
    assert "hidden" not in str(result)
    assert redis.config("appendonly") == {"appendonly": "no"}


def test_less_memory_than_data_is_refused(start, package):
    redis = start(package)
    with pytest.raises(module.Refused, match="redis_maxmemory: 1kb is less than"):
        module.apply(redis, params(maxmemory="1kb"), check=False)


def test_look_counts_keys_and_other_clients(start, package, port):
    redis = start(package)
    redis("SET", "a", "b")
    other = module.Redis("127.0.0.1", port)
    other("PING")
    found = module.look(redis)
    assert (found["keys"], found["clients"]) == (1, 1)
    assert found["version"].count(".") == 2


def test_what_is_no_redis_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = module.Redis("127.0.0.1", server.getsockname()[1])
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"HTTP/1.0 400 Bad Request\r\n")
            with pytest.raises(OSError, match="no Redis"):
                client("PING")


@pytest.mark.parametrize(("text", "size"), [("100", 100), ("1k", 1000), ("1kb", 1024), ("64mb", 64 << 20)])
def test_sizes_are_redis_own(text, size):
    assert module.amount(text) == size

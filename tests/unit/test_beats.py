"""Which processes of a machine are one app's beat, with processes in the place of beats."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from celeryhost.checks import beat
from celeryhost.checks.host import processes

URL = "redis://:a@localhost:6379/0"
OTHER_PIDS = ["unshare", "--pid", "--fork", "--kill-child"]


@pytest.fixture
def start(tmp_path):
    (tmp_path / "celery").write_text("import time\ntime.sleep(60)\n")
    begun = []

    def start(url, *before):
        words = [*before, sys.executable, str(tmp_path / "celery"), "-A", "shop", "beat"]
        environment = os.environ | ({"CELERY_BROKER_URL": url} if url else {})
        begun.append(subprocess.Popen(words, cwd=tmp_path, env=environment))

    yield start
    for process in begun:
        process.kill()
        process.wait()


def found(folder, count):
    program = SimpleNamespace(directory=str(folder), environment={"CELERY_BROKER_URL": URL})
    part = SimpleNamespace(words=["-A", "shop", "beat"], program=program)
    there = lambda: {pid: words for pid, words in processes().items() if str(folder / "celery") in words[1:2]}  # noqa: E731
    for _ in range(200):
        if len(there()) == count:
            break
        time.sleep(0.05)
    assert len(there()) == count
    return len(beat.running(part, there()))


def test_a_beat_for_another_broker_is_another(start, tmp_path):
    start(URL)
    start("redis://:b@127.0.0.1/0")
    start("redis://localhost/1")
    assert found(tmp_path, 3) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")
def test_of_another_container_a_beat_counts_that_sends_to_the_same_broker(start, tmp_path):
    start(None)
    start(None, *OTHER_PIDS)
    start(URL, *OTHER_PIDS)
    start(URL, *OTHER_PIDS, "--net")
    assert found(tmp_path, 4) == 2

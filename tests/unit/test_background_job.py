"""Jobs in the background: how one is begun, and the wait for its result."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time

import pytest
from celeryhost.errors import Failure
from celeryhost.states import background_job

BEGUN = {"started": True, "finished": False, "ansible_job_id": "j1"}


@pytest.fixture
def job(tmp_path):
    return tmp_path / "j1"


def wait(job, seconds):
    return background_job.bring({"path": str(job), "seconds": seconds}, check=False)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ({"changed": True, "rc": 0}, {"changed": True, "rc": 0}),
        ({"failed": True, "msg": "no space"}, {"changed": False, "failed": True, "msg": "no space"}),
        (BEGUN | {"finished": True, "failed": True}, BEGUN | {"changed": False, "failed": True}),
    ],
)
def test_result_can_be_read_again(job, text, result):
    job.write_text(json.dumps(text))
    for _ in range(2):  # its first answer may be lost with the connection
        assert wait(job, 5) == result | {"finished": True}


@pytest.mark.parametrize("text", ["", '{"chan', json.dumps(BEGUN)])
def test_what_has_not_ended_stays(job, text):
    job.write_text(text)
    assert wait(job, 0) == {"changed": False, "finished": False}


def test_a_job_without_a_file_is_no_more(job):
    with pytest.raises(Failure, match="is gone"):
        wait(job, 0)


def test_it_waits_for_the_end(job):
    job.write_text(json.dumps(BEGUN))
    threading.Timer(0.3, job.write_text, [json.dumps({"changed": False, "rc": 100})]).start()
    assert wait(job, 30)["rc"] == 100


@pytest.fixture
def begin(tmp_path, monkeypatch):
    monkeypatch.setattr(background_job, "FOLDER", str(tmp_path))
    return background_job.begin


def test_a_job_goes_on_by_itself(begin, tmp_path):
    def work():
        time.sleep(1)
        return {"changed": True, "session": os.getsid(0), "input": os.read(0, 1).decode()}

    said = begin(work, 60)
    assert (said["started"], said["finished"]) == (True, False)
    assert said["results_file"].startswith(str(tmp_path))
    assert os.stat(said["results_file"]).st_mode & 0o777 == 0o600
    assert not background_job.bring({"path": said["results_file"], "seconds": 0}, check=False)["finished"]
    result = background_job.bring({"path": said["results_file"], "seconds": 30}, check=False)
    assert (result["changed"], result["input"]) == (True, "")
    assert result["session"] != os.getsid(0), "a connection that ends takes its session along"
    assert os.stat(said["results_file"]).st_mode & 0o777 == 0o600


def test_a_job_is_ended_with_what_it_has_started(begin, tmp_path):
    def work():
        try:
            subprocess.run(["sh", "-c", f"sleep 1000 & echo $! >{tmp_path}/pid; wait"])
        except Exception:  # as the work may have it
            return {"changed": False}

    job = begin(work, 1)["results_file"]
    result = background_job.bring({"path": job, "seconds": 30}, check=False)
    assert (result["failed"], result["msg"]) == (True, "not done after 1 s, and ended")
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}"):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_old_results_go(begin, tmp_path):
    for name, age in (("celeryhost-old.job", 90_000), ("celeryhost-new.job", 80_000), ("other.job", 90_000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    job = begin(dict, 60)["results_file"]
    assert {path.name for path in tmp_path.glob("*.job")} == {"celeryhost-new.job", "other.job", os.path.basename(job)}

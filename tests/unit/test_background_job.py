"""The wait for what Ansible does in the background."""

from __future__ import annotations

import json
import threading

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

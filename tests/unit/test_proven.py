"""What counts as seen to work: beats that send tasks, by their logs, and tasks that have come back."""

from __future__ import annotations

import threading

import pytest
from celeryhost.errors import UNPROVEN, Failure
from celeryhost.states import proven

START = "[2026-01-01 12:00:00,000: INFO/MainProcess] beat: Starting...\n"
SENT = "[2026-01-01 12:00:03,000: INFO/MainProcess] Scheduler: Sending due task check (app.check)\n"


@pytest.mark.parametrize(
    ("text", "fired"),
    [
        (START + SENT.replace("03", "02") + SENT, SENT),
        (START + SENT + START, ""),  # of the beat before
        (START + "\udc80\n" + SENT + "more\n", SENT),
        ("", ""),
    ],
)
def test_the_last_task_of_this_beat(tmp_path, text, fired):
    (tmp_path / "beat.log").write_text(text, errors="surrogateescape")
    assert proven.last_sending(tmp_path / "beat.log") == fired.rstrip("\n")


def test_it_waits_for_all(tmp_path):
    logs = {"one": str(tmp_path / "one"), "two": str(tmp_path / "two")}
    (tmp_path / "one").write_text(START + SENT)
    config = tmp_path / "supervisord.conf"  # of none that runs: this machine may have one of its own
    config.write_text(f"[supervisorctl]\nserverurl=unix://{tmp_path}/none\n")
    known = {"path": str(tmp_path / "proven"), "key": "one", "config": str(config)}
    known |= {"pids": {}, "tasks": {}, "logs": logs}
    found = proven.bring(known | {"seconds": 0}, check=False)
    assert found == {"changed": False, "fired": {"one": SENT.rstrip("\n")}}
    threading.Timer(0.3, (tmp_path / "two").write_text, [START + SENT]).start()
    assert len(proven.bring(known | {"seconds": 30}, check=False)["fired"]) == 2
    assert proven.noted(known["path"]) == "one"
    proven.forget(known["path"])
    tasks = {"mysite": {"rc": 1, "stdout": "", "stderr": "mysite-worker: no answer\n"}}
    with pytest.raises(Failure, match=r"^mysite-worker: no answer$") as failure:
        proven.bring(known | {"tasks": tasks, "seconds": 0}, check=False)
    assert (failure.value.code, proven.noted(known["path"])) == (UNPROVEN, "")

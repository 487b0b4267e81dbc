"""Whether beats send tasks, by their logs."""

from __future__ import annotations

import threading

import pytest
from celeryhost.states import beat_firing

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
    assert beat_firing.last_sending(tmp_path / "beat.log") == fired.rstrip("\n")


def test_it_waits_for_all(tmp_path):
    logs = {"one": str(tmp_path / "one"), "two": str(tmp_path / "two")}
    (tmp_path / "one").write_text(START + SENT)
    found = beat_firing.bring({"logs": logs, "seconds": 0}, check=False)
    assert found == {"changed": False, "fired": {"one": SENT.rstrip("\n")}}
    threading.Timer(0.3, (tmp_path / "two").write_text, [START + SENT]).start()
    assert len(beat_firing.bring({"logs": logs, "seconds": 30}, check=False)["fired"]) == 2

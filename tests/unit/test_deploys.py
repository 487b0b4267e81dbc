"""What the watchdog tells of runs that change a host."""

from __future__ import annotations

import json

from celeryhost.watchdog.deploys import Deploys


def line(event="end", **more):
    known = {"id": "1", "time": 1.0, "command": "provision", "user": "min@laptop", "seconds": 41.6, "changed": True}
    return json.dumps({"event": event, "outcome": "ok", **known, **more}) + "\n"


def test_what_has_ended_since_and_changed_something_or_failed(tmp_path):
    log = tmp_path / "audit.log"
    log.write_text(line())
    deploys = Deploys(str(log))
    assert deploys.look() == [], "what was there before has been told"
    with log.open("a") as file:
        file.write(line("begin") + line() + line(changed=False) + line(outcome="refused") + line(command="restart"))
        file.write(line(outcome="failed") + line(outcome="interrupted") + line(command="rollback") + "{]\n[]\n")
        file.write(line(command="deploy")[:-9])
    assert deploys.look() == [
        ("deployed", "provision of min@laptop: ok after 42 s"),
        ("failed", "provision of min@laptop: failed after 42 s"),
        ("failed", "provision of min@laptop: interrupted after 42 s"),
        ("rolled-back", "rollback of min@laptop: ok after 42 s"),
    ]
    assert deploys.look() == [], "a line that is not whole waits"
    with log.open("a") as file:
        file.write(line(command="deploy")[-9:])
    assert deploys.look() == [("deployed", "deploy of min@laptop: ok after 42 s")]


def test_a_log_that_was_rotated_or_is_not_there(tmp_path):
    log = tmp_path / "audit.log"
    deploys = Deploys(str(log))
    assert deploys.look() == []
    log.write_text(line())
    assert len(deploys.look()) == 1
    log.rename(tmp_path / "audit.log.1")
    assert deploys.look() == []
    log.write_text(line())
    assert len(deploys.look()) == 1

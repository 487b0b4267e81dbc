"""What the watchdog decides, from what it sees."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from celeryhost import apps
from celeryhost.celery.remote_control import Keys
from celeryhost.errors import Failure
from celeryhost.watchdog.decisions import HOUR, Broker, Program, Rules, Sight, Watch

URL = "redis://:secret@localhost:6379/0"
RULES = Rules()


class Story:
    """A worker, a beat and their broker, look by look."""

    def __init__(self):
        self.watch = Watch([Program("w", "worker", URL, grace=300), Program("b", "beat", URL)])
        self.now = 1000.0
        self.sights = {"w": Sight("RUNNING", 10, forked=True, wakeups=1), "b": Sight("RUNNING", 20, wakeups=1)}
        self.answers, self.total, self.waiting, self.unacked = True, 0, 0, 0
        self.away = False
        self.ticking = True
        self.actions = []

    def see(self, name, **changes):
        self.sights[name] = self.sights[name]._replace(**changes)
        return self

    def go(self, seconds, tasks=0, step=RULES.period):
        """Look until `seconds` have passed, with `tasks` more in the queue each time; the actions of that time."""
        actions = []
        for _ in range(int(seconds / step)):
            self.now += step
            self.waiting += tasks
            if self.ticking:
                self.see("b", wakeups=self.sights["b"].wakeups + 1)
            totals = {"w": self.total} if self.answers else {}
            broker = Broker({"w"} if self.answers else set(), totals, {"w": self.waiting}, self.unacked)
            found = self.watch.decide(self.now, self.sights, {URL: None if self.away else broker})
            actions += [(action.kind, action.program) for action in found]
        return actions


@pytest.fixture
def story():
    told = Story()
    assert told.go(120) == []
    return told


RESTART = {kind: [(kind, "w"), ("end", "w")] for kind in ("frozen", "silent", "unread")}


def test_seen_within_90_seconds(story):
    assert story.see("w", frozen="its main process").go(75) == RESTART["frozen"]


def test_silent_while_its_queue_grows(story):
    story.answers = False
    assert story.go(90, tasks=1) == RESTART["silent"]


def test_silent_with_an_empty_queue_is_harmless(story):
    story.answers = False
    assert story.go(600) == []
    assert story.go(45, tasks=1) == RESTART["silent"]


def test_silent_while_others_empty_its_queue(story):
    story.answers, story.waiting = False, 1000
    assert story.go(600, tasks=-1) == []


def test_answers_and_does_not_consume(story):
    assert story.go(90, tasks=1) == RESTART["unread"]


@pytest.mark.parametrize("sign", ["unacked", "total"])
def test_busy_with_long_tasks(story, sign):
    for _ in range(40):
        setattr(story, sign, getattr(story, sign) + 1)
        assert story.go(15, tasks=1) == []


def test_a_pool_that_answers_only_between_tasks(story):
    story.see("w", pid=11, forked=False).answers = False
    assert story.go(600, tasks=1) == []
    assert story.see("w", frozen="its main process").go(60) == RESTART["frozen"]


def test_never_heard_is_noted_once():
    story = Story()
    story.answers = False
    assert story.go(1200, tasks=1) == [("note", "w")]


def test_a_new_process_has_time_to_start(story):
    story.see("w", pid=11).answers = False
    assert story.go(RULES.start + RULES.silent - 15, tasks=1) == []
    assert story.go(30, tasks=1) == RESTART["silent"]


def test_late_beat(story):
    story.ticking = False
    assert story.go(30 + RULES.margin - 15) == []
    assert story.go(15) == [("late", "b"), ("end", "b")]
    assert story.go(15) == [("kill", "b")]


def test_a_beat_that_waits_for_its_turn(story):
    story.ticking = False
    assert story.see("b", wakeups=None).go(3600) == []


def test_nobody_is_blamed_while_redis_is_away(story):
    story.away, story.answers, story.ticking = True, False, False
    story.see("w", frozen="its main process")
    assert story.go(3600, tasks=1) == [("away", "")]
    story.away, story.answers, story.ticking, story.waiting = False, True, True, 0
    assert story.see("w", frozen="").go(600) == [("recovered", "")]


def test_time_to_come_back_after_redis(story):
    story.away, story.answers = True, False
    story.go(30)
    story.away = False
    assert story.go(RULES.silent - 15, tasks=1) == []


def test_a_watchdog_that_slept_blames_nobody(story):
    story.answers, story.ticking = False, False
    story.now += 3600
    assert story.go(30, tasks=1) == []


def test_killed_when_its_grace_is_over_and_only_then(story):
    assert story.see("w", frozen="its main process").go(45) == RESTART["frozen"]
    story.see("w", frozen="")
    assert story.go(285) == []
    assert story.go(15) == [("kill", "w")]
    assert story.see("w", pid=12).go(60) == [("recovered", "w")]


def test_stopped_by_hand_stays_so(story):
    story.see("w", state="STOPPED", pid=0).see("b", state="STOPPED", pid=0)
    assert story.go(3600) == []
    story.see("w", state="FATAL").go(15)
    assert story.see("w", state="STOPPED").go(3600) == []


def test_restarts_are_bounded(story):
    """A worker that freezes whenever it runs: four restarts in an hour, further and further apart, told once."""
    moments = []
    told = []
    for _ in range(int(HOUR / 15)):
        found = story.see("w", frozen="its main process").go(15)
        told += found
        if ("end", "w") in found:
            moments.append(story.now)
            story.see("w", pid=story.sights["w"].pid + 1)
    gaps = [after - before for before, after in pairwise(moments)]
    assert len(moments) == RULES.per_hour
    assert gaps[0] >= 60
    assert gaps[1] >= 120
    assert gaps[2] >= 240
    assert told.count(("bound", "w")) <= len(moments)
    assert told[-1] == ("bound", "w")


def test_fatal_is_told_once_and_started_within_bounds(story):
    told = story.see("w", state="FATAL", pid=0, spawnerr="Exited too quickly").go(HOUR)
    assert told == [("fatal", "w")] + [("start", "w")] * RULES.per_hour
    assert story.see("w", state="RUNNING", pid=13).go(60) == [("recovered", "w")]


def test_fatal_waits_for_redis(story):
    story.away = True
    told = story.see("w", state="FATAL", pid=0).go(HOUR)
    assert sorted(told) == [("away", ""), ("fatal", "w")]


def test_what_ends_over_and_over_is_told_once(story):
    """RUNNING at each look, as another process each time, or in BACKOFF at some."""
    for pid in (31, 32):
        assert story.see("w", pid=pid).go(15) == []
    assert story.see("w", state="BACKOFF", pid=0, spawnerr="Exited too quickly").go(15) == [("loop", "w")]
    for pid in range(33, 40):
        assert story.see("w", state="RUNNING", pid=pid).go(15) == []
    assert story.go(45) == []
    assert story.go(30) == [("recovered", "w")]


def test_a_few_restarts_are_no_loop(story):
    for pid in (31, 32):
        assert story.see("w", pid=pid).go(15) == []
    assert story.see("w", state="STOPPED", pid=0).go(15) == []
    for pid in range(33, 40):
        assert story.see("w", state="RUNNING", pid=pid).go(90) == []


def test_restarts_by_a_person_are_no_loop(story):
    """Each between two looks, so that only supervisord's event tells it from a process that ended by itself."""
    for pid in range(31, 40):
        story.watch.stopped("w", story.now + 1)
        assert story.see("w", pid=pid).go(15) == []
    for pid in (41, 42):
        assert story.see("w", pid=pid).go(15) == []
    assert story.see("w", pid=43).go(15) == [("loop", "w")]
    story.watch.stopped("w", story.now + 1)
    assert story.see("w", pid=44).go(90) == []


def test_other_peoples_programs_are_only_told_of(story):
    story.sights["x"] = Sight("FATAL")
    assert story.go(HOUR) == [("fatal", "x")]
    assert story.see("x", state="RUNNING", pid=5).go(15) == [("recovered", "x")]


def test_description_for_a_host():
    described = apps.describe_all(
        [
            {"name": "one", "workers": [{"time_limit": 60}, {"name": "io", "arguments": ["-P", "threads"]}]},
            {"name": "two", "broker_database": 1, "beat": False, "programs": [{"name": "web", "command": "x"}]},
        ]
    )
    found = json.loads(apps.watchdog(described, URL, "mail -s 'my host' me", "https://hooks.example/x"))
    assert found["command"] == ["mail", "-s", "my host", "me"]
    known = {program["name"]: program for program in found["programs"]}
    assert {name: program["kind"] for name, program in known.items()} == {
        "one-worker": "worker",
        "one-worker-io": "worker",
        "one-beat": "beat",
        "two-worker": "worker",
        "two-web": "other",
    }
    assert known["one-worker"] == {
        "name": "one-worker",
        "kind": "worker",
        "broker": URL,
        "grace": 90,
        "threads": False,
    }
    assert known["one-worker-io"]["threads"]
    assert known["two-worker"]["broker"].endswith(":6379/1")
    assert all(Program(**program) for program in found["programs"])


@pytest.mark.parametrize(
    ("command", "webhook", "said"),
    [("mail 'me", "", "celery_watchdog_command"), ("", "hooks.example/token", "celery_watchdog_webhook")],
)
def test_what_cannot_be_told_by(command, webhook, said):
    with pytest.raises(Failure) as raised:
        apps.watchdog([], URL, command, webhook)
    assert said in str(raised.value)
    assert "token" not in str(raised.value)


def test_how_a_project_names_the_keys_of_its_broker_reaches_the_watchdog_and_no_secret_does():
    described = apps.describe_all([{"name": "one", "workers": [{}, {"name": "slow", "time_limit": 7200}]}])
    own = {"global_keyprefix": "it's:", "priority_steps": [0, 5], "sep": "|", "unacked_key": "taken", "password": "x"}
    found = json.loads(apps.watchdog(apps.merged(described, [{"transport_options": own}]), URL))
    assert [program["kind"] for program in found["programs"]] == ["worker", "worker", "beat"]
    [transport] = {program["transport"] for program in found["programs"]}
    assert "password" not in transport
    keys = Keys(transport)
    assert keys.lists("celery") == ["it's:celery", "it's:celery|5"]
    assert (keys.unacked, keys.channel("3")) == ("it's:taken", "it's:/3.celery.pidbox")


@pytest.mark.parametrize(
    "transport",
    ["", "{", "[]", "7", '{"sep": 7, "priority_steps": [], "fanout_prefix": null}', '{"priority_steps": [9, "x"]}'],
)
def test_names_of_keys_that_make_no_sense_are_the_usual(transport):
    keys = Keys(transport)
    assert keys.lists("celery") == ["celery", "celery\x06\x163", "celery\x06\x166", "celery\x06\x169"]
    assert (keys.unacked, keys.channel("3")) == ("unacked", "/3.celery.pidbox")

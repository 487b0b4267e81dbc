"""Our configuration through the faults that are over soon: nothing is lost or waits, and no process is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from celeryhost.celery import active
from celeryhost.celery.remote_control import Mailbox, lengths, told
from celeryhost.scripts.inside import celeryhost_worker

from tests.integration.conftest import wait_for

from .disk import Disk
from .rows import (
    QUIET,
    READY,
    SHORT,
    blocked,
    end_redis,
    idle,
    kill_main,
    kill_one_of_two,
    listens,
    measure,
    under_load,
)
from .stack import CONCURRENCY, OURS, REDIS, Count, Stack

# The worker has just asked whether it is to stop, and a process has been handed a task, when TERM comes.
TERM_WHEN_ASKED = """
from celery.signals import worker_ready
from celery.worker import state

class State(type(state)):
    @property
    def should_stop(self):
        asked = vars(self)["should_stop"]
        if asked is None and any(job._scheduled_for and not job._accepted for job in jobs.values()):
            os.kill(os.getpid(), signal.SIGTERM)
        return asked

    @should_stop.setter
    def should_stop(self, value):
        vars(self)["should_stop"] = value

@worker_ready.connect
def begin(sender, **_):
    global jobs
    jobs = sender.pool._pool._cache
    state.__class__ = State
"""

# Tasks count as short on a busy machine, too, and what is taken ahead is put back by no timer.
HOLDS = """
import celeryhost_worker
celeryhost_worker.SHORT, celeryhost_worker.TRUST, celeryhost_worker.HOLD = 60, 8, 600
"""

pytestmark = pytest.mark.skipif(not REDIS, reason="no redis-server on PATH (apt-get install redis-server)")


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.name)
def test_nothing_is_lost(row):
    count = row.run(OURS).count
    assert (count.lost, count.waiting, count.orphans) == (0, 0, 0)
    assert row.kills or (count.killed, count.twice) == (0, 0)


def test_what_one_of_two_workers_had_begun_is_given_back_and_nothing_of_the_other():
    count = under_load(kill_one_of_two, 16, 4, workers=2)(OURS).count
    assert (count.lost, count.waiting, count.twice) == (0, 0, 0)
    assert count.killed > 0


def test_a_task_that_redis_has_handed_to_a_worker_that_never_heard_of_it_is_not_lost():
    with Stack(OURS) as stack:
        main = idle(stack)
        os.kill(main, signal.SIGSTOP)
        sent = stack.send(1, 0)
        stack.broker.execute_command("CLIENT PAUSE", READY * 1000, "WRITE")
        os.kill(main, signal.SIGCONT)
        wait_for(lambda: "evalsha" in blocked(stack))
        os.kill(main, signal.SIGSTOP)
        stack.broker.execute_command("CLIENT UNPAUSE")
        wait_for(lambda: stack.broker.hlen("unacked"))
        os.kill(main, signal.SIGKILL)
        stack.settle(sent, QUIET[OURS])
        assert len(stack.notes("ended")) == 2
        assert stack.count(sent).waiting == 0


def test_a_task_whose_handing_over_is_lost_with_the_connection_is_given_back():
    with Stack(OURS) as stack:
        idle(stack)
        stack.sender.send_task("ledger.work", [0], task_id="aside", queue="aside")
        [worker] = {client["name"] for client in stack.broker.client_list() if client["name"].startswith("celeryhost:")}
        message = json.loads(stack.broker.rpop("aside")) | {"celeryhost": worker}
        tag = message["properties"]["delivery_tag"]
        stack.broker.zadd("unacked_index", {tag: time.time()})
        stack.broker.hset("unacked", tag, json.dumps([message, "", "celery"]))
        stack.broker.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        stack.settle(["aside"], QUIET[OURS])
        assert stack.count(["aside"]) == (0, 0, 0, 0, 0)


def test_a_stop_waits_until_a_task_that_a_process_has_been_handed_has_begun():
    with Stack(OURS) as stack:
        main = idle(stack)
        children = [pid for pid, parent in stack.processes().items() if parent == main]
        for child in children:
            os.kill(child, signal.SIGSTOP)
        sent = stack.send(1, 0)
        wait_for(lambda: f"{sent[0]}] received" in Path(stack.logs[0]).read_text(), READY)
        os.kill(main, signal.SIGTERM)
        wait_for(lambda: "stops as soon as" in Path(stack.logs[0]).read_text())
        for child in children:
            os.kill(child, signal.SIGCONT)
        wait_for(lambda: stack.daemon.pid("ledger-worker") not in (0, main), READY)
        wait_for(lambda: listens(stack) and not stack.broker.exists("unacked"), READY)
        assert [note.event for note in stack.notes() if note.id in sent] == ["started", "ended"]


def test_a_stop_that_comes_just_when_the_worker_has_asked_for_it_waits_likewise():
    stack = Stack(OURS)
    with (stack.folder / "ledger.py").open("a") as app:
        app.write(TERM_WHEN_ASKED)
    with stack:
        main = stack.daemon.pid("ledger-worker")
        sent = stack.send(1, 0)
        wait_for(lambda: stack.daemon.pid("ledger-worker") not in (0, main), READY)
        wait_for(lambda: listens(stack) and not stack.broker.exists("unacked"), READY)
        assert [note.event for note in stack.notes() if note.id in sent] == ["started", "ended"]


def test_a_worker_that_waits_takes_up_its_work_when_redis_is_back_and_logs_no_error_of_its_own():
    with Stack(OURS) as stack:
        idle(stack)
        end_redis(signal.SIGKILL)(stack)
        sent = stack.send(1, 0)
        stack.settle(sent, QUIET[OURS])
        assert stack.count(sent).lost == stack.count(sent).waiting == 0
        assert "Error on" not in Path(stack.logs[0]).read_text()


# Each says where or how kombu keeps what is not acknowledged, or which lists a queue is.
TRANSPORTS = {
    "prefix": {"global_keyprefix": "shop:"},
    "names": {"unacked_key": "taken", "unacked_index_key": "taken_index", "sep": "|"},
    "steps": {"priority_steps": [0, 5], "queue_order_strategy": "sorted"},
    "fanout": {"fanout_prefix": False, "fanout_patterns": False, "queue_order_strategy": "priority"},
}


def answered(mailbox: Mailbox) -> bool:
    """Whether a worker has answered the watchdog's question, within a second."""
    mailbox.look(set())
    time.sleep(1)
    seen = mailbox.look(set())
    return bool(seen and seen.answered)


@pytest.mark.parametrize("transport", TRANSPORTS.values(), ids=TRANSPORTS)
def test_what_a_worker_had_begun_is_given_back_whatever_the_transport_is_told(transport):
    with Stack(OURS, transport=transport) as stack:
        naming = told(transport)
        # Not at once: a program that has just been started has supervisord's environment until it is the worker.
        wait_for(lambda: active.transport(stack.daemon.pid("ledger-worker")) == naming, READY)
        mailbox = Mailbox(stack.url, {f"ledger-worker@{socket.gethostname()}": "ledger-worker"}, "me", naming)
        wait_for(lambda: answered(mailbox), READY)
        stack.sender.send_task("ledger.work", [0], queue="aside")
        assert lengths(stack.url, ["aside"], naming) == {"aside": 1}
        count = measure(stack, kill_main, 12, 2, "parent").count
    assert (count.lost, count.waiting, count.twice) == (0, 0, 0)
    assert count.killed > 0


def test_what_is_no_message_hinders_no_give_back():
    with Stack(OURS) as stack:
        main = idle(stack)
        sent = stack.send(4, 5)
        wait_for(lambda: len(stack.notes("started")) == 5, READY)
        planted = ["x", "[]", "[7]", '[{"celeryhost": 7}]', '[{"celeryhost": "a:b:../../.."}]', '["celeryhost"]']
        for number, text in enumerate(planted):
            stack.broker.hset("unacked", f"planted-{number}", text)
        stack.broker.lpush("celery", "no message", "7", "{}")
        os.kill(main, signal.SIGKILL)
        stack.settle(sent, QUIET[OURS])
        assert stack.count(sent)[:3] == (0, 0, 0)


# How Redis is brought to refuse every write, and to take them again.
REFUSALS = {
    "NOREPLICAS": [("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")],
    "OOM": [("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")],
    "READONLY": [("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")],
}


@pytest.mark.parametrize("refuse, permit", REFUSALS.values(), ids=REFUSALS)
def test_a_worker_outlives_that_redis_refuses_to_write(refuse, permit):
    with Stack(OURS) as stack:
        main = idle(stack)
        sent = stack.send(8, 2)
        wait_for(lambda: len(stack.notes("started")) > 4, READY)
        stack.broker.execute_command(*refuse)
        wait_for(lambda: "refuses to write" in Path(stack.logs[0]).read_text(), READY)
        stack.broker.execute_command(*permit)
        stack.settle(sent, QUIET[OURS])
        assert stack.count(sent) == (0, 0, 0, 0, 0)
        assert stack.daemon.pid("ledger-worker") == main


def test_a_worker_that_starts_while_redis_refuses_to_write_waits():
    with Stack(OURS) as stack:
        idle(stack)
        sent = stack.send(1, 0)
        wait_for(lambda: len(stack.notes("ended")) == 2 and not stack.broker.exists("unacked"), READY)
        refuse, permit = REFUSALS["NOREPLICAS"]
        stack.broker.execute_command(*refuse)
        stack.restart()
        main = stack.daemon.pid("ledger-worker")
        wait_for(lambda: "waits for Redis" in Path(stack.logs[0]).read_text().rpartition("Warm shutdown")[2], READY)
        stack.broker.execute_command(*permit)
        sent += stack.send(1, 0)
        stack.settle(sent, QUIET[OURS])
        assert stack.count(sent) == (0, 0, 0, 0, 0)
        assert stack.daemon.pid("ledger-worker") == main


def holding(more: str = "") -> Stack:
    """A Stack whose worker trusts in short tasks after a few."""
    stack = Stack(OURS)
    with (stack.folder / "ledger.py").open("a") as app:
        app.write(HOLDS + more)
    return stack


def holds(stack: Stack) -> bool:
    """Whether the worker has more than its processes can be at."""
    return stack.broker.hlen("unacked") > CONCURRENCY


def end_what_holds(stack: Stack, how: signal.Signals) -> Count:
    """End the worker's main process in a moment in which it holds something; what became of the tasks."""
    main = idle(stack)
    sent = stack.send(300, 0.05)
    wait_for(lambda: holds(stack), READY)
    os.kill(main, how)
    stack.settle(sent, QUIET[OURS])
    assert stack.daemon.pid("ledger-worker") != main
    return stack.count(sent)


def test_what_is_taken_ahead_is_put_back_at_a_stop():
    with holding() as stack:
        assert end_what_holds(stack, signal.SIGTERM) == (0, 0, 0, 0, 0)
        assert "gave back" not in Path(stack.logs[0]).read_text()


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL])
def test_what_is_taken_ahead_is_given_back_after_a_kill(how):
    with holding() as stack:
        count = end_what_holds(stack, how)
        assert (count.lost, count.waiting, count.orphans) == (0, 0, 0)


def test_what_is_taken_ahead_outlives_redis():
    with holding() as stack:
        idle(stack)
        sent = stack.send(300, 0.05)
        wait_for(lambda: holds(stack), READY)
        end_redis(signal.SIGKILL)(stack)
        stack.settle(sent, QUIET[OURS])
        assert stack.count(sent)[:2] == (0, 0)


def test_what_is_taken_ahead_is_put_back_as_it_was_when_tasks_turn_out_to_be_long():
    with holding("celeryhost_worker.HOLD = 0.5\n") as stack:
        idle(stack)
        sent = [*stack.send(100, 0.05), *stack.send(40, 30)]
        wait_for(lambda: holds(stack), READY)
        wait_for(lambda: {note.id for note in stack.notes("started")} >= {*sent[:104]}, READY)
        wait_for(lambda: not holds(stack))
        left = [json.loads(message) for message in stack.broker.lrange("celery", 0, -1)]
        assert [message["headers"]["id"] for message in reversed(left)] == sent[104:]
        assert not any("celeryhost" in message or "redelivered" in message["headers"] for message in left)


def test_what_is_taken_ahead_is_put_back_when_its_queue_is_not_consumed_any_more():
    with holding() as stack:
        idle(stack)
        sent = stack.send(300, 0.05)
        wait_for(lambda: holds(stack), READY)
        stack.sender.control.cancel_consumer("celery")
        wait_for(lambda: not stack.broker.exists("unacked"), READY)
        assert len(stack.notes("ended")) == 301 - stack.broker.llen("celery") < 301
        stack.sender.control.add_consumer("celery")
        stack.settle(sent, QUIET[OURS])
        assert stack.count(sent) == (0, 0, 0, 0, 0)


def test_what_redis_refuses_to_have_put_back_is_executed_once():
    with holding("celeryhost_worker.HOLD = 0.1\n") as stack:
        main = idle(stack)
        sent = stack.send(300, 0.05)
        wait_for(lambda: holds(stack), READY)
        os.kill(main, signal.SIGSTOP)
        refuse, permit = REFUSALS["NOREPLICAS"]
        stack.broker.execute_command(*refuse)
        os.kill(main, signal.SIGCONT)
        wait_for(lambda: "refuses to write" in Path(stack.logs[0]).read_text(), READY)
        stack.broker.execute_command(*permit)
        stack.settle(sent, QUIET[OURS])
        assert stack.count(sent) == (0, 0, 0, 0, 0)
        assert stack.daemon.pid("ledger-worker") == main


def test_nothing_is_taken_ahead_that_an_idle_worker_would_take_or_past_what_is_more_urgent():
    with contextlib.ExitStack() as undo:
        stack = Stack(OURS)
        undo.push(stack)
        stack.start_redis()
        keys = ["unacked_index", "unacked", "urgent", "other"]

        def take(most: int, ahead: int) -> list[bytes]:
            """The lists of what is taken when 3 are to be left."""
            taken = stack.broker.eval(celeryhost_worker.TAKE, len(keys), *keys, time.time(), "me", most, ahead, 3)
            return [key for key, *_ in taken]

        for queue, number in (("urgent", 2), ("other", 9)):
            for _ in range(number):
                stack.sender.send_task("ledger.work", [0], queue=queue)
        assert take(0, 4) == []
        assert take(1, 4) == [b"urgent"]
        assert take(1, 4) == [b"urgent", *[b"other"] * 4]
        assert take(0, 4) == [b"other"] * 2
        assert take(0, 4) == []
        assert take(4, 4) == [b"other"] * 3


def test_what_somebody_else_has_taken_meanwhile_is_not_put_back():
    with contextlib.ExitStack() as undo:
        stack = Stack(OURS)
        undo.push(stack)
        stack.start_redis()
        stack.sender.send_task("ledger.work", [0], task_id="one")
        keys = ["unacked_index", "unacked", "celery"]
        [[_, text, _]] = stack.broker.eval(celeryhost_worker.TAKE, 3, *keys, time.time(), "other", 1, 0, 0)
        [tag] = stack.broker.hkeys("unacked")
        for owner, left in (("me", 0), ("other", 1), ("other", 1)):
            stack.broker.eval(celeryhost_worker.PUT_BACK, 3, *keys, owner, tag, text)
            assert (stack.broker.llen("celery"), stack.broker.hlen("unacked")) == (left, 1 - left)


@pytest.mark.skipif(os.getuid() != 0 or not Path("/dev/fuse").exists(), reason="only root may mount, and wants FUSE")
def test_a_disk_that_loses_power_keeps_what_was_synced_and_no_more(tmp_path):
    place, image = tmp_path / "place", tmp_path / "image"
    place.mkdir()
    with Disk(tmp_path / "disk", 16 << 20) as disk:
        subprocess.run(["mkfs.ext4", "-q", "-F", disk.file], check=True)
        subprocess.run(["mount", "-o", "loop", disk.file, place], check=True)
        for name in ("synced", "only written"):
            with (place / name).open("w") as file:
                file.write(name)
                file.flush()
                if name == "synced":
                    os.fsync(file.fileno())
        disk.cut(image)
        subprocess.run(["umount", place], check=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        assert (place / "synced").read_text() == "synced"
        assert not (place / "only written").exists()
    finally:
        subprocess.run(["umount", place], check=True)

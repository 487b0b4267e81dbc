"""Our configuration through the faults that are over soon: nothing is lost or waits, and no process is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.integration.conftest import wait_for

from .rows import QUIET, READY, SHORT, blocked, idle, kill_one_of_two, listens, under_load
from .stack import OURS, REDIS, Stack

pytestmark = pytest.mark.skipif(not REDIS, reason="no redis-server on PATH (apt-get install redis-server)")


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.name)
def test_nothing_is_lost(row):
    count = row.run(OURS).count
    assert (count.lost, count.waiting, count.orphans) == (0, 0, 0)
    assert row.kills or (count.killed, count.twice) == (0, 0)


def test_what_one_of_two_workers_had_begun_is_given_back_and_nothing_of_the_other():
    count = under_load(kill_one_of_two, 16, 4, quiet=15, workers=2)(OURS).count
    assert (count.lost, count.waiting, count.twice) == (0, 0, 0)
    assert count.killed > 0


def test_a_task_that_redis_has_handed_to_a_worker_that_never_heard_of_it_is_not_lost():
    with Stack(OURS) as stack:
        main = idle(stack)
        os.kill(main, signal.SIGSTOP)
        sent = stack.send(1, 0)
        stack.broker.execute_command("CLIENT PAUSE", READY * 1000, "WRITE")
        os.kill(main, signal.SIGCONT)
        wait_for(lambda: "eval" in blocked(stack))
        os.kill(main, signal.SIGSTOP)
        stack.broker.execute_command("CLIENT UNPAUSE")
        wait_for(lambda: stack.broker.hlen("unacked"))
        os.kill(main, signal.SIGKILL)
        stack.settle(sent, QUIET)
        assert len(stack.notes("ended")) == 2
        assert stack.count(sent).waiting == 0


def test_a_stop_waits_until_a_task_that_a_process_has_been_handed_has_begun():
    with Stack(OURS) as stack:
        main = idle(stack)
        children = [pid for pid, parent in stack.processes().items() if parent == main]
        for child in children:
            os.kill(child, signal.SIGSTOP)
        sent = stack.send(1, 0)
        wait_for(lambda: stack.broker.exists("unacked") and listens(stack))
        os.kill(main, signal.SIGTERM)
        wait_for(lambda: "stops as soon as" in Path(stack.logs[0]).read_text())
        for child in children:
            os.kill(child, signal.SIGCONT)
        wait_for(lambda: stack.daemon.pid("ledger-worker") not in (0, main), READY)
        wait_for(lambda: listens(stack) and not stack.broker.exists("unacked"), READY)
        assert [note.event for note in stack.notes() if note.id in sent] == ["started", "ended"]

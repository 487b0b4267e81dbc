"""Our configuration through the faults that are over soon: nothing is lost or waits, and no process is left."""

from __future__ import annotations

import pytest

from .rows import SHORT, kill_one_of_two, under_load
from .stack import OURS, REDIS

pytestmark = pytest.mark.skipif(not REDIS, reason="no redis-server on PATH (apt-get install redis-server)")


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.name)
def test_nothing_is_lost(row):
    count = row.run(OURS).count
    assert (count.lost, count.waiting, count.orphans) == (0, 0, 0)
    assert row.kills or (count.killed, count.twice) == (0, 0)


def test_what_another_worker_may_be_at_work_on_is_not_given_back():
    count = under_load(kill_one_of_two, 16, 4, quiet=15, workers=2)(OURS).count
    assert (count.lost, count.twice) == (0, 0)
    assert count.waiting >= count.killed > 0

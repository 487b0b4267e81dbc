"""Our configuration through the faults that are over soon: nothing is lost or waits, and no process is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from .rows import SHORT, kill_one_of_two, under_load
from .stack import OURS, REDIS

pytestmark = pytest.mark.skipif(not REDIS, reason="no redis-server on PATH (apt-get install redis-server)")


@pytest.fixture(scope="module")
def results(request):
    """The Result of each chosen row, as a future."""
    items = [item for item in request.session.items if item.path == request.path and "row" in item.fixturenames]
    chosen = [item.callspec.params["row"] for item in items]
    with ThreadPoolExecutor(4) as pool:
        yield {row.name: pool.submit(row.run, OURS) for row in chosen}


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.name)
def test_nothing_is_lost(row, results):
    count = results[row.name].result().count
    assert (count.lost, count.waiting, count.orphans) == (0, 0, 0)
    assert row.kills or (count.killed, count.twice) == (0, 0)


def test_what_another_worker_may_be_at_work_on_is_not_given_back():
    count = under_load(kill_one_of_two, 16, 4, quiet=15, workers=2)(OURS).count
    assert (count.lost, count.twice) == (0, 0)
    assert count.waiting >= count.killed > 0

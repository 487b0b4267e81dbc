"""Our configuration through the faults that are over soon: nothing is lost or waits, and no process is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from .rows import SHORT
from .stack import OURS, REDIS

pytestmark = pytest.mark.skipif(not REDIS, reason="no redis-server on PATH (apt-get install redis-server)")


@pytest.fixture(scope="module")
def results(request):
    """The Result of each chosen row, as a future."""
    chosen = [item.callspec.params["row"] for item in request.session.items if item.path == request.path]
    with ThreadPoolExecutor(4) as pool:
        yield {row.name: pool.submit(row.run, OURS) for row in chosen}


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.name)
def test_nothing_is_lost(row, results):
    count = results[row.name].result().count
    assert (count.lost, count.waiting, count.orphans) == (0, 0, 0)
    assert row.kills or (count.killed, count.twice) == (0, 0)

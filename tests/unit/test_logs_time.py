"""The times in log lines, and those that people type."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest
from celeryhost.errors import USAGE, Failure
from celeryhost.logs.times import moment, stamp, zone_shift

UTC = datetime(2026, 11, 22, 14, 0, 1, tzinfo=timezone.utc).timestamp()
LOCAL = datetime(2026, 11, 22, 14, 0, 1).timestamp()
NOW = datetime(2026, 11, 22, 14, 0, 1)


@pytest.mark.parametrize(
    "line, expected",
    [
        (b"[2026-11-22 14:00:01,123: INFO/MainProcess] celery@host ready.", LOCAL + 0.123),
        (b"2026-11-22 14:00:01,123 INFO spawned: 'x' with pid 1", LOCAL + 0.123),
        (b"INFO 2026-11-22 14:00:01,5 views 1 2 Django's verbose", LOCAL + 0.5),
        (b"[INFO] 2026-11-22 14:00:01 x", LOCAL),
        (b"812:M 22 Nov 2026 14:00:01.123 * Ready to accept connections", LOCAL + 0.123),
        (b'[22/Nov/2026 14:00:01] "GET / HTTP/1.1" 200 12', LOCAL),
        (b'127.0.0.1 - - [22/Nov/2026:14:00:01 +0000] "GET / HTTP/1.1" 200 12', UTC),
        (b"[2026-11-22 15:00:01 +0100] [7] [INFO] Booting worker", UTC),
        (b"[I 261122 14:00:01 command:177] Visit me at http://127.0.0.1:5555", LOCAL),
        (b"2026-11-22T14:00:01.250Z done", UTC + 0.25),
        (b"2026-11-22T08:30:01-05:30 done", UTC),
        (b"\x1b[32m[2026-11-22 14:00:01,000: INFO/MainProcess] coloured\x1b[0m", LOCAL),
        (b"Traceback (most recent call last):", None),
        (b"  eta 2026-11-22 14:00:01", None),
        (b"0000-00-00 00:00:00Z no time at all", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_stamp(line, expected):
    assert stamp(line) == (None if expected is None else pytest.approx(expected))


def test_a_program_in_another_zone_is_shifted_to_ours():
    line = b"[2026-11-22 14:00:01,123: INFO/MainProcess] x"
    assert zone_shift(line, LOCAL + 0.2) == 0
    assert zone_shift(line, LOCAL + 5 * 3600 + 0.2) == 5 * 3600
    assert zone_shift(line, LOCAL - 19800 + 0.2) == -19800
    assert zone_shift(line, LOCAL + 400) == 0, "touched, not written in another zone"
    assert zone_shift(b"2026-11-22T14:00:01Z x", UTC + 3600) == 0, "it names its zone"
    assert zone_shift(b"no time", LOCAL) == 0
    assert stamp(line, 3600) == pytest.approx(LOCAL + 3600.123)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("10m", LOCAL - 600),
        ("2h30m", LOCAL - 9000),
        ("1d", LOCAL - 86400),
        ("90s", LOCAL - 90),
        ("1w", LOCAL - 604800),
        ("now", LOCAL),
        ("today", datetime(2026, 11, 22).timestamp()),
        ("yesterday", datetime(2026, 11, 21).timestamp()),
        ("14:00", LOCAL - 1),
        ("9:30", datetime(2026, 11, 22, 9, 30).timestamp()),
        ("23:15:10", datetime(2026, 11, 21, 23, 15, 10).timestamp()),
        ("2026-11-20", datetime(2026, 11, 20).timestamp()),
        ("2026-11-22 14:00:01", LOCAL),
        ("2026-11-22T14:00:01Z", UTC),
        ("2026-11-22 15:00:01+01:00", UTC),
        ("@1795000000.5", 1795000000.5),
    ],
)
def test_moment(text, expected):
    assert moment(text, "--since", NOW) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "soon", "10", "10x", "25:00", "2026-13-01", "-5m", "@", "@x", "m", "1e9-"])
def test_what_is_no_time_is_named(text):
    with pytest.raises(Failure) as caught:
        moment(text, "--since", NOW)
    assert caught.value.code == USAGE
    assert f"--since {text!r}" in str(caught.value)


def test_moment_counts_from_now():
    assert moment("1m", "--since") == pytest.approx(time.time() - 60, abs=5)

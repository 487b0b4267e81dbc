"""The times that log lines carry, and the times that people type."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import datetime, time, timedelta
from functools import lru_cache
from time import mktime

from ..errors import USAGE, Failure

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")

# Celery `[2026-11-22 14:00:01,123: INFO/…`, gunicorn `[2026-11-22 14:00:01 +0000] …`, supervisord `2026-11-22
# 14:00:01,123 INFO …`, Django's `INFO 2026-11-22 …`, ISO 8601; any of them coloured.
_ISO = re.compile(
    rb"(?:\x1b\[[\d;]*m)*(?:\[?[A-Z]{4,8}\]?:?[ \t]+)?\[?(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)"
    rb"(?:[.,](\d{1,9}))?[ ]?(Z|[+-]\d\d:?\d\d(?!\d))?"
)
# Redis `812:M 22 Nov 2026 14:00:01.123 *`; access logs and runserver `… [22/Nov/2026:14:00:01 +0000] "GET …`.
_NAMED_MONTH = re.compile(
    rb"(?:\d+:[A-Z] |.{0,100}?\[)(\d\d?)[ /](" + b"|".join(MONTHS) + rb")[ /](\d{4})[ :](\d\d):(\d\d):(\d\d)"
    rb"(?:[.,](\d{1,9}))?[ ]?([+-]\d{4})?"
)
# Flower, as Tornado does, `[I 261122 14:00:01 command:177]`.
_TORNADO = re.compile(rb"\[[A-Z] (\d\d)(\d\d)(\d\d) (\d\d):(\d\d):(\d\d) ")

_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+)s)?")
_UNITS = (604800, 86400, 3600, 60, 1)

QUARTER = 900  # seconds; every time zone is a multiple of it away from every other


def stamp(line: bytes, shift: float = 0) -> float | None:
    """The time that `line` begins with, in seconds since the epoch; None without one.

    A time that names no zone is this machine's, plus `shift` seconds (see `zone_shift`).
    """
    if found := _ISO.match(line):
        year, month, day, hour, minute, second, fraction, zone = found.groups()
    elif found := _NAMED_MONTH.match(line):
        day, name, year, hour, minute, second, fraction, zone = found.groups()
        month = MONTHS.index(name) + 1
    elif found := _TORNADO.match(line):
        year, month, day, hour, minute, second = found.groups()
        year, fraction, zone = b"20" + year, None, None
    else:
        return None
    whole = _epoch(year, month, day, hour, minute, second, zone)
    if whole is None:
        return None
    return whole + (int(fraction) / 10 ** len(fraction) if fraction else 0) + (0 if zone else shift)


@lru_cache(maxsize=1024)
def _epoch(
    year: bytes, month: bytes, day: bytes, hour: bytes, minute: bytes, second: bytes, zone: bytes | None
) -> float | None:
    parts = int(year), int(month), int(day), int(hour), int(minute), int(second)
    try:
        if not zone:
            return mktime((*parts, 0, 0, -1))
        east = 0 if zone == b"Z" else int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        return timegm(parts) - (-east if zone[:1] == b"-" else east)
    except (ValueError, OverflowError):
        return None


def zone_shift(line: bytes, written: float) -> float:
    """Seconds to add to a log's times: 0, or what its program's time zone is away from this machine's.

    Django sets the time zone of a worker to its TIME_ZONE, so the logs of one host may tell different times. A file's
    last line was written when the file was (`written`, its mtime): if they are some quarters of an hour apart to within
    two seconds, that is the zone.
    """
    told = stamp(line)
    if told is None:
        return 0
    gap = written - told
    shift = round(gap / QUARTER) * QUARTER
    return shift if abs(gap - shift) < 2 and abs(shift) <= 26 * 3600 and stamp(line, shift) != told else 0


def duration(text: str, option: str) -> float:
    """Seconds in `10m`, `2h30m`, `1d`; raises Failure (USAGE), naming `option`."""
    seconds = _seconds(text.strip())
    if seconds is None:
        raise Failure(f"{option} {text!r} is no length of time", USAGE, "write 30m, 2h, 1d")
    return seconds


def _seconds(word: str) -> int | None:
    found = _DURATION.fullmatch(word)
    if not word or not found:
        return None
    return sum(int(count) * unit for count, unit in zip(found.groups(), _UNITS, strict=True) if count)


def moment(text: str, option: str, now: datetime | None = None) -> float:
    """A time a person typed, in seconds since the epoch; raises Failure (USAGE), naming `option`.

    `10m`, `2h30m`, `1d` (ago); `14:00` (the last time it was so late); `2026-11-22`, `2026-11-22 14:00[:05]`, with `Z`
    or `+01:00` for another zone than this machine's; `today`, `yesterday` (their midnight), `now`; `@SECONDS` since the
    epoch.
    """
    now = now or datetime.now()
    word = text.strip()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    ago = _seconds(word)
    try:
        if word in named:
            return named[word].timestamp()
        if ago is not None:
            return now.timestamp() - ago
        if word.startswith("@"):
            return datetime.fromtimestamp(float(word[1:])).timestamp()
        if "-" in word:
            return datetime.fromisoformat(word.replace("Z", "+00:00")).timestamp()
        if ":" in word:
            clock = datetime.combine(now, time.fromisoformat(word if word[1:2] != ":" else f"0{word}"))
            return (clock if clock.timestamp() <= now.timestamp() else clock - timedelta(days=1)).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    raise Failure(f"{option} {text!r} is no time", USAGE, "write 10m, 2h30m, 14:00, yesterday or '2026-11-22 14:00'")

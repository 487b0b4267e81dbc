"""Redis: what makes a broker lose its queue.

The losses were measured with Celery 5.7 and Redis 7.0: of 200 queued tasks none was left after a restart without
persistence, 52 of 60 were evicted under allkeys-lru, none was lost with an append-only file.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from ..celery import resp
from . import Finding, Skip, fail, ok, warn

MB = 1 << 20
OVERCOMMIT = "/proc/sys/vm/overcommit_memory"
# What INFO says of a file that cannot be written, the setting that wants it, and what Redis answers to every write.
UNWRITTEN = (
    ("aof_last_write_status", "appendonly", "Errors writing to the AOF file"),
    (
        "rdb_last_bgsave_status",
        "save",
        "Redis is configured to save RDB snapshots, but it's currently unable to persist to disk",
    ),
)


class Redis:
    """A server by its URL (https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html)."""

    def __init__(self, url: str) -> None:
        self.url = urlsplit(url)
        self.path = unquote(self.url.path) if self.url.scheme == "redis+socket" else None
        self.place = self.path or f"{self.url.hostname or 'localhost'}:{self.url.port or 6379}"
        self.subject = f"redis {self.place}"
        self.kombus: list[str] = []  # the versions that apps use it with, "" for one that is not known
        self.kept: tuple[Any, ...] | None = None

    @property
    def facts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """INFO and CONFIG GET *, as {name: text}; raises Skip where it does not answer (check `broker` says why)."""
        if self.kept is None:
            try:
                info, settings = resp.ask(self.url, [("INFO",), ("CONFIG", "GET", "*")])
            except (OSError, resp.Refused, ValueError) as error:
                raise Skip(f"does not answer: {error}") from None
            self.kept = self._understood(info, settings)
        return self.kept

    def _understood(self, info: object, settings: object) -> tuple[dict[str, str], dict[str, str]]:
        """`facts` in the replies of a Redis; raises Skip for those of anything else."""
        given = settings if isinstance(settings, list) else [None]
        words = [word.decode(errors="replace") for word in given if isinstance(word, bytes)]
        if not isinstance(info, bytes) or len(given) % 2 or len(words) < len(given):
            raise Skip(f"what answers at {self.place} is no Redis")
        lines = [line.partition(":") for line in info.decode(errors="replace").splitlines() if ":" in line]
        told = {name: value for name, _, value in lines}
        set_to = dict(zip(words[::2], words[1::2], strict=True))
        numbers = told.get("used_memory", ""), set_to.get("maxmemory") or "0"
        release = re.match(r"\d{1,6}\.\d{1,6}", told.get("redis_version", ""))
        if not release or not all(number.isdecimal() and len(number) < 20 for number in numbers):
            raise Skip(f"what answers at {self.place} is no Redis")
        return told, set_to

    @property
    def is_open(self) -> bool:
        """Whether it answers without a password, if only that it does not write."""
        try:
            resp.ask(self.url, [("PING",)], login=False)
        except resp.Refused as error:
            return str(error).startswith(("MISCONF", "LOADING"))
        except (OSError, ValueError):
            return False
        return True

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine: only an address of its own can be bound."""
        if self.path:
            return True
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                self.url.hostname or "localhost", 0, type=socket.SOCK_DGRAM
            )[0]
            with socket.socket(family, kind) as probe:
                probe.bind(address)
            return True
        except OSError:
            return False


def version(redis: Redis) -> Iterator[Finding]:
    """kombu 5.7 asks for ZRANGE … BYSCORE, which Redis has since 6.2 (kombu 2628)."""
    info, _ = redis.facts
    number = info.get("redis_version", "0")
    if _release(number) >= resp.OLDEST:
        yield ok(redis.subject, f"version {number}")
    elif all(redis.kombus) and max(map(_release, redis.kombus), default=(5, 7)) < (5, 7):
        yield ok(redis.subject, f"version {number}, enough for kombu {max(redis.kombus, key=_release)}")
    else:
        yield warn(
            redis.subject,
            f"Redis {number}: Unrecoverable error: ResponseError: value is not an integer or out of range",
            "Celery 5.7 needs Redis 6.2",
            "keep celery<5.7 and kombu<5.7, or install a newer Redis",
        )


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


def eviction(redis: Redis) -> Iterator[Finding]:
    """https://redis.io/docs/latest/develop/reference/eviction/: any other policy throws queued tasks away."""
    _, settings = redis.facts
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy != "noeviction" and settings.get("maxmemory") != "0":
        yield fail(
            redis.subject,
            f"tasks disappear from the queue (maxmemory-policy {policy})",
            "when its memory is full Redis evicts the queue itself",
            "set maxmemory-policy noeviction (celeryhost provision does)",
        )


def persistence(redis: Redis) -> Iterator[Finding]:
    """https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/"""
    info, settings = redis.facts
    said = [
        (name, words)
        for name, setting, words in UNWRITTEN
        if info.get(name, "ok").strip() != "ok" and settings.get(setting) not in (None, "", "no")
    ]
    if said:
        yield fail(
            redis.subject,
            f"MISCONF {said[0][1]}",
            f"{said[0][0]} is err: its disk is full, its folder not writable, or fork had no memory",
            "see Redis's log, free space in its dir, set vm.overcommit_memory = 1",
        )
    elif settings.get("appendonly") == "yes":
        yield ok(redis.subject, f"append-only file, fsync {settings.get('appendfsync')}")
    elif settings.get("save"):
        yield warn(
            redis.subject,
            "tasks are lost when Redis is killed (appendonly no)",
            f"it only saves snapshots (save {settings['save']})",
            "set appendonly yes, appendfsync everysec (celeryhost provision does)",
        )
    else:
        yield fail(
            redis.subject,
            "all queued tasks are lost when Redis restarts",
            "it keeps nothing on disk (appendonly no, no save)",
            "set appendonly yes, appendfsync everysec (celeryhost provision does)",
        )


def memory(redis: Redis) -> Iterator[Finding]:
    """https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/memory-optimization/"""
    info, settings = redis.facts
    used, most = int(info["used_memory"]), int(settings.get("maxmemory") or 0)
    if not most:
        yield warn(
            redis.subject,
            "Redis is killed by the OOM killer, or the whole machine swaps",
            f"maxmemory is not set; it uses {used // MB} MB",
            "set maxmemory, such as a quarter of the machine's memory",
        )
    elif used > 0.8 * most:
        yield (fail if used > 0.95 * most else warn)(
            redis.subject,
            "OOM command not allowed when used memory > 'maxmemory'",
            f"{used / MB:.1f} of {most / MB:.1f} MB are used",
            "see that workers keep up (celeryhost status), set result_expires, or raise maxmemory",
        )
    else:
        yield ok(redis.subject, f"{used // MB} of {most // MB} MB used")


def exposure(redis: Redis) -> Iterator[Finding]:
    """https://redis.io/docs/latest/operate/oss_and_stack/management/security/: whoever reaches it can run tasks.

    Protected mode lets nobody but loopback in without a password; before Redis 7 an address in `bind` switched it off.
    """
    info, settings = redis.facts
    is_open = redis.is_open
    bound = settings.get("bind", "").split()
    addresses = [word for word in bound if not word.lstrip("-").startswith(("127.", "::1", "localhost"))]
    if not bound:
        addresses = ["every address"]
    if settings.get("port") == "0":
        addresses = []
    old = int(info.get("redis_version", "7").partition(".")[0]) < 7
    protected = settings.get("protected-mode") == "yes" and not (old and bound)
    if is_open and addresses and not protected:
        yield fail(
            redis.subject,
            f"Redis is reachable on {', '.join(addresses)} without a password",
            "whoever sends it a task runs code on the workers",
            "set requirepass, or bind 127.0.0.1 (celeryhost provision does)",
        )
    elif is_open and addresses:
        yield warn(
            redis.subject,
            "DENIED Redis is running in protected mode because protected mode is enabled and no password is set",
            f"it listens on {', '.join(addresses)} and lets only this machine in",
            "set requirepass, or bind 127.0.0.1",
        )
    elif is_open:
        yield ok(redis.subject, "no password; only this machine reaches it")
    else:
        yield ok(redis.subject, "asks for a password")


def overcommit(redis: Redis) -> Iterator[Finding]:
    """https://redis.io/docs/latest/operate/oss_and_stack/management/admin/: its fork needs it."""
    if not redis.is_here:
        raise Skip(f"{redis.place} is another machine: run doctor there")
    with open(OVERCOMMIT) as file:
        value = file.read().strip()
    if value != "1":
        yield warn(
            redis.subject,
            "Can't save in background: fork: Cannot allocate memory",
            f"WARNING Memory overcommit must be enabled! (vm.overcommit_memory is {value})",
            "write vm.overcommit_memory = 1 to /etc/sysctl.d/ (celeryhost provision does)",
        )

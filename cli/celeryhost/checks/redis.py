"""Redis: what makes a broker lose its queue, and a few lines of its protocol to ask for that.

The losses were measured with Celery 5.7 and Redis 7.0: of 200 queued tasks none was left after a restart without
persistence, 52 of 60 were evicted under allkeys-lru, none was lost with an append-only file.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import parse_qs, unquote, urlsplit

from . import Skip, fail, ok, warn

SECONDS = 3
MB = 1 << 20
OVERCOMMIT = "/proc/sys/vm/overcommit_memory"


class Refused(Exception):
    """Redis answered with an error."""


class Redis:
    """A server by its URL (https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html)."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self.user, self.password = unquote(parts.username or ""), unquote(parts.password or "")
        self.is_encrypted = parts.scheme == "rediss"
        self.options = parse_qs(parts.query)
        self.path = unquote(parts.path) if parts.scheme == "redis+socket" else None
        self.host, self.port = parts.hostname or "localhost", parts.port or 6379
        self.place = self.path or f"{self.host}:{self.port}"
        self.subject = f"redis {self.place}"
        self.kept: tuple | None = None

    @property
    def facts(self) -> tuple[dict, dict]:
        """INFO and CONFIG GET *, as {name: text}; raises Skip where it does not answer (check `broker` says why)."""
        if self.kept is None:
            try:
                info, settings = self.ask(["INFO"], ["CONFIG", "GET", "*"])
            except (OSError, Refused, ValueError) as error:
                raise Skip(f"does not answer: {error}") from None
            lines = [line.partition(":") for line in info.splitlines() if ":" in line]
            self.kept = {name: value for name, _, value in lines}, dict(zip(settings[::2], settings[1::2], strict=True))
        return self.kept

    def ask(self, *commands: list[str], login: bool = True) -> list:
        """The answers to some commands. Raises OSError, Refused, or ValueError where something else listens."""
        if login and self.password:
            commands = (["AUTH", *([self.user] if self.user else []), self.password], *commands)
        with self._connected() as connection, connection.makefile("rwb") as stream:
            for words in commands:
                encoded = [os.fsencode(word) for word in words]
                stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded))
            stream.flush()
            answers = [_read(stream) for _ in commands]
        return answers[1:] if login and self.password else answers

    def _connected(self):
        if self.path:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(SECONDS)
            connection.connect(self.path)
            return connection
        connection = socket.create_connection((self.host, self.port), SECONDS)
        if self.is_encrypted:
            import ssl

            context = ssl.create_default_context(cafile=self.options.get("ssl_ca_certs", [None])[0])
            # As the project's own client is told to: what is looked at here is no secret.
            if self.options.get("ssl_cert_reqs", ["required"])[0].lower().endswith("none"):
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(connection, server_hostname=self.host)
        return connection

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine: only an address of its own can be bound."""
        if self.path:
            return True
        try:
            family, kind, _, _, address = socket.getaddrinfo(self.host, 0, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as probe:
                probe.bind(address)
            return True
        except OSError:
            return False


def _read(stream):
    """One answer of RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    line = stream.readline()
    kind, rest = line[:1], os.fsdecode(line[1:].rstrip())
    if kind == b"-":
        raise Refused(rest)
    if kind == b"+":
        return rest
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == "-1" else os.fsdecode(stream.read(int(rest) + 2)[:-2])
    if kind == b"*":
        return [_read(stream) for _ in range(int(rest))]
    raise ValueError("what listens there is no Redis")


def version(redis: Redis):
    """kombu 5.7 asks for ZRANGE … BYSCORE, which Redis has since 6.2 (kombu 2628)."""
    info, _ = redis.facts
    number = info.get("redis_version", "0")
    if tuple(map(int, number.split(".")[:2])) < (6, 2):
        yield warn(
            redis.subject,
            f"Redis {number}: Unrecoverable error: ResponseError: value is not an integer or out of range",
            "Celery 5.7 needs Redis 6.2",
            "keep celery<5.7 and kombu<5.7, or install a newer Redis",
        )
    else:
        yield ok(redis.subject, f"version {number}")


def eviction(redis: Redis):
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


def persistence(redis: Redis):
    """https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/"""
    info, settings = redis.facts
    failed = [
        name for name in ("aof_last_write_status", "rdb_last_bgsave_status") if info.get(name, "ok").strip() != "ok"
    ]
    if failed:
        yield fail(
            redis.subject,
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk",
            f"{failed[0]} is err: its disk is full, its folder not writable, or fork had no memory",
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


def memory(redis: Redis):
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


def exposure(redis: Redis):
    """https://redis.io/docs/latest/operate/oss_and_stack/management/security/: whoever reaches it can run tasks.

    Protected mode lets nobody but loopback in without a password; before Redis 7 an address in `bind` switched it off.
    """
    info, settings = redis.facts
    try:
        redis.ask(["PING"], login=False)
        is_open = True
    except (OSError, Refused, ValueError):
        is_open = False
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


def overcommit(redis: Redis):
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

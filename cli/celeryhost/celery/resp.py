"""A few lines of Redis's protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/, RESP2).

redis-py is the project's, not this program's, and would take 20 MB.
"""

from __future__ import annotations

import os
import socket
import time
from urllib.parse import parse_qs, unquote

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any
    from urllib.parse import SplitResult


OLDEST = (6, 2)  # Redis for kombu 5.7 and later, which uses ZRANGE … BYSCORE (kombu issue 2628)
TIMEOUT = 3  # seconds, for all answers of a call
LIMIT = 32 << 20  # bytes of them
LONGEST = 1 << 16  # bytes of a line
DEEPEST = 8  # lists in lists


class Refused(Exception):
    """Redis answered with an error."""


class Malformed(ValueError):
    """What answers is no Redis, or says more than can be meant."""


def ask(place: SplitResult, commands: Iterable[Sequence[str]], login: bool = True, limit: int = LIMIT) -> list[Any]:
    """The replies to `commands` (sequences of str), sent in one go: bytes, int, list or None.

    `place` is a Redis's URL, split; its password is used unless `login` is false. Raises OSError, Refused, and
    ValueError (Malformed) where something else listens. Each reply has the place of its command, and nothing is
    known of it but its type.
    """
    before = []
    if login and place.password:
        before.append(("AUTH", *([unquote(place.username)] if place.username else []), unquote(place.password)))
    deadline = time.monotonic() + TIMEOUT
    with connected(place) as stream:
        return Connection(stream, limit).ask([*before, *commands], deadline)[len(before) :]


def connected(place: SplitResult, seconds: float = TIMEOUT) -> socket.socket:
    """A connection to the Redis of a URL, split; raises OSError, and ValueError for a URL that makes no sense."""
    if place.scheme == "redis+socket":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(seconds)
        connection.connect(unquote(place.path))
        return connection
    connection = socket.create_connection((place.hostname or "localhost", place.port or 6379), seconds)
    return _encrypted(connection, place) if place.scheme == "rediss" else connection


def _encrypted(connection: socket.socket, place: SplitResult) -> socket.socket:
    import ssl

    from .. import others

    options = {key: values[-1] for key, values in parse_qs(place.query).items()}
    authorities = options.get("ssl_ca_certs")  # what names it may be an app's
    context = ssl.create_default_context(cadata=others.read(authorities).decode("ascii") if authorities else None)
    if options.get("ssl_cert_reqs", "").lower().removeprefix("cert_") == "none":  # as the project's own client is told
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=place.hostname)


def _command(words: Sequence[str]) -> bytes:
    parts = [os.fsencode(word) for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


class Connection:
    """Questions and their replies on one connection, of `limit` bytes altogether; raises as `ask` does."""

    def __init__(self, stream: socket.socket, limit: int = LIMIT) -> None:
        self.stream, self.left = stream, limit
        self.data, self.at = bytearray(), 0

    def ask(self, commands: Sequence[Sequence[str]], deadline: float) -> list[Any]:
        """The replies to `commands`, sent in one go, all of them by `deadline` (monotonic)."""
        self.deadline = deadline
        self.stream.settimeout(max(0.01, deadline - time.monotonic()))
        self.stream.sendall(b"".join(map(_command, commands)))
        return [self.next() for _ in commands]

    def more(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer in time")
        self.stream.settimeout(left)
        found = self.stream.recv(65536)
        if not found:
            raise ConnectionResetError("the connection was closed")
        self.left -= len(found)
        if self.left < 0:
            raise Malformed("an answer that is longer than any of ours")
        if self.at > 65536:
            del self.data[: self.at]
            self.at = 0
        self.data += found

    def line(self) -> bytes:
        while (end := self.data.find(b"\n", self.at)) < 0:
            if len(self.data) - self.at > LONGEST:
                raise Malformed("what listens there is no Redis")
            self.more()
        line, self.at = bytes(self.data[self.at : end]), end + 1
        return line.rstrip(b"\r")

    def bulk(self, size: int) -> bytes:
        while len(self.data) - self.at < size + 2:
            self.more()
        text, self.at = bytes(self.data[self.at : self.at + size]), self.at + size + 2
        return text

    def next(self, deep: int = 0) -> bytes | int | list[Any] | None:
        line = self.line()
        kind, text = line[:1], line[1:].strip()
        if kind == b"-":
            raise Refused(text.decode(errors="replace"))
        if kind == b"+":
            return text
        if kind not in (b":", b"$", b"*") or not text.removeprefix(b"-").isdigit() or len(text) > 20:
            raise Malformed("what listens there is no Redis")
        number = int(text)
        if kind == b":":
            return number
        if number < 0:
            return None
        if number > LIMIT or deep > DEEPEST:
            raise Malformed("what listens there is no Redis")
        return self.bulk(number) if kind == b"$" else [self.next(deep + 1) for _ in range(number)]

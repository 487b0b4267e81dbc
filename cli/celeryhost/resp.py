"""A few lines of Redis's protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/, RESP2).

redis-py is the project's, not this program's, and would take 20 MB.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import parse_qs, unquote

TIMEOUT = 3  # seconds, for each answer of Redis


class Refused(Exception):
    """Redis answered with an error."""


def ask(place, commands, login: bool = True) -> list:
    """The replies to `commands` (sequences of str), sent in one go: bytes, int, list or None.

    `place` is a Redis's URL, split; its password is used unless `login` is false. Raises OSError, Refused, and
    ValueError where something else listens.
    """
    before = []
    if login and place.password:
        before.append(("AUTH", *([unquote(place.username)] if place.username else []), unquote(place.password)))
    with _connected(place) as stream, stream.makefile("rb") as lines:
        stream.sendall(b"".join(map(_command, (*before, *commands))))
        return [_read(lines) for _ in (*before, *commands)][len(before) :]


def _connected(place):
    if place.scheme == "redis+socket":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT)
        connection.connect(unquote(place.path))
        return connection
    connection = socket.create_connection((place.hostname or "localhost", place.port or 6379), TIMEOUT)
    return _encrypted(connection, place) if place.scheme == "rediss" else connection


def _encrypted(connection, place):
    import ssl

    options = {key: values[-1] for key, values in parse_qs(place.query).items()}
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs", "").lower().removeprefix("cert_") == "none":  # as the project's own client is told
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=place.hostname)


def _command(words) -> bytes:
    parts = [os.fsencode(word) for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _read(lines):
    line = lines.readline()
    kind, text = line[:1], line[1:].strip()
    if kind == b"-":
        raise Refused(text.decode(errors="replace"))
    if kind == b":":
        return int(text)
    if kind == b"$":
        return lines.read(int(text) + 2)[:-2] if text != b"-1" else None
    if kind == b"*":
        return [_read(lines) for _ in range(int(text))]
    if kind == b"+":
        return text
    raise ValueError("what listens there is no Redis") if line else ConnectionResetError("the connection was closed")

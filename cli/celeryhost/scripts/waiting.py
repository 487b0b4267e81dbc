"""Tasks that wait, or are at work, under names that an app's code does not know. Runs in the project's own Python.

It stands alone, at the beginning of what `python -c` is given or behind other code.
"""

from __future__ import annotations

import collections
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

TOGETHER = 500  # messages that are fetched at once
MOST = 200_000  # that are looked at


def strangers(app: Any, queues: list[str]) -> dict[str, int]:
    """{name: how many} of those in these queues of a Redis; nothing of another broker, which does not show them."""
    found: collections.Counter[str] = collections.Counter()
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        if not hasattr(channel, "_q_for_pri"):
            return {}
        for number, message in enumerate(messages(channel, queues)):
            if number >= MOST:
                break
            name = name_of(message)
            if name and name not in app.tasks:
                found[name] += 1
    return dict(found)


def messages(channel: Any, queues: list[str]) -> Iterator[Any]:
    """What waits in the lists of each priority, and what was taken from them and is not acknowledged, ETA or not."""
    for queue in queues:
        for priority in channel.priority_steps:
            first = 0
            while rows := ask(channel, "LRANGE", channel._q_for_pri(queue, priority), first, first + TOGETHER - 1):
                yield from map(json.loads, rows)
                first += TOGETHER
    for raw in ask(channel, "HVALS", channel.unacked_key):
        message, _, routing_key = json.loads(raw)[:3]
        if routing_key in queues:
            yield message


def ask(channel: Any, command: str, key: str, *words: int) -> list[bytes]:
    """kombu's client puts global_keyprefix before the keys of some commands only, so that Redis's own is asked."""
    from redis import Redis

    whole = f"{getattr(channel.client, 'global_keyprefix', '') or ''}{key}"
    execute: Any = Redis.execute_command
    found: list[bytes] = execute(channel.client, command, whole, *words)
    return found


def name_of(message: Any) -> str:
    """The task of a message of Celery's protocol 2; "" of another."""
    headers = message.get("headers") if isinstance(message, dict) else None
    name = headers.get("task") if isinstance(headers, dict) else None
    return name if isinstance(name, str) else ""

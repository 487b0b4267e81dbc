"""What the watchdog, `top` and a restart ask Redis: Celery's broadcast spoken by hand, and lengths of queues.

The format of messages and keys is kombu's (kombu/pidbox.py, kombu/transport/redis.py; the same in 5.2 to 5.7).
Importing kombu and redis-py would take 20 MB.
"""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections import namedtuple
from urllib.parse import urlsplit

from . import resp

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any
    from urllib.parse import SplitResult


EXCHANGE = "celery.pidbox"
REPLIES = "reply.celery.pidbox"
LONGEST = 100  # replies that are read in one look
LIMIT = 4 << 20  # bytes of them: who may send tasks may also send replies
QUEUES = 100  # of a worker
STEPS = 20  # of a queue
TRANSPORT = "CELERYHOST_TRANSPORT"  # of a worker's environment: what Keys is given
# What of broker_transport_options decides the names of keys, with kombu's defaults.
NAMING: dict[str, Any] = {
    "global_keyprefix": "",
    "unacked_key": "unacked",
    "sep": "\x06\x16",
    "priority_steps": [0, 3, 6, 9],
    "fanout_prefix": True,
}

Broker = namedtuple("Broker", "answered totals waiting unacked")
Broker.__doc__ = """A broker now: the programs whose worker has answered since the last look; how many tasks a worker
says that it has begun, and how many wait in its queues, where known; how many tasks all its workers hold."""


def speaks(url: str | None) -> bool:
    """Whether this is the URL of a Redis that can be asked."""
    return bool(url) and urlsplit(url).scheme in ("redis", "rediss")


def lengths(url: str, queues: list[str], transport: str = "") -> dict[str, int]:
    """How many tasks wait in each queue; `transport` as in Keys; raises OSError, resp.Refused, ValueError."""
    place, keys = urlsplit(url), Keys(transport)
    return keys.lengths(queues, resp.ask(place, [("SELECT", _database(place)), *keys.asking(queues)], limit=LIMIT)[1:])


def _database(place: SplitResult) -> str:
    return place.path.strip("/") or "0"


class Keys:
    """The keys of a broker, by `transport`: a JSON object of what differs from NAMING, as `told` makes it.

    It may come from an app's environment: what makes no sense there counts as absent.
    """

    def __init__(self, transport: str = "") -> None:
        try:
            differing = json.loads(transport or "{}")
        except (ValueError, RecursionError):
            differing = {}
        known = NAMING | named(differing)
        self.prefix, self.fanout, self.separator = known["global_keyprefix"], known["fanout_prefix"], known["sep"]
        self.unacked = self.prefix + known["unacked_key"]
        self.steps = known["priority_steps"]

    def lists(self, queue: str) -> list[str]:
        """A queue is a list for each priority step."""
        return [self._list(queue, step) for step in self.steps]

    def first(self, queue: str) -> str:
        """The list of what has no priority, as kombu finds it (Channel.priority)."""
        return self._list(queue, self.steps[sum(step <= 0 for step in self.steps) - 1])

    def _list(self, queue: str, step: int) -> str:
        return f"{self.prefix}{queue}{self.separator}{step}" if step else self.prefix + queue

    def channel(self, database: str) -> str:
        """Where Celery's broadcasts are published."""
        fanout: str = "/{db}." if self.fanout is True else self.fanout or ""
        return f"{self.prefix}{fanout.replace('{db}', database)}{EXCHANGE}"

    def asking(self, queues: list[str]) -> list[tuple[str, str]]:
        return [("LLEN", key) for queue in queues for key in self.lists(queue)]

    def lengths(self, queues: list[str], replies: list[int]) -> dict[str, int]:
        """What the replies to `asking` say."""
        each = len(self.steps)
        if not all(isinstance(reply, int) for reply in replies):
            raise resp.Malformed("a length that is no number")
        return {queue: sum(replies[n * each : (n + 1) * each]) for n, queue in enumerate(queues)}


def named(options: object) -> dict[str, Any]:
    """What of broker_transport_options differs from NAMING and is of a kind that a name can be made of."""
    found = options if isinstance(options, dict) else {}
    return {
        key: found[key]
        for key, usual in NAMING.items()
        if key in found and found[key] != usual and _fits(key, found[key])
    }


def told(options: object) -> str:
    """The `transport` of Keys for an app's broker_transport_options: empty where all is usual."""
    differing = named(options)
    # A Supervisor file cannot hold both quotes.
    return json.dumps(differing).replace("'", "\\u0027") if differing else ""


def _fits(key: str, value: Any) -> bool:
    if key == "priority_steps":
        whole = isinstance(value, list) and all(type(step) is int for step in value)
        return whole and 0 < len(value) <= STEPS and value == sorted(value)
    if key == "fanout_prefix" and value in (False, ""):
        return True
    return isinstance(value, str) and _is_queue(value)


class Mailbox:
    """The workers of one broker. `nodes` is {node name of a worker: program}, `me` a name that is unique and stable.

    `transport` is as in Keys.
    """

    def __init__(self, url: str, nodes: dict[str, str], me: str, transport: str = "") -> None:
        place = urlsplit(url)
        self.place, self.nodes, self.me = place, nodes, me
        self.database = _database(place)
        self.keys = keys = Keys(transport)
        self.channel, self.replies = keys.channel(self.database), keys.first(f"{me}.{REPLIES}")
        self.binding = f"{keys.prefix}_kombu.binding.{REPLIES}", keys.separator.join((me, "", f"{me}.{REPLIES}"))
        self.queues: dict[str, list[str]] = {}  # program: the queues that its worker has said it reads

    def forget(self, program: str) -> None:
        """Ask a worker anew for its queues: it is another process."""
        self.queues.pop(program, None)

    def look(self, doubtful: set[str]) -> Broker | None:
        """What has come in and how much waits, None when Redis does not answer; asks for what the next look reads.

        No answer is waited for, so a look costs one round trip, and a slow worker has until the next.
        """
        queues = sorted({queue for found in self.queues.values() for queue in found})
        commands = [
            ("SADD", *self.binding),
            ("LRANGE", self.replies, "0", str(LONGEST - 1)),
            ("DEL", self.replies),
            ("HLEN", self.keys.unacked),
            *self.keys.asking(queues),
            *(("PUBLISH", self.channel, text) for text in self.questions(doubtful)),
        ]
        try:
            _, inbox, _, unacked, *rest = self.ask(commands)
            waits = self.keys.lengths(queues, rest[: len(queues) * len(self.keys.steps)])
            if not isinstance(inbox, list) or not isinstance(unacked, int):
                raise resp.Malformed("no answer to what was asked")
        except (OSError, resp.Refused, ValueError):
            return None
        answered, totals = set(), {}
        for node, reply in filter(None, map(_reply, inbox)):
            program = self.nodes.get(node)
            if program is None:
                continue
            answered.add(program)
            if isinstance(reply, list):
                self.queues[program] = [name for name in _names(reply) if _is_queue(name)][:QUEUES]
            elif isinstance(reply.get("total"), dict):
                totals[program] = sum(count for count in reply["total"].values() if isinstance(count, int))
        waiting = {program: sum(waits.get(queue, 0) for queue in found) for program, found in self.queues.items()}
        return Broker(answered, totals, waiting, unacked)

    def questions(self, doubtful: set[str]) -> Iterator[str]:
        """The messages to publish; any reply is a sign of life.

        A doubtful one is asked for its queues again: a person may have told it to leave one alone (cancel_consumer).
        """
        asked: dict[str, list[str]] = {}
        for node, program in self.nodes.items():
            new = program not in self.queues
            for method in ("stats", "active_queues") if program in doubtful else ("active_queues" if new else "ping",):
                asked.setdefault(method, []).append(node)
        for method, nodes in asked.items():
            yield self.question(method, nodes)

    def question(self, method: str, nodes: list[str]) -> str:
        """The message that asks workers something."""
        body: dict[str, Any] = {
            "method": method,
            "arguments": {},
            "destination": nodes,
            "pattern": None,
            "matcher": None,
        }
        body |= {"ticket": self.me, "reply_to": {"exchange": REPLIES, "routing_key": self.me}}
        return json.dumps(
            {
                "body": b64encode(json.dumps(body).encode()).decode(),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": {"clock": 0, "expires": 0},
                "properties": {
                    "body_encoding": "base64",
                    "delivery_info": {"exchange": EXCHANGE, "routing_key": ""},
                    "delivery_mode": 2,
                    "delivery_tag": self.me,
                    "priority": 0,
                },
            }
        )

    def active(self, patience: float) -> dict[str, list[str]]:
        """{program: the names of the tasks that its worker runs}, of those that answer within `patience` seconds.

        `patience` is less than resp.TIMEOUT, and nobody else asks as `me`. Leaves nothing in Redis; raises OSError,
        resp.Refused, ValueError.
        """
        found: dict[str, list[str]] = {}
        end = time.monotonic() + patience
        self.ask([("SADD", *self.binding), ("PUBLISH", self.channel, self.question("active", list(self.nodes)))])
        try:
            while len(found) < len(self.nodes) and (left := end - time.monotonic()) > 0:
                [popped] = self.ask([("BLPOP", self.replies, f"{left + 0.01:.2f}")])  # 0.00 would be for ever
                answer = _reply(popped[-1]) if isinstance(popped, list) and popped else None
                if answer and answer[0] in self.nodes and isinstance(answer[1], list):
                    found[self.nodes[answer[0]]] = _names(answer[1])
        finally:
            self.ask([("SREM", *self.binding), ("DEL", self.replies)])
        return found

    def ask(self, commands: Iterable[Sequence[str]]) -> list[Any]:
        """The replies of `commands` in the database of the broker; raises OSError, Refused, ValueError."""
        return resp.ask(self.place, [("SELECT", self.database), *commands], limit=LIMIT)[1:]


def _names(items: list[Any]) -> list[str]:
    """The names of queues or tasks in a worker's reply, as far as it is one."""
    named = (item.get("name") for item in items if isinstance(item, dict))
    return [name for name in named if isinstance(name, str)]


def _is_queue(name: str) -> bool:
    try:
        return 0 < len(name.encode()) < 256
    except UnicodeEncodeError:
        return False


def _reply(message: Any) -> tuple[str, dict[str, Any] | list[Any]] | None:
    """(node, its reply) in a message of a worker, None in one that is nothing such."""
    try:
        ((node, reply),) = json.loads(b64decode(json.loads(message)["body"])).items()
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    return (node, reply) if isinstance(reply, (dict, list)) else None

"""Loaded into each worker with -I: a task that Redis has is neither lost nor late when its worker is killed.

kombu's Redis transport takes a message from its list with BRPOP, and writes it among the unacknowledged ones when it
has read the reply. A worker that is killed in between, because it was busy or frozen, takes the message with it. Here
Redis does both in one step (Take), and in the same step removes what has been acknowledged meanwhile: one round trip
where kombu has three, and half of what it writes to the append-only file. While tasks are short it takes one ahead for
each process, which so need not wait for a round trip between two tasks, and puts it back if they turn out to be long.

And it gives back what was never acknowledged only after the visibility timeout, an hour. Here a worker that starts
gives back at once what a worker had that is no more (GiveBack): each writes its name into what it takes, and names its
connections likewise, by worker, boot and process.

And a Redis that refuses to write, for its disk or memory is full or its replicas are away, is waited for like one that
is away itself (HoldOn).

And a stop takes no longer than the tasks that run, and leaves none of them unknown (Leave, do_not_linger, prepare).

Runs in the project's Python; what fails here at a worker's start is a line in the log, and then kombu's ways hold.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import json
import os
import queue
import re
import threading
import time
import types
from collections import deque
from typing import Any, NamedTuple

import billiard.pool
from celery import bootsteps, signals
from celery.concurrency.prefork import TaskPool
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.state import maybe_shutdown
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

logger = get_logger(__name__)

PREFIX = "celeryhost"
MARK = f', "{PREFIX}": '  # before the name of whoever has taken a message, at its end
PAUSE = 30  # seconds in which one worker gives back: workers that start together, or that a task kills over and over
HANDOVER = 10  # seconds that a process gets at most to say that it has begun a task, before the worker stops
LOOK = 5  # seconds after which a worker looks for messages though nothing has told it of any
MOST = 16  # messages that are taken in one step, as far as there is a process for each
SHORT = 0.05  # seconds in which a task ends that is short, from the moment in which the pool is given it
TRUST = 100  # tasks in a row that were short, after which the next one is, too
HOLD = 0.1  # seconds for which a message waits here at most before it is put back
TURN = 0.001  # seconds for which Redis waits at most while a process is served first
LEAVE = 16  # messages that stay in a list from which some are taken ahead, for whoever else may be idle
AGAIN = 1  # seconds after which Redis is asked once more for what it has refused
SAY = 60  # seconds in which the log tells of that once

WAITS = "waits for Redis, which refuses to write: %s"
# What Redis refuses for a time. redis-py takes the first word away from some.
REFUSALS = re.compile(
    "MISCONF|NOREPLICAS|OOM|used memory > 'maxmemory'|READONLY|read only replica|LOADING|MASTERDOWN|Link with MASTER"
    "|CLUSTERDOWN|TRYAGAIN|BUSY|UNBLOCKED"
)

# KEYS: index and hash of what is unacknowledged, then the lists, in the order of BRPOP; ARGV: the time, who takes it,
# how many at most, how many more ahead, how many of a list to leave then, and the tags that are acknowledged. Returns
# of each message its list, itself, and whether it was written as kombu's QoS.append writes it; what is no message of
# kombu's is left for it to complain about.
TAKE = """
if #ARGV > 5 then
    redis.call('ZREM', KEYS[1], unpack(ARGV, 6))
    redis.call('HDEL', KEYS[2], unpack(ARGV, 6))
end
local most, ahead, leave, taken = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), {}
local owner = ', "celeryhost": ' .. cjson.encode(ARGV[2]) .. '}'
for at = 3, #KEYS do
    while #taken < most + ahead do
        if #taken >= most then
            local left = redis.pcall('LLEN', KEYS[at])
            if left == 0 then
                break
            elseif type(left) ~= 'number' or left <= leave then
                return taken
            end
        end
        local message = redis.pcall('RPOP', KEYS[at])
        if not message then
            break
        elseif message.err then
            return #taken > 0 and taken or message
        end
        local written = pcall(function()
            local properties = cjson.decode(message).properties
            local origin = properties.delivery_info
            local named = message:sub(1, message:find('}%s*$') - 1) .. owner
            local value = {named, cjson.encode(origin.exchange), cjson.encode(origin.routing_key)}
            redis.call('ZADD', KEYS[1], ARGV[1], properties.delivery_tag)
            redis.call('HSET', KEYS[2], properties.delivery_tag, '[' .. table.concat(value, ', ') .. ']')
            message = named
        end)
        taken[#taken + 1] = {KEYS[at], message, written and 1 or 0}
    end
end
return taken
"""
BY_NAME = ("EVALSHA", hashlib.sha1(TAKE.encode()).hexdigest())
WHOLE = ("EVAL", TAKE)
# KEYS: index and hash, then the list of each message; ARGV: who took them, then the tag and the text of each. First is
# what Redis may refuse. One that somebody else has by now is left to him: an answer to this may have been lost.
PUT_BACK = """
local owner = ', "celeryhost": ' .. cjson.encode(ARGV[1]) .. '}'
for at = 3, #KEYS do
    local tag = ARGV[2 * at - 4]
    local value = redis.call('HGET', KEYS[2], tag)
    if value and value:find(owner, 1, true) then
        redis.call('RPUSH', KEYS[at], ARGV[2 * at - 3])
        redis.call('ZREM', KEYS[1], tag)
        redis.call('HDEL', KEYS[2], tag)
    end
end
"""


class Unsupported(Exception):
    """What is here gives no hold for it; said in the log, and Celery's own way goes on."""


class Held(NamedTuple):
    """A message that Redis has handed over and Celery does not know of yet."""

    key: str  # its list
    text: str
    message: Any
    queue: str
    since: float


class HoldOn(bootsteps.StartStopStep):
    """The worker is connected when Redis writes, and what it refuses later counts as a connection that is lost."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def include_if(self, consumer: Any) -> bool:
        return bool(consumer.conninfo.transport.driver_type == "redis")

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        if self.include_if(consumer):
            from redis.exceptions import ResponseError

            self.error, self.consumer = ResponseError, consumer
            self.connect, consumer.connect = consumer.connect, self.when_it_writes
            consumer.connection_errors += (ResponseError,)

    def when_it_writes(self) -> Any:
        """In place of Consumer.connect, which writes."""
        said = False
        while refusal := self.refusal():
            if not said:
                logger.warning(WAITS, refusal)
                said = True
            time.sleep(AGAIN)
            maybe_shutdown()
        return self.connect()

    def refusal(self) -> Exception | None:
        """Why it does not write; None too where it does not answer, which is Celery's to say."""
        try:
            with self.consumer.app.connection_for_read() as connection, connection.channel() as channel:
                _plain(channel).set(channel.global_keyprefix + PREFIX, "", px=1)
        except self.error as error:
            return error if REFUSALS.search(str(error)) else None
        except Exception:
            pass
        return None


class GiveBack(bootsteps.StartStopStep):
    """Once in a worker's life, as soon as it is connected and before it takes tasks."""

    requires = ("celery.worker.consumer.connection:Connection",)
    done = False

    def start(self, consumer: Any) -> None:
        if not GiveBack.done and consumer.connection.transport.driver_type == "redis":
            GiveBack.done = True
            try:
                with consumer.app.connection_for_write() as connection:
                    _give_back(connection.default_channel)
            except Exception as error:
                logger.warning("tasks of a killed worker wait for the visibility timeout: %r", error)


class Take(bootsteps.StartStopStep):
    """From its start on, the consumer takes messages with TAKE.

    What Redis has handed to this worker and the worker does not have, it gives back first: the answer was lost with
    the connection, or Celery has dropped what had not begun (Consumer.on_close).
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    taker = None

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        # The keys are tags that Redis does not know of yet; they outlive a connection.
        self.acknowledged: dict[str, bool] = {}

    def start(self, consumer: Any) -> None:
        if consumer.connection.transport.driver_type == "redis":
            try:
                self.taker = _Taker(consumer, self.acknowledged)
                self.taker.give_back_unheard()
            except consumer.connection_errors:
                raise
            except Exception as error:
                logger.warning("a task may be lost with a worker that is killed while it takes it: %r", error)

    def stop(self, consumer: Any) -> None:
        if self.taker:
            self.taker.close()
            self.taker = None


class _Taker:
    """Stands in for the BRPOP of a kombu.transport.redis.Channel (5.2 to 5.7), and for what its QoS asks of Redis.

    A script cannot wait, and what waits for several lists also takes from them. So while all are empty, each has a
    bell: a connection in a BLMOVE that leaves what it finds where it is.

    What is taken ahead is held here: Redis has it among what this worker is at, as what runs, and Celery gets it when
    a process is free for it. No task waits here for longer than HOLD, however long those before it take.
    """

    def __init__(self, consumer: Any, acknowledged: dict[str, bool]) -> None:
        channel, hub = consumer.task_consumer.channel, consumer.hub
        if not hub:
            raise Unsupported("eventlet and gevent have no event loop of kombu's")
        if not channel.ack_emulation:
            raise Unsupported("without ack_emulation nothing is acknowledged")
        from redis.exceptions import NoScriptError

        self.unknown = NoScriptError
        self.channel, self.hub, self.qos, self.pool = channel, hub, channel.qos, consumer.pool
        self.owner = getattr(channel, "client_name", None) or ""  # kombu before 5.6 names no connections
        self.unacked = [self.prefixed(key) for key in (channel.unacked_index_key, channel.unacked_key)]
        self.thread = threading.get_ident()
        self.try_out()
        self.script = BY_NAME
        self.acknowledged = acknowledged  # all
        self.sent: list[str] = []  # those on their way
        self.asked: list[str] = []  # lists of the last question
        self.most = 0  # how many messages it was for, without those ahead
        self.waiting = False  # whether the next answer is to TAKE: one of kombu's own may still be under way (mingle's)
        self.written = False  # whether the message that is being delivered is among the unacknowledged ones
        self.refused, self.said = False, -float(SAY)
        self.bells: dict[str, Any] = {}  # list: connection
        self.set: set[str] = set()  # lists whose bells will ring
        self.empty: set[str] = set()  # lists that were empty at the last look, if nothing has been heard since
        self.held: deque[Held] = deque()
        self.serving = self.timing = False  # whether `serve_first` and `overdue` are to be called
        self.first = False  # whether this turn of the loop is for the processes
        # Where a pool of processes leaves this one free to put back, and where a killed worker's tasks are given back
        # at once (not before kombu 5.6); not where the user has told how many to take ahead.
        self.may_hold = (
            isinstance(consumer.pool, TaskPool)
            and bool(self.owner)
            and consumer.prefetch_multiplier == 1
            and not getattr(consumer.app.conf, "worker_disable_prefetch", False)
        )
        self.short = 0  # how many tasks in a row were
        self.has_room, self.qos.can_consume = self.qos.can_consume, self.may_ask
        self.append, self.qos.append = self.qos.append, self.append_unwritten
        self.qos.ack = self.ack
        channel._brpop_start, self.brpop_read = self.start, channel._brpop_read
        channel._brpop_read = channel.handlers["BRPOP"] = self.read
        self.timer = hub.call_repeatedly(LOOK, self.empty.clear)
        hub.on_tick.add(self.flush_when_full)

    def try_out(self) -> None:
        """Raises Unsupported where Redis is older than 6.2 or does not let this user do it."""
        connection, key = self.connection(), self.prefixed(PREFIX)
        try:
            for command in ((*WHOLE, 2, *self.unacked, 0, "", 0, 0, 0), ("BLMOVE", key, key, "RIGHT", "RIGHT", 0.01)):
                connection.send_command(*command)
                try:
                    connection.read_response()
                except self.channel.ResponseError as error:
                    if not REFUSALS.search(str(error)):
                        raise Unsupported(str(error)) from None
        finally:
            connection.disconnect()

    def close(self) -> None:
        self.timer.cancel()
        self.hub.on_tick.discard(self.flush_when_full)
        del self.qos.append
        self.qos.can_consume = self.has_room
        self.qos.ack = self.ack_alone
        self.flush()
        # What cannot be put back is given back later: when there is a connection again, or a worker.
        errors = (*self.channel.connection_errors, self.channel.ResponseError, AttributeError, queue.Empty)
        with contextlib.suppress(*errors):
            connection = self.channel._in_poll
            if self.waiting and connection._sock and connection.can_read(timeout=AGAIN):
                self.hold(self.answer())
        with contextlib.suppress(*errors):
            self.put_back()
        self.held.clear()
        for bell in self.bells.values():
            if bell._sock:  # None where Redis went away, and Celery has reset the hub
                self.hub.remove(bell._sock)
            bell.disconnect()

    def connection(self) -> Any:
        pool = self.channel.pool
        connection = pool.connection_class(**pool.connection_kwargs)
        connection.connect()
        return connection

    def prefixed(self, key: str) -> str:
        return f"{self.channel.global_keyprefix}{key}"

    def lists(self) -> list[str]:
        channel = self.channel
        queues = channel._queue_cycle.consume(len(channel.active_queues))
        return [self.prefixed(channel._q_for_pri(name, step)) for step in channel.priority_steps for name in queues]

    def ack(self, tag: str) -> None:
        """In place of QoS.ack: TAKE is to remove it, at the end of this turn of the loop. A thread has no turns."""
        self.acknowledged[tag] = True
        took = time.monotonic() - getattr(self.qos._delivered.get(tag), "celeryhost_since", 0.0)
        self.short = self.short + 1 if took < SHORT else 0
        virtual.QoS.ack(self.qos, tag)
        if threading.get_ident() != self.thread:
            self.flush()
        elif self.held and not self.serving:
            self.serving = True
            self.hub.call_later(
                0, self.serve_first
            )  # the next turn begins with it, before the pool looks what to write

    def ack_alone(self, tag: str) -> None:
        """For what still runs when this connection is done with; the next one tells what Redis does not take now."""
        self.ack(tag)
        self.flush()

    def append_unwritten(self, message: Any, tag: str) -> None:
        """In place of QoS.append, which writes what TAKE has written."""
        message.celeryhost_since = time.monotonic()
        if self.written:
            virtual.QoS.append(self.qos, message, tag)
        else:
            self.append(message, tag)

    def flush_when_full(self) -> None:
        """At each turn of the loop: in those where kombu does not call `start`, nothing else removes them."""
        starts = self.channel.active_queues and self.qos.can_consume()
        if self.acknowledged and not (starts or self.refused or self.channel._in_poll):
            self.flush()

    def flush(self) -> None:
        """Remove what is acknowledged; what Redis does not take is left to the next turn, or connection."""
        try:
            for tag in list(self.acknowledged):
                self.qos._remove_from_indices(tag).execute()
                self.acknowledged.pop(tag, None)
        except (*self.channel.connection_errors, AttributeError):  # of a channel that is closed
            pass
        except self.channel.ResponseError as error:
            self.refuse(error)

    def give_back_unheard(self) -> None:
        """What bears this worker's name and is neither at work nor done; in a container also a namesake's before it."""
        known = {request.message.delivery_tag for request in state.active_requests} | self.acknowledged.keys()
        owners = {
            bytes_to_str(tag): _owner(value) for tag, value in _plain(self.channel).hgetall(self.unacked[1]).items()
        }
        _restore(
            self.channel, [tag for tag, owner in owners.items() if owner and owner == self.owner and tag not in known]
        )

    def start(self, timeout: float | None = None) -> None:
        """Ask for messages if there may be some; kombu calls it at each turn of the loop in which it may take one."""
        lists, channel = self.lists(), self.channel
        if self.first or self.refused or (not self.acknowledged and self.empty.issuperset(lists)):
            self.first = False
            return
        self.most = self.room()
        if not (self.most or self.acknowledged):
            return
        self.asked, self.sent = lists, list(self.acknowledged)
        channel._in_poll = channel.client.connection
        channel._brpop_sent_at = time.monotonic()
        keys = [*self.unacked, *lists]
        numbers = [self.most, self.ahead(), LEAVE]
        channel._in_poll.send_command(*self.script, len(keys), *keys, time.time(), self.owner, *numbers, *self.sent)
        self.waiting = True

    def may_ask(self) -> bool:
        """In place of QoS.can_consume: kombu asks it before it calls `start`, and before it calls `read`."""
        return bool(self.has_room() or self.waiting or (self.acknowledged and self.may_hold and self.short >= TRUST))

    def room(self) -> int:
        """How many may be taken in one step: no more than can begin at once, for the rest another worker may be idle.

        Beyond that one at a time, as kombu does, which asks QoS.can_consume before each.
        """
        if not self.has_room():
            return 0
        idle = self.pool.num_processes - len(state.reserved_requests)
        allowed = self.qos.can_consume_max_estimate()
        return int(max(0, max(1, min(MOST, idle, MOST if allowed is None else allowed)) - len(self.held)))

    def ahead(self) -> int:
        """How many more may be taken and held: one a process, while what has ended and what runs is short."""
        if not self.may_hold or self.short < TRUST:
            return 0
        late = time.time() - SHORT
        if any((request.time_start or late) < late for request in state.active_requests):
            return 0
        return int(max(0, min(MOST, self.pool.num_processes) - len(self.held)))

    def read(self, **options: Any) -> Any:
        """Deliver the messages that Redis has given; if there are no more, set the bells."""
        if not self.waiting:
            return self.brpop_read(**options)
        failure = self.hold(self.answer())
        self.serve()
        if failure:
            raise failure
        return True

    def answer(self) -> Any:
        """What TAKE returns; queue.Empty where that is nothing."""
        self.waiting = False
        channel, connection = self.channel, self.channel.client.connection
        try:
            taken = connection.read_response()
        except channel.connection_errors:
            connection.disconnect()
            raise
        except self.unknown:
            self.script = WHOLE
            raise queue.Empty from None
        except channel.ResponseError as error:
            if not REFUSALS.search(str(error)):
                raise
            self.refuse(error)
            raise queue.Empty from None
        finally:
            channel._in_poll = None
            getattr(channel, "_flush_brpop_reauth", bool)()  # of kombu 5.7
        self.script = BY_NAME
        for tag in self.sent:
            self.acknowledged.pop(tag, None)
        if len(taken) < self.most:
            self.empty.update(self.asked)
            for key in self.empty - self.set:
                self.wait_for(key)
        if not taken:
            raise queue.Empty
        return taken

    def hold(self, taken: Any) -> Exception | None:
        """All of them, whatever happens to one, for Redis has them no longer in a list; what has happened.

        What is not among the unacknowledged ones cannot be held, for it would be lost with this worker.
        """
        failure, now = None, time.monotonic()
        for key, text, written in taken:
            try:
                message = loads(bytes_to_str(text))
                message["properties"]["delivery_tag"]  # which all of kombu's have
            except (ValueError, TypeError, LookupError) as error:
                logger.error("threw away what is no message, from %.200r: %.200r (%r)", key, text, error)
                continue
            key = bytes_to_str(key)
            name = key[len(self.channel.global_keyprefix) :].rsplit(self.channel.sep, 1)[0]
            self.channel._queue_cycle.rotate(name)
            if written:
                self.held.append(Held(key, bytes_to_str(text), message, name, now))
            else:
                try:
                    self.channel.connection._deliver(message, name)
                except Exception as error:
                    failure = failure or error
        return failure

    def serve_first(self) -> None:
        """A process has become free, and gets its task before Redis is told or asked anything."""
        self.serving = False
        if self.held:
            self.first = True
            self.hub.call_later(TURN, bool)  # in case that no process has anything to read or to say
            self.serve()

    def serve(self) -> None:
        """Deliver what is held, as far as there is room, whatever happens to one."""
        failure = None
        while self.held and self.has_room():
            if self.held[0].queue not in self.channel.active_queues:  # any more
                self.put_back()
                break
            held = self.held.popleft()
            self.written = True
            try:
                self.channel.connection._deliver(held.message, held.queue)
            except Exception as error:
                failure = failure or error
            finally:
                self.written = False
        if self.held and not self.timing:
            self.timing = True
            self.hub.call_later(HOLD, self.overdue)
        if failure:
            raise failure

    def overdue(self) -> None:
        """Put back what waits because tasks take longer than expected: another worker may be free for it."""
        self.timing = False
        if self.held and time.monotonic() - self.held[0].since >= HOLD:
            self.short = 0
            self.put_back()
        if self.held and not self.timing:
            self.timing = True
            self.hub.call_later(max(self.held[0].since + HOLD - time.monotonic(), HOLD / 10), self.overdue)

    def put_back(self) -> None:
        """To the end of their lists at which it is taken, as it was; what Redis refuses is held on."""
        if not self.held:
            return
        arguments = []
        for held in reversed(self.held):
            arguments += [held.message["properties"]["delivery_tag"], held.text[: held.text.rindex(MARK)] + "}"]
        keys = [*self.unacked, *(held.key for held in reversed(self.held))]
        try:
            _plain(self.channel).eval(PUT_BACK, len(keys), *keys, self.owner, *arguments)
            self.held.clear()
        except self.channel.ResponseError as error:
            self.refuse(error)

    def wait_for(self, key: str) -> None:
        if key not in self.bells:
            self.bells[key] = self.connection()
            self.hub.add_reader(self.bells[key]._sock, self.heard, key)
        self.bells[key].send_command("BLMOVE", key, key, "RIGHT", "RIGHT", 0, check_health=False)
        self.set.add(key)

    def heard(self, key: str) -> None:
        bell = self.bells[key]
        place = bell._sock.fileno()
        try:
            bell.read_response()
        except self.channel.connection_errors:  # of a bell alone, it may be; the next question tells
            self.hub.remove(place)
            bell.disconnect()
            del self.bells[key]
        except self.channel.ResponseError as error:
            if not REFUSALS.search(str(error)):
                raise
            self.refuse(error)
        self.set.discard(key)
        self.empty.clear()

    def refuse(self, error: Exception) -> None:
        """Ask for nothing for a while."""
        if self.refused:
            return
        self.refused = True
        self.hub.call_later(AGAIN, self.resume)
        if time.monotonic() - self.said >= SAY:
            self.said = time.monotonic()
            logger.warning(WAITS, error)

    def resume(self) -> None:
        self.refused = False


class Leave(bootsteps.StartStopStep):
    """A stop begins at once, but not between a process having a task and the worker knowing that it has begun.

    Celery (5.6 and 5.7) would forget the task (AsynPool.flush), wait 30 s for the process, which waits for its result
    to be taken (billiard's GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT), and give back the task, though it was executed.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, consumer: Any) -> Any:
        return consumer.hub

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.consumer = consumer
        self.until: float | None = None
        self.maybe_shutdown, state.maybe_shutdown = state.maybe_shutdown, self.when_handed_over
        self.called, self.call = os.pipe()
        signals.worker_shutting_down.connect(self.wake, weak=False)

    def start(self, consumer: Any) -> None:
        consumer.hub.add_reader(self.called, os.read, self.called, 1)

    def stop(self, consumer: Any) -> None:
        consumer.hub.remove(self.called)

    def wake(self, **_: Any) -> None:
        """From the signal's handler: Python waits on in a poll that a signal interrupts (PEP 475), up to a second."""
        os.write(self.call, b".")

    def when_handed_over(self) -> None:
        """In place of celery.worker.state.maybe_shutdown, at each turn of the event loop.

        Which is asked only about a stop that is known here: one whose signal comes in between has its turn next.
        """
        wanted = (state.should_stop, state.should_terminate)  # an exit code, which may be 0, or None or False
        stop, at_once = (not (code is None or code is False) for code in wanted)
        if stop and not at_once and self.handing_over():
            if not self.until:
                self.until = time.monotonic() + HANDOVER
                self.consumer.task_consumer.cancel()
                logger.info("stops as soon as a process of the pool has begun the task that it was handed")
            if time.monotonic() < self.until:
                return
        if stop or at_once:
            self.maybe_shutdown()

    def handing_over(self) -> bool:
        jobs = getattr(getattr(self.consumer.pool, "_pool", None), "_cache", {})  # prefork's
        return any(job._scheduled_for and not job._accepted for job in jobs.values())


@signals.worker_init.connect
def prepare(sender: Any, **_: Any) -> None:
    """Name this worker's connections, by worker, boot and process, and add the steps."""
    options = sender.app.conf.broker_transport_options or {}
    sender.app.conf.broker_transport_options = {**options, "client_name": _name(sender.hostname) + str(os.getpid())}
    sender.app.steps["consumer"].update({HoldOn, GiveBack, Take, Leave})
    atexit.register(gc.freeze)  # else a worker's last act is to look through all objects of the project for garbage


@signals.worker_process_init.connect
def go_first(**_: Any) -> None:
    """When memory runs out, the kernel is to kill a task's process, not the worker, Redis or supervisord."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


@signals.worker_process_shutdown.connect
def do_not_linger(**_: Any) -> None:
    """A process of the pool that ends sleeps for a second after its last message (billiard's Worker._do_exit)."""
    billiard.pool.time = types.SimpleNamespace(sleep=lambda _: None)  # the worker reads the message without it, too


def _name(worker: str) -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return f"{PREFIX}:{worker}:{file.read().strip()}:"


def _plain(channel: Any) -> Any:
    """A client that leaves keys as they are: kombu's own adds global_keyprefix, to some commands."""
    from redis import Redis

    return Redis(connection_pool=channel.pool)


def _owner(value: Any) -> str | None:
    """Who has taken an unacknowledged message, None where that does not say: anybody with the password may write."""
    try:
        owner = json.loads(value)[0][PREFIX]
        _, _, pid = owner.rsplit(":", 2)
        return owner if pid.isdecimal() else None
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _give_back(channel: Any) -> None:
    if not hasattr(channel, "client_name"):
        raise Unsupported("kombu before 5.6 does not name its connections")
    redis, own = _plain(channel), channel.client_name
    key = channel.global_keyprefix + channel.unacked_key
    left = redis.hgetall(key)
    if not left:
        return
    owners = {tag: _owner(value) for tag, value in left.items()}
    database = str(redis.connection_pool.connection_kwargs.get("db", 0))
    clients = [client for client in redis.client_list() if client["db"] == database]
    connected = {client["name"] for client in clients}
    free = [tag for tag, owner in owners.items() if owner and owner not in connected and _gone(owner, own)]
    _restore(channel, free)
    rest = len(left) - len(free)
    if rest and any(_alive(client, own) for client in clients):
        logger.info("%d tasks are with other workers, or wait for the visibility timeout", rest)
    elif rest and redis.set(f"{key}.given_back", own, nx=True, ex=PAUSE):
        channel.visibility_timeout = 0
        channel.qos.restore_visible(num=None, interval=1)
        free = left
    if free:
        logger.warning("gave back %d tasks that a worker had begun when it was killed", len(free))


def _restore(channel: Any, tags: list[str]) -> None:
    for tag in tags:
        try:
            channel.qos.restore_by_tag(tag)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            logger.error("cannot give back what is no message, %.200r: %r", tag, error)


def _gone(owner: str, own: str) -> bool:
    """Whether a worker without a connection has ended: one of this boot without a process, or ours of another boot."""
    worker, boot, pid = owner.rsplit(":", 2)
    if boot == own.rsplit(":", 2)[1]:
        return not os.path.exists(f"/proc/{pid}")
    return own.startswith(f"{worker}:")


def _alive(client: Any, own: str) -> bool:
    """Whether a connection is another worker's: named by this module, or subscribed to commands for workers."""
    worker, boot, _ = own.rsplit(":", 2)
    name = client["name"]
    if name == own or (name.startswith(f"{worker}:") and name.rsplit(":", 2)[1] != boot):
        return False
    return name.startswith(f"{PREFIX}:") or int(client["psub"]) > 0

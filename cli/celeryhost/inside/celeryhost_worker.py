"""Loaded into each worker with -I: a task that Redis has is neither lost nor late when its worker is killed.

kombu's Redis transport takes a message from its list with BRPOP, and writes it among the unacknowledged ones when it
has read the reply. A worker that is killed in between, because it was busy or frozen, takes the message with it. Here
Redis does both in one step (Take).

And it gives back what was never acknowledged only after the visibility timeout, an hour. Here a worker that starts
gives back at once what a worker had that is no more (GiveBack): each writes its name into what it takes, and names its
connections likewise, by worker, boot and process.

And a stop takes no longer than the tasks that run, and leaves none of them unknown (Leave, do_not_linger, prepare).

Runs in the project's Python; what fails here at a worker's start is a line in the log, and then kombu's ways hold.
"""

import atexit
import contextlib
import gc
import json
import os
import queue
import time
import types

import billiard.pool
from celery import bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state

logger = get_logger(__name__)

PREFIX = "celeryhost"
PAUSE = 30  # seconds in which one worker gives back: workers that start together, or that a task kills over and over
HANDOVER = 10  # seconds that a process gets at most to say that it has begun a task, before the worker stops
LOOK = 5  # seconds after which a worker looks for messages though nothing has told it of any

# KEYS: index and hash of what is unacknowledged, then the lists, in the order of BRPOP; ARGV: the time, who takes it.
# What is written is what kombu's QoS.append writes; what is no message of kombu's is left for it to complain about.
TAKE = """
for at = 3, #KEYS do
    local message = redis.call('RPOP', KEYS[at])
    if message then
        pcall(function()
            local properties = cjson.decode(message).properties
            local origin = properties.delivery_info
            local owner = ', "celeryhost": ' .. cjson.encode(ARGV[2]) .. '}'
            message = message:sub(1, message:find('}%s*$') - 1) .. owner
            local value = {message, cjson.encode(origin.exchange), cjson.encode(origin.routing_key)}
            redis.call('ZADD', KEYS[1], ARGV[1], properties.delivery_tag)
            redis.call('HSET', KEYS[2], properties.delivery_tag, '[' .. table.concat(value, ', ') .. ']')
        end)
        return {KEYS[at], message}
    end
end
"""


class Unsupported(Exception):
    """What is here gives no hold for it; said in the log, and Celery's own way goes on."""


class GiveBack(bootsteps.StartStopStep):
    """Once in a worker's life, as soon as it is connected and before it takes tasks."""

    requires = ("celery.worker.consumer.connection:Connection",)
    done = False

    def start(self, consumer):
        if not GiveBack.done and consumer.connection.transport.driver_type == "redis":
            GiveBack.done = True
            try:
                with consumer.app.connection_for_write() as connection:
                    _give_back(connection.default_channel)
            except Exception as error:
                logger.warning("tasks of a killed worker wait for the visibility timeout: %r", error)


class Take(bootsteps.StartStopStep):
    """From its start on, the consumer takes messages with TAKE."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    taker = None

    def start(self, consumer):
        if consumer.connection.transport.driver_type == "redis":
            try:
                self.taker = _Taker(consumer.task_consumer.channel, consumer.hub)
            except consumer.connection_errors:
                raise
            except Exception as error:
                logger.warning("a task may be lost with a worker that is killed while it takes it: %r", error)

    def stop(self, consumer):
        if self.taker:
            self.taker.close()
            self.taker = None


class _Taker:
    """Stands in for the BRPOP of a kombu.transport.redis.Channel (5.3 to 5.7).

    A script cannot wait, and what waits for several lists also takes from them. So while all are empty, each has a
    bell: a connection in a BLMOVE that leaves what it finds where it is.
    """

    def __init__(self, channel, hub):
        if not hub:
            raise Unsupported("eventlet and gevent have no event loop of kombu's")
        self.channel, self.hub = channel, hub
        self.unacked = [self.prefixed(key) for key in (channel.unacked_index_key, channel.unacked_key)]
        self.try_out()
        self.bells = {}  # list: connection
        self.set = set()  # lists whose bells will ring
        self.empty = set()  # lists that were empty at the last look, if nothing has been heard since
        self.brpop_read = channel._brpop_read
        channel._brpop_start = self.start
        channel._brpop_read = channel.handlers["BRPOP"] = self.read
        self.timer = hub.call_repeatedly(LOOK, self.empty.clear)

    def try_out(self):
        """Raises redis-py's ResponseError where Redis is older than 6.2 or does not let this user do it."""
        connection, key = self.connection(), self.prefixed(PREFIX)
        for command in (("EVAL", TAKE, 2, *self.unacked, 0, ""), ("BLMOVE", key, key, "RIGHT", "RIGHT", 0.01)):
            connection.send_command(*command)
            connection.read_response()
        connection.disconnect()

    def close(self):
        self.timer.cancel()
        for bell in self.bells.values():
            if bell._sock:  # None where Redis went away, and Celery has reset the hub
                self.hub.remove(bell._sock)
            bell.disconnect()

    def connection(self):
        pool = self.channel.pool
        connection = pool.connection_class(**pool.connection_kwargs)
        connection.connect()
        return connection

    def prefixed(self, key):
        return self.channel.global_keyprefix + key

    def lists(self):
        channel = self.channel
        queues = channel._queue_cycle.consume(len(channel.active_queues))
        return [self.prefixed(channel._q_for_pri(name, step)) for step in channel.priority_steps for name in queues]

    def start(self, timeout=None):
        """Ask for a message if there may be one; kombu calls it at each turn of the loop in which it may take one."""
        lists, channel = self.lists(), self.channel
        if self.empty.issuperset(lists):
            return
        channel._in_poll = channel.client.connection
        channel._brpop_sent_at = time.monotonic()
        keys = [*self.unacked, *lists]
        owner = getattr(channel, "client_name", None) or ""  # kombu before 5.6 names no connections
        channel._in_poll.send_command("EVAL", TAKE, len(keys), *keys, time.time(), owner)

    def read(self, **options):
        """Deliver the message that Redis has given; if there was none, set the bells."""
        try:
            return self.brpop_read(**options)
        except queue.Empty:
            self.empty.update(self.lists())
            for key in self.empty - self.set:
                self.wait_for(key)
            raise

    def wait_for(self, key):
        if key not in self.bells:
            self.bells[key] = self.connection()
            self.hub.add_reader(self.bells[key]._sock, self.heard, key)
        self.bells[key].send_command("BLMOVE", key, key, "RIGHT", "RIGHT", 0, check_health=False)
        self.set.add(key)

    def heard(self, key):
        self.bells[key].read_response()
        self.set.discard(key)
        self.empty.clear()


class Leave(bootsteps.StartStopStep):
    """A stop begins at once, but not between a process having a task and the worker knowing that it has begun.

    Celery (5.6 and 5.7) would forget the task (AsynPool.flush), wait 30 s for the process, which waits for its result
    to be taken (billiard's GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT), and give back the task, though it was executed.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, consumer):
        return consumer.hub

    def __init__(self, consumer, **options):
        super().__init__(consumer, **options)
        self.consumer, self.until = consumer, None
        self.maybe_shutdown, state.maybe_shutdown = state.maybe_shutdown, self.when_handed_over
        self.called, self.call = os.pipe()
        signals.worker_shutting_down.connect(self.wake, weak=False)

    def start(self, consumer):
        consumer.hub.add_reader(self.called, os.read, self.called, 1)

    def stop(self, consumer):
        consumer.hub.remove(self.called)

    def wake(self, **_):
        """From the signal's handler: Python waits on in a poll that a signal interrupts (PEP 475), up to a second."""
        os.write(self.call, b".")

    def when_handed_over(self):
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

    def handing_over(self):
        jobs = getattr(getattr(self.consumer.pool, "_pool", None), "_cache", {})  # prefork's
        return any(job._scheduled_for and not job._accepted for job in jobs.values())


@signals.worker_init.connect
def prepare(sender, **_):
    """Name this worker's connections, by worker, boot and process, and add the steps."""
    options = sender.app.conf.broker_transport_options or {}
    sender.app.conf.broker_transport_options = {**options, "client_name": _name(sender.hostname) + str(os.getpid())}
    sender.app.steps["consumer"].update({GiveBack, Take, Leave})
    atexit.register(gc.freeze)  # else a worker's last act is to look through all objects of the project for garbage


@signals.worker_process_init.connect
def go_first(**_):
    """When memory runs out, the kernel is to kill a task's process, not the worker, Redis or supervisord."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


@signals.worker_process_shutdown.connect
def do_not_linger(**_):
    """A process of the pool that ends sleeps for a second after its last message (billiard's Worker._do_exit)."""
    billiard.pool.time = types.SimpleNamespace(sleep=lambda _: None)  # the worker reads the message without it, too


def _name(worker):
    with open("/proc/sys/kernel/random/boot_id") as file:
        return f"{PREFIX}:{worker}:{file.read().strip()}:"


def _give_back(channel):
    if not hasattr(channel, "client_name"):
        raise Unsupported("kombu before 5.6 does not name its connections")
    redis, own = channel.client, channel.client_name
    left = redis.hgetall(channel.unacked_key)
    if not left:
        return
    owners = {tag: json.loads(value)[0].get(PREFIX) for tag, value in left.items()}
    database = str(redis.connection_pool.connection_kwargs.get("db", 0))
    clients = [client for client in redis.client_list() if client["db"] == database]
    connected = {client["name"] for client in clients}
    free = [tag for tag, owner in owners.items() if owner and owner not in connected and _gone(owner, own)]
    for tag in free:
        channel.qos.restore_by_tag(tag)
    rest = len(left) - len(free)
    if rest and any(_alive(client, own) for client in clients):
        logger.info("%d tasks are with other workers, or wait for the visibility timeout", rest)
    elif rest and redis.set(f"{channel.unacked_key}.given_back", own, nx=True, ex=PAUSE):
        channel.visibility_timeout = 0
        channel.qos.restore_visible(num=None, interval=1)
        free = left
    if free:
        logger.warning("gave back %d tasks that a worker had begun when it was killed", len(free))


def _gone(owner, own):
    """Whether a worker without a connection has ended: one of this boot without a process, or ours of another boot."""
    worker, boot, pid = owner.rsplit(":", 2)
    if boot == own.rsplit(":", 2)[1]:
        return not os.path.exists(f"/proc/{pid}")
    return own.startswith(f"{worker}:")


def _alive(client, own):
    """Whether a connection is another worker's: named by this module, or subscribed to commands for workers."""
    worker, boot, _ = own.rsplit(":", 2)
    name = client["name"]
    if name == own or (name.startswith(f"{worker}:") and name.rsplit(":", 2)[1] != boot):
        return False
    return name.startswith(f"{PREFIX}:") or int(client["psub"]) > 0

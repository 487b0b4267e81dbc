"""Loaded into each worker with -I: what a killed worker had begun is begun anew as soon as a worker is back.

kombu's Redis transport gives back what was never acknowledged only after the visibility timeout, an hour. Here
the first worker to start gives it back at once, if no other worker is connected that could be at work on it. Every
worker names its connections, so that those of a host that lost its power are known for dead.

Runs in the project's Python; whatever fails here is a line in the log, and then the visibility timeout holds.
"""

import contextlib
import os

from celery import bootsteps, signals
from celery.utils.log import get_logger

logger = get_logger(__name__)

PREFIX = "celeryhost"
PAUSE = 30  # seconds in which one worker gives back: workers that start together, or that a task kills over and over


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


@signals.worker_init.connect
def prepare(sender, **_):
    """Name this worker's connections, by worker, boot and process, and add the step."""
    options = sender.app.conf.broker_transport_options or {}
    sender.app.conf.broker_transport_options = {**options, "client_name": _name(sender.hostname) + str(os.getpid())}
    sender.app.steps["consumer"].add(GiveBack)


@signals.worker_process_init.connect
def go_first(**_):
    """When memory runs out, the kernel is to kill a task's process, not the worker, Redis or supervisord."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def _name(worker):
    with open("/proc/sys/kernel/random/boot_id") as file:
        return f"{PREFIX}:{worker}:{file.read().strip()}:"


def _give_back(channel):
    redis, own = channel.client, channel.client_name
    left = redis.hlen(channel.unacked_key)
    if not left:
        return
    database = str(redis.connection_pool.connection_kwargs.get("db", 0))
    others = [client for client in redis.client_list() if client["db"] == database and _alive(client, own)]
    if others:
        logger.info("%d tasks are with other workers, or wait for the visibility timeout", left)
    elif redis.set(f"{channel.unacked_key}.given_back", own, nx=True, ex=PAUSE):
        channel.visibility_timeout = 0
        channel.qos.restore_visible(num=None, interval=1)
        logger.warning("gave back %d tasks that a worker had begun when it was killed", left)


def _alive(client, own):
    """Whether a connection is another worker's: named by this module, or subscribed to commands for workers."""
    worker, boot, _ = own.rsplit(":", 2)
    name = client["name"]
    if name == own or (name.startswith(f"{worker}:") and name.rsplit(":", 2)[1] != boot):
        return False
    return name.startswith(f"{PREFIX}:") or int(client["psub"]) > 0

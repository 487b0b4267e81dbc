"""A Celery app whose tasks write down what happens to them: time, event, id, process, its parent."""

import os
import signal
import time

from celery import Celery
from celery.signals import beat_init
from celery.utils.log import get_task_logger

app = Celery("ledger", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(task_ignore_result=True, beat_schedule={"tick": {"task": "ledger.tick", "schedule": 1.0}})
logger = get_task_logger(__name__)


def note(event, request):
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(f"{time.time():.3f} {event} {request.id} {os.getpid()} {os.getppid()}\n")


@beat_init.connect
def hang_when_told(**_):
    signal.signal(signal.SIGUSR2, lambda *_: time.sleep(3600))


@app.task(bind=True)
def work(self, seconds):
    note("started", self.request)
    time.sleep(seconds)
    note("ended", self.request)


@app.task
def rest(seconds):
    if seconds:
        time.sleep(seconds)
    with open(os.environ["LEDGER"] + ".rests", "ab", buffering=0) as rests:
        rests.write(b".")


@app.task(bind=True)
def eat(self, megabytes, seconds):
    note("started", self.request)
    eaten = b"x" * (megabytes << 20)
    time.sleep(seconds)
    del eaten
    note("ended", self.request)


@app.task(bind=True)
def say(self, lines, rate):
    note("started", self.request)
    begin = time.monotonic()
    for number in range(lines):
        logger.info("line %d.", number)
        time.sleep(max(0, begin + number / rate - time.monotonic()))
    note("ended", self.request)


@app.task(bind=True)
def tick(self):
    note("tick", self.request)

"""Tasks to try things with."""

import time

from celery import shared_task
from celery.utils.log import get_task_logger
from django.db import connection
from mysite.celery import app

logger = get_task_logger(__name__)


@shared_task
def sum(a, b):  # noqa: A001 - the name is what one types
    """Add two numbers, taking its time."""
    time.sleep(3)
    return a + b


@shared_task(ignore_result=True)
def check():
    """See that the database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    logger.info("the database answers")


@shared_task(bind=True)
def debug_task(self):
    """Say what a bound task knows about its own call."""
    return {"id": self.request.id, "worker": self.request.hostname, "retries": self.request.retries}


@shared_task(ignore_result=True)
def tidy():
    """Hold the place of a job that runs every ten minutes."""
    logger.info("nothing to tidy")


# A schedule beside its task: what replaced the decorator @periodic_task, gone since Celery 5. By the task's name, for
# tidy.s() would wait for ever in Celery 5.2, which asks for a lock here that it holds.
@app.on_after_finalize.connect
def schedule_tidy(sender, **kwargs):
    sender.add_periodic_task(600.0, sender.signature("app.tasks.tidy"), name="tidy every 10 minutes")

"""The Celery app, with all of its settings."""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

from django.conf import settings

broker = os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0")

app = Celery("mysite")
app.conf.update(
    broker_url=broker,
    broker_connection_retry_on_startup=True,
    result_backend="django-db" if settings.RESULTS_IN_DATABASE else os.environ.get("CELERY_RESULT_BACKEND", broker),
    result_expires=3600,
    # JSON only: whoever can write to the broker must not be able to run code, as with pickle.
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    timezone=settings.TIME_ZONE,
    task_time_limit=300,
    beat_schedule={
        "check every 3 seconds": {"task": "app.tasks.check", "schedule": 3.0},
        "sum at noon": {"task": "app.tasks.sum", "schedule": crontab(hour=12, minute=0), "args": [1, 2]},
        "sum on Monday morning": {
            "task": "app.tasks.sum",
            "schedule": crontab(day_of_week="mon", hour=7, minute=30),
            "args": [3, 4],
        },
    },
)
if settings.SCHEDULE_IN_DATABASE:
    app.conf.beat_scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
app.autodiscover_tasks()

# Loaded with Django, so that @shared_task and .delay() find this app and with it the broker.
from .celery import app as celery_app

__all__ = ("celery_app",)

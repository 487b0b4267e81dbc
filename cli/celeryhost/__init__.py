"""celeryhost: a Supervisor deployment toolkit for Django's Celery worker and beat."""

__version__ = "0.1.0"

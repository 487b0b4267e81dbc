"""Settings, from the environment where two hosts may differ."""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent


def switch(name):
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


# A key made anew at each start signs nothing that outlives it, and this project signs nothing.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or get_random_secret_key()
DEBUG = switch("DJANGO_DEBUG")
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost").split()

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django_celery_beat",
    "django_celery_results",
    "app",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DJANGO_DATABASE", BASE_DIR / "db.sqlite3"),
        # Worker and beat write at the same time: wait for each other instead of failing.
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TIME_ZONE = os.environ.get("DJANGO_TIME_ZONE", "UTC")
USE_TZ = True

# The two extensions are installed; each is used when its switch is on.
RESULTS_IN_DATABASE = switch("MYSITE_RESULTS_IN_DATABASE")  # django_celery_results
SCHEDULE_IN_DATABASE = switch("MYSITE_SCHEDULE_IN_DATABASE")  # django_celery_beat

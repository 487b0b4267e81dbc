"""What of a host's answers is struck out."""

from __future__ import annotations

from celeryhost.controller.asking import _secrets
from celeryhost.states import celery_app


def test_names_that_stand_elsewhere_too_are_no_secrets():
    environment = {"PGUSER": "mysite", "PGHOST": "127.0.0.1", "POSTGRES_USER": "mysite", "SECRET_KEY": "s3cret"}
    environment |= {"DJANGO_SETTINGS_MODULE": "config.settings", "DATABASE_URL": "postgresql://mysite:pw@host/mysite"}
    secrets = _secrets(celery_app, {"app": {"name": "mysite"}, "environment": environment})
    assert secrets == {"s3cret", "postgresql://mysite:pw@host/mysite"}

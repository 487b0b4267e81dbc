"""Celery from outside: its command lines, its processes, its log lines, its remote control, its broker."""

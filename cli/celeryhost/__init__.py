"""celeryhost: a Supervisor deployment toolkit for Django's Celery worker and beat.

Folders say what things are. Beside them lies what belongs to none: the entry and its options (__main__, cli), the
description of an app that all is about (apps), and small tools that every folder uses and that know none of them.
"""

__version__ = "0.1.0"

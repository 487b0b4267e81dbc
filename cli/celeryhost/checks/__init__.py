"""What `celeryhost doctor` looks at: small functions by subject, each of a Host (host.py), each yielding Findings.

A function that yields nothing has found nothing wrong; one that cannot look raises Skip. doctor.py has the table.
"""

from __future__ import annotations

from collections import namedtuple

OK, WARN, FAIL, SKIP = "ok", "warn", "FAIL", "skip"

Finding = namedtuple("Finding", "level subject symptom cause fix check", defaults=(None, None, None))
Finding.__doc__ = """One line: `level` of the four, whom it is about, the symptom in the words that people search for
(of ok and skip what there is to say), its cause, its fix, and the name of the check."""


class Skip(Exception):
    """Why something cannot be looked at."""


ROOT = "needs root's rights: use sudo"


def ok(subject, text) -> Finding:
    return Finding(OK, subject, text)


def warn(subject, symptom, cause, fix) -> Finding:
    return Finding(WARN, subject, symptom, cause, fix)


def fail(subject, symptom, cause, fix) -> Finding:
    return Finding(FAIL, subject, symptom, cause, fix)


def skip(subject, text) -> Finding:
    return Finding(SKIP, subject, text)

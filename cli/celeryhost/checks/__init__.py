"""What `celeryhost doctor` looks at: small functions by subject, each of a Host (host.py), each yielding Findings.

A function that yields nothing has found nothing wrong; one that cannot look raises Skip. doctor.py has the table.
"""

from __future__ import annotations

from typing import NamedTuple

OK, WARN, FAIL, SKIP = "ok", "warn", "FAIL", "skip"


class Finding(NamedTuple):
    """One line: `level` of the four, whom it is about, the symptom in the words that people search for
    (of ok and skip what there is to say), its cause, its fix, and the name of the check."""

    level: str
    subject: str
    symptom: str | None
    cause: str | None = None
    fix: str | None = None
    check: str | None = None


class Skip(Exception):
    """Why something cannot be looked at."""


ROOT = "needs root's rights: use sudo"


def ok(subject: str, text: str) -> Finding:
    return Finding(OK, subject, text)


def warn(subject: str, symptom: str, cause: str | None, fix: str | None) -> Finding:
    return Finding(WARN, subject, symptom, cause, fix)


def fail(subject: str, symptom: str, cause: str | None, fix: str | None) -> Finding:
    return Finding(FAIL, subject, symptom, cause, fix)


def skip(subject: str, text: str) -> Finding:
    return Finding(SKIP, subject, text)

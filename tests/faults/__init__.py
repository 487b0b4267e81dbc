"""Faults, done for real to celeryhost's configuration and to the one that blogs show, side by side.

Each run counts what became of the tasks in a ledger that is no part of what fails. `python -m tests.faults` prints the
table; docs/reliability.md explains it.
"""

"""What a command that fails must leave on the terminal."""

from __future__ import annotations

from redis_server import PASSWORD


def failed(done, code: int, *said: str):
    """It ended with `code` and one line on stderr that holds all of `said`, and no password."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert all(words in done.stderr for words in said), done.stderr
    assert PASSWORD not in done.stderr

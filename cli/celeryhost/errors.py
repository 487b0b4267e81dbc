"""The exit codes, and the one exception that carries one.

The codes are part of the interface (docs/exit-codes.md). 3 and 4 mean for `status` what LSB says they mean
(https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/iniscrptact.html).
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


OK = 0
FAILED = 1  # it was tried and did not work: a program reached FATAL, a task failed, provisioning failed
USAGE = 2  # the command line makes no sense
NOT_RUNNING = 3  # stopped, exited or FATAL
UNKNOWN = 4  # no such program, host, task or app
STARTING = 5  # STARTING, STOPPING or BACKOFF: not running now, perhaps soon
DENIED = 6  # this user may not
DOWN = 7  # supervisord does not answer
UNREACHABLE = 8  # the host does not answer
TIMEOUT = 9  # the wait ended first
UNPROVEN = 10  # all was brought, and was not seen to work: a program ends over and over, a task does not come back
HOOK = 11  # a program of the person's own, hooks/pre-deploy, forbids it
INTERRUPTED = 130  # Ctrl-C

# Of several outcomes the first in this order is the exit code: what hides most comes first.
GRAVITY = (
    *(INTERRUPTED, USAGE, UNREACHABLE, DOWN, DENIED, UNKNOWN, FAILED, HOOK, UNPROVEN, TIMEOUT, NOT_RUNNING, STARTING),
    OK,
)


def worst(codes: Iterable[int]) -> int:
    """The exit code that stands for all of `codes`; OK when there are none."""
    return min(codes, key=GRAVITY.index, default=OK)


class Failure(Exception):
    """Something a person must know: what and where (`message`), how to mend it (`fix`), and the exit code."""

    def __init__(self, message: str, code: int = FAILED, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.fix = fix
        self.result: dict[str, Any] = {}  # what a state had done until then

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}" if self.fix else self.message


def near(word: str, words: Iterable[str]) -> str:
    """`did you mean 'x' or 'y'?` for a mistyped `word`, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(word, sorted(words), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""

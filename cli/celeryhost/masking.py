"""Telling of what may hold secrets without them."""

from __future__ import annotations

import re

MASK = "***"

# As far as the last @ of the word: a password may hold one too. Before http's @ a token may stand alone. The bounds are
# what keeps a text that somebody else has written from taking hours.
URL_SECRET = re.compile(
    r"(?P<head>\b[a-z][a-z0-9+.-]{0,30}://[^/\s:@'\"]{0,1000}:|\b(?:[a-z]{1,30}\+)?https?://)"
    r"(?P<secret>[^\s'\"/][^\s'\"]{0,4000}|/[^\s'\"]{1,4000})(?=@)",
    re.IGNORECASE,
)


# What supervisord writes for a bare %s: a dict of all that it knows, its environment too.
_EXPANSIONS = re.compile(r"\{'[a-z_]+': ", re.IGNORECASE)


def hide_passwords(text: str) -> str:
    """`text` with the passwords and tokens of its URLs masked."""
    if "'ENV_" in text:
        text = _without_expansions(text)
    return URL_SECRET.sub(rf"\g<head>{MASK}", text) if "@" in text else text


def _without_expansions(text: str) -> str:
    end, begin = text.rfind("}"), 0
    for part in text[: end + 1].split("}"):
        found = _EXPANSIONS.search(part)
        if found and found.start() < part.rfind("'ENV_"):
            return text[: begin + found.start()] + MASK + text[end + 1 :]
        begin += len(part) + 1
    return text

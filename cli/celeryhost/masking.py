"""Telling of what may hold secrets without them."""

from __future__ import annotations

import re

MASK = "***"

# As far as the last @ of the word: a password may hold one too. Before http's @ a token may stand alone.
URL_SECRET = re.compile(
    r"(?P<head>\b[a-z][a-z0-9+.-]*://[^/\s:@'\"]*:|\b(?:[a-z]+\+)?https?://)(?P<secret>[^\s'\"/][^\s'\"]*|/[^\s'\"]+)(?=@)",
    re.IGNORECASE,
)


# What supervisord writes for a bare %s: a dict of all that it knows, its environment too.
_EXPANSIONS = re.compile(r"\{(?='[a-z_]+': )(?=[^}]*'ENV_).*\}", re.DOTALL | re.IGNORECASE)


def hide_passwords(text: str) -> str:
    """`text` with the passwords and tokens of its URLs masked."""
    if "'ENV_" in text:
        text = _EXPANSIONS.sub(MASK, text)
    return URL_SECRET.sub(rf"\g<head>{MASK}", text) if "@" in text else text

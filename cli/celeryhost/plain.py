"""What others wrote, made fit for a terminal: the one place that knows what could change it."""

from __future__ import annotations


def plain(text: object) -> str:
    """`text` on one line, without control characters and those that reorder a line; each is shown as �."""
    text = str(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)


def plain_lines(text: object) -> str:
    """As `plain`, line by line; tabs become blanks."""
    text = str(text)
    return text if text.isprintable() else "\n".join(plain(line.expandtabs(4)) for line in text.split("\n"))

"""What docs/json.md promises: fields are added under a version, never removed or renamed."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "json.md").read_text()


def fields(command: str, of: str = "") -> set[str]:
    """The fields in the table of a command, or in its table `field of …`."""
    section = TEXT.split(f"\n## {command}\n", 1)[1].split("\n## ", 1)[0]
    head = f"| field of {of} | |" if of else "| field | |"
    rows = section.split(f"{head}\n|---|---|\n", 1)[1].split("\n\n", 1)[0]
    return {name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}

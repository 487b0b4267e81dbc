"""What runs in another program's Python: a project's, Supervisor's, or the system's under another account.

Most is sent there as text, so nothing here imports anything of this package but its neighbours.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

INSIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside")  # what a worker and a beat load by its name


def source(script: ModuleType) -> str:
    """The text of a script, also where Ansible has brought this package as an archive."""
    loader: Any = script.__loader__
    text: str = loader.get_source(script.__name__)
    return text

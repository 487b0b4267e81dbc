"""The table of `celeryhost status`, for the last words of a run."""

from __future__ import annotations

from typing import Any

from ..supervisor import locate
from ..supervisor.rpc import Supervisor
from ..supervisor.status import look
from ..supervisor.table import lines

ARGUMENTS = {"config": {"type": "path", "required": True}}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    rows = look(Supervisor(locate.find(params["config"])), ()).rows
    return {"changed": False, "lines": lines(rows)}

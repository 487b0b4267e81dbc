"""A line NAME=value in a file of settings that a shell reads, where the last of a name counts."""

from __future__ import annotations

from typing import Any

from ..errors import Failure
from .install_files import access, read, replace

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "value": {"type": "str", "required": True},
}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    path, name, wanted = params["path"], params["name"], f"{params['name']}={params['value']}"
    lines = (read(path) or "").splitlines()
    places = [place for place, line in enumerate(lines) if line.startswith(f"{name}=")]
    before = lines[places[-1]] if places else None
    if before == wanted:
        return {"changed": False, "diff": {}}
    if not check:
        if places:
            lines[places[-1]] = wanted
        else:
            lines.append(wanted)
        try:
            replace(path, "".join(f"{line}\n" for line in lines), access(path) or ("root", "root", "0644"))
        except (OSError, KeyError) as error:
            raise Failure(f"{path}: {error}") from None
    header = {"before_header": path, "after_header": path}
    return {"changed": True, "diff": header | {"before": f"{before}\n" if before else "", "after": f"{wanted}\n"}}

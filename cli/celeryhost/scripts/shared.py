"""What outlives a release: moved to a folder beside the releases, as its owner, and linked to from the code.

It stands alone: its text is run by the app's own account (`python3 -c TEXT`, a question on stdin, JSON on stdout), so
that it follows no path further than the app itself could. A path is as seen from the code.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BESIDE = ("", "-wal", "-shm", "-journal")  # files of an SQLite database that belong together


def differ(code: str, shared: str, paths: list[str]) -> list[str]:
    """The paths that are not links to what is shared yet."""
    return [path for path in paths if not _is_link(os.path.join(code, path), os.path.join(shared, path))]


def to_move(before: str, shared: str, paths: list[str]) -> list[str]:
    """The paths that the code of before holds, and that nothing shared stands for."""
    held = (path for path in paths if not os.path.lexists(os.path.join(shared, path)))
    return [path for path in held if _is_own(before, path)]


def share(code: str, before: str, shared: str, paths: list[str]) -> None:
    """Have each path of `code` be a link to its place in `shared`, and what `before` holds there moved first."""
    for path in paths:
        target = os.path.join(shared, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            for place in (before, code):
                if place and _is_own(place, path):
                    _move(os.path.join(place, path), target)
                    break
        if before and not os.path.lexists(os.path.join(before, path)) and os.path.isdir(os.path.join(before, "")):
            _link(os.path.join(before, path), target)
        _link(os.path.join(code, path), target)


def _is_own(place: str, path: str) -> bool:
    whole = os.path.join(place, path)
    return bool(place) and not os.path.islink(whole) and os.path.exists(whole)


def _is_link(path: str, target: str) -> bool:
    return os.path.islink(path) and os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))) == target


def _move(path: str, target: str) -> None:
    for end in BESIDE if os.path.isfile(path) else ("",):
        if os.path.lexists(path + end):
            os.rename(path + end, target + end)


def _link(path: str, target: str) -> None:
    """A link in the place of what is there, which the release has brought or made and nothing needs any more."""
    if _is_link(path, target):
        return
    for end in BESIDE:
        if os.path.isdir(path + end) and not os.path.islink(path + end):
            os.rename(path + end, f"{path}{end}.release")
        elif os.path.lexists(path + end):
            os.unlink(path + end)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(os.path.relpath(target, os.path.dirname(path)), path)


def main() -> None:
    asked: dict[str, Any] = json.load(sys.stdin)
    code, before, shared = (asked[name] for name in ("code", "before", "shared"))
    if asked["do"]:
        share(code, before, shared, asked["paths"])
    print(json.dumps([differ(code, shared, asked["paths"]), to_move(before, shared, asked["paths"])]))


if __name__ == "__main__":
    main()

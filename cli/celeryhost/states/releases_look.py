"""Where the releases that run here are. Changes nothing."""

from __future__ import annotations

from typing import Any

from ..project import releases

ARGUMENTS: dict[str, Any] = {}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """`places`: {app: {id, code, virtualenv}} of the releases that were last seen to work."""
    running = {name: releases.load(name).running() for name in releases.apps()}
    places = {
        name: {"id": release.id, "code": release.code, "virtualenv": release.virtualenv}
        for name, release in running.items()
        if release
    }
    return {"changed": False, "places": places}

"""Where a project uses a Redis without a password: its result backend, and Django's settings. Runs in its own Python.

It stands alone, at the beginning of what `python -c` is given or behind other code. A place is {"name", "host", "port",
"database", "query", "shown"}; which Redis that is, redis_places.py tells.
"""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, urlencode, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SCHEMES = ("redis", "rediss")
SECRETS = {"password", "credential_provider"}
PORT = 6379
DEEPEST = 8
MOST = 50  # places that are told


def backend(app: Any) -> dict[str, Any] | None:
    """The place of an app's own result backend, whatever the environment says; None where it is no such Redis."""
    url = app.conf.first("result_backend", "CELERY_RESULT_BACKEND")
    if app.backend_cls or not isinstance(url, str):  # a class of its own hears nothing of the environment
        return None
    if app.conf.get("redis_password") or app.conf.get("redis_backend_credential_provider"):
        return None
    host, port = app.conf.get("redis_host"), app.conf.get("redis_port")
    whole = "://" in url  # else all of it is in settings of its own
    if not whole and url not in SCHEMES:
        return None
    found = of_url(url, host, port) if whole else of_pair(host or "localhost", port, app.conf.get("redis_db"))
    return found and {"name": "result_backend", **found}


def of_url(url: str, host: str | None = None, port: Any = None) -> dict[str, Any] | None:
    """The place that a URL names, where it leaves them out with this host and port; None for another, or a password."""
    try:
        parts = urlsplit(url.strip())
        extra = {key: value for key, value in parse_qsl(parts.query) if not key.startswith("ssl_")}
        database = int(parts.path.strip("/") or extra.pop("db", "0"))
        port = int(parts.port or port or PORT)
    except ValueError:
        return None
    if parts.scheme not in SCHEMES or "://" not in url or parts.password or extra.keys() & SECRETS:
        return None
    host = parts.hostname or host or "localhost"
    shown = f"{parts.scheme}://{host}:{port}/{database}"
    return {"host": host, "port": port, "database": database, "query": urlencode(extra), "shown": shown}


def in_settings(app: Any) -> list[dict[str, Any]]:
    """The places in Django's settings, by how a person would name them; not the broker and the result backend."""
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return []
    try:
        from django.conf import settings
    except ImportError:
        return []
    prefix = app.conf.prefix or ""
    celerys = {first + last for first in {prefix, "CELERY_", ""} for last in ("BROKER_URL", "RESULT_BACKEND")}
    own = {name: getattr(settings, name) for name in dir(settings) if name.isupper() and settings.is_overridden(name)}
    places: list[dict[str, Any]] = []
    for name, value in sorted(own.items()):
        if name not in celerys and not (prefix and name in (prefix + "REDIS_HOST", prefix + "REDIS_PORT")):
            places += walk(name, value)
            places += of_host(name, own)
    return places[:MOST]


def walk(name: str, value: object, depth: int = 0, password: bool = False) -> Iterator[dict[str, Any]]:
    """The places in a setting's value; `password`: whether one is given beside it."""
    if depth > DEEPEST or password:
        return
    if isinstance(value, str):
        places = [of_url(url) for url in re.split("[,;]", value)] if "://" in value else ()
        yield from ({"name": name, **place} for place in places if place)
    elif isinstance(value, dict):
        words = {str(key).lower(): item for key, item in value.items()}
        options = words.get("options")
        beside = {str(key).lower(): item for key, item in options.items()} if isinstance(options, dict) else {}
        password = any(part.get(key) for part in (words, beside) for key in SECRETS)
        host, port = words.get("host"), words.get("port")
        if isinstance(host, str) and "://" not in host and (port or "redis" in name.lower()) and not password:
            place = of_pair(host, port, words.get("db"))
            if place:
                yield {"name": name, **place}
        for key, item in value.items():
            yield from walk(f"{name}[{key!r}]", item, depth + 1, password)
    elif isinstance(value, (list, tuple, set, frozenset)):
        pair = list(value)
        if len(pair) in (2, 3) and isinstance(pair[0], str) and isinstance(pair[1], int):
            place = of_pair(*pair)
            if place:
                yield {"name": name, **place}
                return
        for number, item in enumerate(pair):
            yield from walk(f"{name}[{number}]", item, depth + 1)


def of_host(name: str, own: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """REDIS_HOST and the like, with REDIS_PORT, REDIS_DB and REDIS_PASSWORD beside it."""
    match = re.fullmatch("(.*REDIS.*?_?)(HOST|HOSTNAME|SERVER)", name)
    if match and isinstance(own[name], str) and "://" not in own[name]:
        stem = match.group(1)
        if not any(own.get(stem + last) for last in ("PASSWORD", "PASS", "AUTH")):
            place = of_pair(own[name], own.get(stem + "PORT"), own.get(stem + "DB"))
            if place:
                yield {"name": name, **place}


def of_pair(host: str, port: Any = None, database: Any = None) -> dict[str, Any] | None:
    try:
        number = 0 if isinstance(database, (bool, type(None))) else int(database)
        port = int(port or PORT)
    except (TypeError, ValueError):
        return None
    if not re.fullmatch(r"[\w.:-]+", host):
        return None
    shown = f"{host}:{port}/{number}"
    return {"host": host, "port": port, "database": number, "query": "", "shown": shown}

"""Whether what a project names (scripts/redis.py) is on the Redis that celeryhost provides, and what to say then."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import socket
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "ip6-localhost", "localhost.localdomain")
KINDS = {"name": str, "host": str, "port": int, "database": int, "query": str, "shown": str}
Place = dict[str, Any]  # the KINDS of one, and what `located` adds
Found = dict[str, Any]  # {"backend": a Place or None, "settings": [Place]}
WIDE = 200  # characters of a name or an address that are shown


def located(place: dict[str, Any]) -> Place:
    """`place` with what this machine makes of its host: its `addresses`, whether it is `here`, or `unknown` by name.

    A project has said it, so that nothing of it is believed to be of its kind.
    """
    place = {key: kind(place[key]) for key, kind in KINDS.items()}
    host, unknown = place["host"], False
    try:
        addresses = [str(ipaddress.ip_address(host))]
    except ValueError:
        addresses = []
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = sorted({str(address[0]) for *_, address in found})
        except socket.gaierror as error:
            # Not while DNS is away, or what is elsewhere would move here.
            unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)) and "." not in host
        except (OSError, UnicodeError):
            pass
    here = host in LOOPBACK or any(map(_is_here, addresses))
    return place | {"addresses": addresses, "here": here, "unknown": unknown}


def packed(found: Found) -> str:
    """What `unpacked` reads. Ansible strikes out of an answer whatever a variable of `environment` says, a port too."""
    return base64.b64encode(json.dumps(found).encode()).decode()


def unpacked(text: str | None) -> Found:
    """{"backend": the located place or None, "settings": places}."""
    found: Found = json.loads(base64.b64decode(text)) if text else {"backend": None, "settings": []}
    return found


def is_on(place: Place, url: str | None, here: bool) -> bool:
    """Whether a located place is on the Redis of `url`, which is on that machine if `here`, and asks for a password.

    A name that nobody knows, as that of a service of Docker Compose, stands for it too.
    """
    parts = urlsplit(url or "")
    if not parts.password or place["port"] != (parts.port or 6379):
        return False
    own = here or parts.hostname in LOOPBACK or _is_loopback(parts.hostname)
    return bool(
        (own and place["here"]) or place["unknown"] or parts.hostname in (place["host"].lower(), *place["addresses"])
    )


def remarks(app: str, found: Found, url: str | None, here: bool, given: bool) -> list[str]:
    """A line for each thing of app `app` that a person should know of its places, `found` by module celery_app.

    `given`: whether the description says where results go.
    """
    lines = []
    backend = found["backend"]
    if backend and not given and backend["unknown"] and is_on(backend, url, here):
        lines.append(
            f"{app}: result_backend is {shown(backend['shown'])}, and no host of that name is known here: its results "
            "go to the Redis of celeryhost (results: redis says so, CELERY_RESULT_BACKEND under environment another)"
        )
    for place in found["settings"]:
        if is_on(place, url, here):
            lines.append(
                f"{app}: {shown(place['name'])} of Django's settings is {shown(place['shown'])}, the Redis of "
                "celeryhost without its password, and will be refused. Let it come from the environment, such as "
                f'os.environ["REDIS_URL"], and write in celery_apps: environment: {{REDIS_URL: {variable(place)}}}'
            )
    return lines


def variable(place: Place) -> str:
    """What a person writes under `environment` for the same database with the password."""
    word = f"redis_urls[{place['database']}]" if place["database"] else "redis_url"
    return f'"{{{{ {word} }}}}"'


def shown(text: str) -> str:
    """What a project says, for a terminal: on one line, and not without end."""
    return re.sub(r"[^\x20-\x7e]", "?", text)[:WIDE]


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _is_here(address: str) -> bool:
    """Only an address of its own can be bound."""
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
        return True
    except OSError:
        return False

"""Finding the supervisord to talk to, as supervisorctl finds it.

http://supervisord.org/configuration.html#supervisorctl-section-settings
"""

from __future__ import annotations

import os
import sys
from collections import namedtuple

from .errors import DENIED, DOWN, USAGE, Failure

PASSWORD_VARIABLE = "SUPERVISOR_PASSWORD"
SEARCH = ("supervisord.conf", "etc/supervisord.conf", "/etc/supervisord.conf", "/etc/supervisor/supervisord.conf")

Server = namedtuple("Server", "url user password config", defaults=(None, None, None))
Server.__doc__ = """Where supervisord listens (`unix://PATH` or `http://HOST:PORT`), the credentials, and the
configuration file that said so (None when a URL was given)."""


def find(config: str | None = None, url: str | None = None, user: str | None = None) -> Server:
    """The server that the options `-c`, `-s` and `-u` name, else the one supervisorctl would take.

    A password comes from the file or from $SUPERVISOR_PASSWORD, never from the command line.
    Raises Failure: USAGE for a file or URL that makes no sense, DENIED, DOWN when there is no file at all.
    """
    password = os.environ.get(PASSWORD_VARIABLE)
    if url:
        return Server(_checked(url, "-s"), user, password, config)
    config = os.path.abspath(config) if config else default_config()
    settings = read_section(config, "supervisorctl")
    found = _checked(settings.get("serverurl", "http://localhost:9001"), f"serverurl in {config}")
    return Server(found, user or settings.get("username"), password or settings.get("password"), config)


def default_config() -> str:
    """The first existing file of supervisorctl's search path; raises Failure (DOWN) when there is none."""
    beside = os.path.dirname(os.path.dirname(sys.argv[0]))
    for path in (*(os.path.join(beside, place) for place in SEARCH[1::-1]), *SEARCH):
        if os.path.exists(path):
            return os.path.abspath(path)
    raise Failure(
        f"no supervisord.conf here ({', '.join(SEARCH)})", DOWN, "name one with -c FILE, or a server with -s URL"
    )


def read_section(path: str, section: str) -> dict[str, str]:
    """One section of a Supervisor file, expanded: `%(here)s`, `%(ENV_X)s`, `%%`; without included files.

    Read by hand because `import configparser` costs as much as the rest of `status` (9 of 20 ms).
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as lines:
            settings = dict(_settings(lines, f"[{section}]"))
    except PermissionError:
        raise Failure(f"{path} is not readable for you", DENIED, "join group `supervisor`, or use sudo") from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", USAGE, "name the configuration file with -c FILE") from None
    known = {f"ENV_{name}": value for name, value in os.environ.items()} | {"here": os.path.dirname(path)}
    try:
        return {key: value % known for key, value in settings.items()}
    except (KeyError, ValueError, TypeError) as error:
        raise Failure(f"[{section}] in {path} does not expand: {error}", USAGE, "write a plain % as %%") from None


def _settings(lines, header: str):
    inside = False
    for line in lines:
        text = line.strip()
        if text.startswith("["):
            inside = text.startswith(header)
        elif inside and text[:1] not in ("", ";", "#") and not line[0].isspace():
            for comment in (" ;", "\t;", " #", "\t#"):
                text = text.split(comment, 1)[0]
            key, _, value = text.replace(":", "=", 1).partition("=") if "=" not in text else text.partition("=")
            yield key.strip().lower(), value.strip()


def _checked(url: str, where: str) -> str:
    if url.startswith("unix://"):
        return "unix://" + os.path.abspath(os.path.expanduser(url[len("unix://") :]))
    if url.startswith("http://"):
        return url.rstrip("/")
    raise Failure(f"{where}: {url!r} is no server URL", USAGE, "write unix:///run/supervisor.sock or http://HOST:PORT")

"""Finding the supervisord to talk to, as supervisorctl finds it.

http://supervisord.org/configuration.html#supervisorctl-section-settings
"""

from __future__ import annotations

import os
import sys
from collections import namedtuple

from ..errors import DENIED, DOWN, USAGE, Failure
from ..paths import SUPERVISORD_CONF

PASSWORD_VARIABLE = "SUPERVISOR_PASSWORD"
SEARCH = ("supervisord.conf", "etc/supervisord.conf", "/etc/supervisord.conf", SUPERVISORD_CONF)

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
    settings = read_section(config, "supervisorctl", "serverurl", "username", "password")
    found = _checked(settings.get("serverurl", "http://localhost:9001"), f"serverurl in {config}")
    return Server(found, user or settings.get("username"), password or settings.get("password"), config)


def default_config() -> str:
    """The first existing file of supervisorctl's search path; raises Failure (DOWN) when there is none.

    Root is not led by the folder it happens to stand in, which may be another user's.
    """
    beside = os.path.dirname(os.path.dirname(sys.argv[0]))
    places = [*(os.path.join(beside, place) for place in SEARCH[1::-1]), *SEARCH]
    if os.geteuid() == 0:
        places = [place for place in places if os.path.isabs(place)]
    for path in places:
        if os.path.exists(path):
            return os.path.abspath(path)
    raise Failure(
        f"no supervisord.conf here ({', '.join(dict.fromkeys(places))})",
        DOWN,
        "name one with -c FILE, or a server with -s URL",
    )


def read_section(path: str, section: str, *options: str) -> dict[str, str]:
    """Those of the options that a section of a Supervisor file sets, expanded: `%(here)s`, `%(ENV_X)s`, `%%`; without
    included files. Raises Failure (USAGE, DENIED)."""
    path = os.path.abspath(path)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except PermissionError:
        raise Failure(f"{path} is not readable for you", DENIED, "join group `supervisor`, or use sudo") from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", USAGE, "name the configuration file with -c FILE") from None
    settings = _plain_settings(lines, section)
    if settings is None:
        settings = _settings(path, lines, section)
    known = {f"ENV_{name}": value for name, value in os.environ.items()}
    known |= {"here": os.path.dirname(path), "host_node_name": os.uname().nodename}
    found = {}
    for option in options:
        if option in settings:
            try:
                found[option] = settings[option] % known
            except (KeyError, ValueError, TypeError) as error:
                told = f"{option} of [{section}] in {path} does not expand: {error}"
                raise Failure(told, USAGE, "write a plain % as %%, or correct the name") from None
    return found


def _plain_settings(lines: list[str], section: str) -> dict[str, str] | None:
    """A section of a file in which each line is a setting, a header, a comment or blank; None of any other file.

    It spares `import configparser`, which costs half of what `status` may take.
    """
    settings: dict[str, str] = {}
    inside = None
    for line in lines:
        if line[:1] in ("#", ";"):
            continue
        text = line
        for mark in "#;":
            if mark in text and (at := _comment(text, mark)) > 0:
                text = text[:at]
        text = text.rstrip()
        if not text:
            continue
        if text[0] == "[":
            name, bracket, rest = text[1:].partition("]")
            if not bracket or rest or name in ("", "DEFAULT"):
                return None
            inside = name
            continue
        ends = [end for end in (text.find("="), text.find(":")) if end >= 0]
        if inside is None or text[0].isspace() or not ends or not min(ends):
            return None
        if inside == section:
            settings[text[: min(ends)].rstrip().lower()] = text[min(ends) + 1 :].lstrip()
    return settings


def _comment(line: str, mark: str) -> int:
    """Where a comment begins that a blank stands before; -1 without one."""
    at = line.find(mark, 1)
    while at > 0 and not line[at - 1].isspace():
        at = line.find(mark, at + 1)
    return at


def _settings(path: str, lines: list[str], section: str) -> dict[str, str]:
    """A section of any file, read as supervisord does (UnhosedConfigParser of supervisor/options.py)."""
    import configparser

    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        parser.read_file(lines)
    except configparser.Error as error:  # its text holds lines of the file
        place = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), "?")
        told = f"{path}: line {place} is no [section] and no key=value, or stands before any [section]"
        raise Failure(told, USAGE, "correct that line") from None
    return dict(parser.items(section)) if parser.has_section(section) else {}


def _checked(url: str, where: str) -> str:
    if url.startswith("unix://"):
        return "unix://" + os.path.abspath(os.path.expanduser(url[len("unix://") :]))
    if url.startswith("http://"):
        return url.rstrip("/")
    raise Failure(f"{where}: {url!r} is no server URL", USAGE, "write unix:///run/supervisor.sock or http://HOST:PORT")

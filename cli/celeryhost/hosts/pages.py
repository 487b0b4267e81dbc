"""The web pages of a host: Supervisor's own and Flower's, and a way to them through ssh."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..errors import DENIED, DOWN, FAILED, TIMEOUT, UNKNOWN, UNREACHABLE, USAGE, Failure
from ..paths import WEB_PASSWORD
from ..supervisor import conffile, locate
from .inventory import Host
from .remote import CONNECT_SECONDS, plain_ssh, ssh

PAGE_SECTION = "celeryhost:page"
PAGE_OPTIONS = ("port", "username", "password")
FLOWER_PORT = 5555


class Page(NamedTuple):
    """Where a page is, on its own host: `address` to connect to, `port`, `path` with its first `/`.
    `user` is None when the page asks for none, `password` None when it was not asked for."""

    name: str
    address: str
    port: int
    path: str
    user: str | None
    password: str | None


def supervisor(config: str | None, credentials: bool) -> Page:
    """Supervisor's page as `[inet_http_server]` describes it
    (http://supervisord.org/configuration.html#inet-http-server-section-settings), or the section in which
    templates/supervisord.conf.j2 says where HAProxy serves it.

    Raises Failure: UNKNOWN when it has none, DENIED and UNKNOWN for `credentials` that cannot be told.
    """
    config = os.path.abspath(config) if config else locate.default_config()
    settings = locate.read_section(config, "inet_http_server", *PAGE_OPTIONS)
    settings = settings or locate.read_section(config, PAGE_SECTION, *PAGE_OPTIONS)
    if "port" not in settings:
        fix = "celeryhost provision makes it, or write [inet_http_server] there"
        raise Failure(f"Supervisor has no page here: no [inet_http_server] in {config}", UNKNOWN, fix)
    address, _, port = settings["port"].rpartition(":")
    if not port.isdigit():
        raise Failure(f"port={settings['port']} of the page in {config} is no port", USAGE, "write HOST:PORT")
    user = settings.get("username")
    password = _password(settings.get("password", ""), config) if credentials and user else None
    return Page("Supervisor", _reachable(address), int(port), "/", user, password)


def flower(config: str | None, app: str | None, credentials: bool) -> Page:
    """Flower's page, from the command line and environment of its program
    (https://flower.readthedocs.io/en/latest/config.html).

    Raises Failure: UNKNOWN when no program is Flower, USAGE when several are and `app` names none of them, DENIED and
    FAILED for `credentials` that cannot be told.
    """
    programs = conffile.load(os.path.abspath(config) if config else locate.default_config())
    found = {name: program for name, program in programs.items() if "flower" in shlex.split(program.command)[1:]}
    if app:
        found = {name: program for name, program in found.items() if name.startswith(f"{app}-") or name == app}
    if not found:
        fix = "write `flower: true` for the app in celery_apps and run celeryhost provision; it runs beside beat"
        raise Failure(f"no Flower here{f' for app {app!r}' if app else ''}", UNKNOWN, fix)
    if len(found) > 1:
        raise Failure(f"there are several Flowers here, {', '.join(found)}", USAGE, "choose one with --app")
    [program] = found.values()

    def option(name: str, default: str = "") -> str:
        for word in shlex.split(program.command):
            key, equals, value = word.partition("=")
            if equals and key.replace("_", "-") == f"--{name}":
                return value
        return str(program.environment.get(f"FLOWER_{name.upper().replace('-', '_')}", default))

    user, _, password = option("basic-auth").partition(",")[0].partition(":")
    file = program.environment.get("FLOWER_PASSWORD_FILE")  # of templates/celery.conf.j2
    if file and not user:
        user = program.environment["FLOWER_USER"]
        password = _secret(file) if credentials else ""
        if credentials and not password:
            raise Failure(f"{file}, Flower's password, is not there", FAILED, "celeryhost provision makes it")
    path = "/" + option("url-prefix").strip("/")
    port = int(option("port", str(FLOWER_PORT)))
    return Page("Flower", _reachable(option("address")), port, path, user or None, password if credentials else None)


def check(page: Page) -> None:
    """Raise Failure (DOWN) when nothing listens there."""
    try:
        socket.create_connection((page.address, page.port), CONNECT_SECONDS).close()
    except OSError as error:
        message = f"{page.name} does not answer at {page.address}:{page.port}: {error.strerror or error}"
        raise Failure(message, DOWN, "see celeryhost status") from None


def url(page: Page, port: int | None = None) -> str:
    """The address for a browser; `port` where a tunnel ends."""
    if port is None and page.address not in ("127.0.0.1", "::1"):
        host = f"[{page.address}]" if ":" in page.address else page.address
    else:
        host = "localhost"
    return f"http://{host}:{port or page.port}{page.path}"


def free_port(wanted: int | None, usual: int) -> int:
    """A port of this machine for a tunnel: the one wanted, else the usual one, else any.

    Raises Failure (USAGE) when the one wanted is taken or not allowed.
    """
    for port in (wanted,) if wanted else (usual, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                reason = error.strerror
                continue
            return int(probe.getsockname()[1])
    raise Failure(f"port {wanted} of this machine: {reason}", USAGE, "leave out --port to get a free one")


@contextmanager
def tunnel(host: Host, page: Page, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh that brings `page` of a host (inventory.Host) to `port` of this machine, until the end of the block.

    Yields its process. Raises Failure (UNREACHABLE, TIMEOUT).
    """
    import time

    # Not through the shared connection, which would keep the tunnel open after us. `cat` ends with its stdin, so
    # that a celeryhost that is killed leaves no ssh behind.
    target = f"[{page.address}]" if ":" in page.address else page.address
    forward = ["-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes"]
    forward += ["-L", f"127.0.0.1:{port}:{target}:{page.port}"]
    process = subprocess.Popen(
        [*ssh(host, *forward), "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        end = time.monotonic() + 2 * CONNECT_SECONDS
        while not _accepts(port):
            if process.poll() is not None:
                raise Failure(f"{host.name}: {last_words(process)}", UNREACHABLE, f"try {plain_ssh(host)}")
            if time.monotonic() > end:
                raise Failure(
                    f"{host.name}: no tunnel within {2 * CONNECT_SECONDS} s", TIMEOUT, f"try {plain_ssh(host)}"
                )
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def last_words(process: subprocess.Popen[bytes]) -> str:
    """The last line that an ssh which has ended left on stderr."""
    left = process.stderr.read() if process.stderr else b""
    lines = left.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"ssh ended with code {process.returncode}"


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _reachable(address: str) -> str:
    """The address to connect to for one to listen at."""
    address = address.strip("[]")
    return {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}.get(
        address, address
    )


def _password(stored: str, config: str) -> str:
    """The page's password in clear: from the file itself, or where celeryhost keeps what is only a hash there."""
    from hashlib import sha1

    if stored and not stored.startswith("{SHA}"):
        return stored
    password = _secret(WEB_PASSWORD)
    if stored and sha1(password.encode()).hexdigest() != stored[len("{SHA}") :].lower():
        fix = "set another one: supervisor_web_password and celeryhost provision"
        raise Failure(f"{config} has only a hash of the password", FAILED, fix)
    return password


def _secret(path: str) -> str:
    """What a password's file holds, empty without one. Raises Failure (DENIED)."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except PermissionError:
        raise Failure(f"{path} is not readable for you", DENIED, "join group `supervisor`, or use sudo") from None
    except OSError:
        return ""

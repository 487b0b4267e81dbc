"""`celeryhost open`: Supervisor's page, or Flower's, in a browser."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from ..errors import FAILED, OK, UNREACHABLE, USAGE, Failure
from ..hosts import pages
from ..hosts.inventory import Host, targets
from ..hosts.remote import is_remote
from ..hosts.target import Target
from ..plain import plain
from .hosts import each

VERSION = 1  # of the JSON, docs/json.md


@click.command("open")
@click.option("--flower", is_flag=True, help="Flower's page instead of Supervisor's.")
@click.option("--app", help="The app whose Flower, where a host has several.")
@click.option("--credentials", is_flag=True, help="Show the user and password that the page asks for.")
@click.option("--no-browser", is_flag=True, help="Only show the address.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of this machine for the tunnel.")
@click.option("--json", "as_json", is_flag=True, help="Say where the page is, as one JSON object, and open nothing.")
@click.pass_obj
def open_(
    target: Target, flower: bool, app: str | None, credentials: bool, no_browser: bool, port: int | None, as_json: bool
) -> int:
    """Open the Supervisor page of this machine, or of a host (-H) through an ssh tunnel that Ctrl-C closes."""
    if not is_remote(target):
        if port:
            raise Failure(f"--port {port} is for a tunnel", USAGE, "name a host with -H")
        page = pages.flower(target.config, app, credentials) if flower else pages.supervisor(target.config, credentials)
        pages.check(page)
        if as_json:
            print(json.dumps({"version": VERSION, "url": pages.url(page), **page._asdict()}))
            return OK
        return _show(pages.url(page), page, credentials, no_browser)
    hosts = targets(target.inventory, target.hosts)
    if len(hosts) > 1:
        names = ", ".join(host.name for host in hosts)
        raise Failure(f"a page is of one host, these are {len(hosts)}: {names}", USAGE, "choose one with -H")
    return _remote(target, hosts[0], flower, app, credentials, no_browser, port, as_json)


def _remote(
    target: Target,
    host: Host,
    flower: bool,
    app: str | None,
    credentials: bool,
    no_browser: bool,
    port: int | None,
    as_json: bool,
) -> int:
    given = {"--flower": flower, "--credentials": credentials}
    argv = ["open", *(flag for flag, wanted in given.items() if wanted), *([f"--app={app}"] if app else [])]
    found: list[dict[str, Any]] = []
    # Flower's port stands in a file of conf.d, which only root may read.
    code = each(target, argv, lambda _, data: found.append(data), root=flower)
    if not found:
        return code
    if as_json:
        print(json.dumps({"host": host.name, **found[0]}))
        return OK
    known: dict[str, Any] = {field: found[0].get(field) for field in pages.Page._fields}
    page = pages.Page(**known)
    if host.variables.get("ansible_connection") == "local":
        return _show(found[0]["url"], page, credentials, no_browser)
    port = pages.free_port(port, page.port)
    with pages.tunnel(host, page, port) as ssh:
        try:
            _show(pages.url(page, port), page, credentials, no_browser)
            print(plain(f"celeryhost: {page.name} of {host.name}, until Ctrl-C"), file=sys.stderr)
            ssh.wait()
        except KeyboardInterrupt:
            return OK
        raise Failure(f"{host.name}: the tunnel closed: {pages.last_words(ssh)}", UNREACHABLE)


def _show(url: str, page: pages.Page, credentials: bool, no_browser: bool) -> int:
    print(plain(url))
    if credentials:
        print(
            plain(f"user {page.user}, password {page.password}" if page.user else f"{page.name} asks for no password")
        )
    sys.stdout.flush()
    if no_browser or _browse(url):
        return OK
    print("celeryhost: there is no browser here; open the address yourself, or add --no-browser", file=sys.stderr)
    return FAILED


def _browse(url: str) -> bool:
    """Open a browser of the desktop; one for the terminal would take it away."""
    import webbrowser

    desktop = sys.platform == "darwin" or any(map(os.environ.get, ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")))
    return bool(desktop) and webbrowser.open(url)

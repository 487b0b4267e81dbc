"""`celeryhost deploy`, `releases` and `rollback`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from ..controller import provision as core
from ..errors import DENIED, UNKNOWN, USAGE, Failure, near
from ..hosts.inventory import targets
from ..hosts.remote import is_remote
from ..hosts.target import Target
from ..lock import held, person
from ..plain import plain
from ..project import releases as record
from ..supervisor import locate
from ..terminal import coloured, confirm, paint
from .hosts import each, merged
from .noting import noted
from .provision import arguments, shared

VERSION = 1  # of the JSON, docs/json.md
COLOURS = {"running": "green", record.PROVEN: None, record.FAILED_STATE: "red", record.ROLLED_BACK: "yellow"}
HEAD = ("RELEASE", "STATE", "VERSION", "WHEN", "BY", "SIZE")


@click.command()
@click.argument("app", required=False)
@click.option("--version", metavar="V", help="A branch, tag or commit in place of the inventory's.")
@click.option("--again", is_flag=True, help="Also a commit that was rolled back.")
@click.option("--drop-unknown", is_flag=True, help="Though tasks wait that the new code does not know.")
@shared
def deploy(
    target: Target, app: str | None, version: str | None, again: bool, drop_unknown: bool, **options: Any
) -> int:
    """Bring the code of all apps, or of one, and what follows from it: requirements, migrations, restarts.

    With `keep` in the description nothing that runs is touched before the new release is ready, and one that does not
    work is left for the one before it.
    """
    if version and not app:
        raise Failure("--version is of one app", USAGE, "celeryhost deploy APP --version V")
    if version is not None and (not version or version.startswith(("-", ":", "+", "^"))):
        raise Failure(f"version {version!r} is no branch, tag or commit", USAGE, "name one")
    variables: dict[str, Any] = {"lock_command": "deploy"} | ({"project_only": [app]} if app else {})
    variables |= {"project_versions": {app: version}} if version else {}
    variables |= {"project_again": True} if again else {}
    variables |= {"project_drop_unknown": True} if drop_unknown else {}
    extra = [*arguments(options), "--tags", "project,celery", "-e", json.dumps(variables)]
    inventory, limit = options["inventory"] or target.inventory, options["limit"] or target.hosts
    return core.playbook("provision", inventory, limit, extra, options["ask_become_pass"])


@click.command()
@click.argument("app", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/json.md).")
@click.pass_obj
def releases(target: Target, app: str | None, as_json: bool) -> int:
    """The releases of all apps, or of one: what runs, what worked before it, and what failed."""
    if is_remote(target):
        argv = ["releases", *(["--", app] if app else [])]
        return merged(target, argv, lambda host, data: _show(data["apps"], host), as_json, VERSION, 60)
    apps = [_told(name) for name in ([app] if app else record.apps())]
    if app and not apps[0]["releases"]:
        fix = near(app, record.apps()) or "write keep: 5 for it in celery_apps, and provision"
        raise Failure(f"app {app!r} has no releases here", UNKNOWN, fix)
    if as_json:
        click.echo(json.dumps({"version": VERSION, "apps": apps}))
    elif apps:
        _show(apps)
    else:
        click.echo("no app here has releases; write keep: 5 for one in celery_apps, and provision")
    return 0


@click.command()
@click.argument("app")
@click.argument("release", required=False)
@click.option("--across-migrations", "across", is_flag=True, help="Though migrations were applied since.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/json.md).")
@click.option("--wait", is_flag=True, help="Wait for another run on a host, instead of being refused.")
@click.option("--yes", is_flag=True, help="Do not ask before it is done on several hosts.")
@click.option("--by", default="", hidden=True)
@click.pass_obj
@noted()
def rollback(
    target: Target, app: str, release: str | None, across: bool, as_json: bool, wait: bool, yes: bool, by: str
) -> int:
    """Go back to RELEASE, or to the one that worked before this one, and prove that it works.

    It takes no network, and no commit that was rolled back is deployed again without --again.
    """
    if is_remote(target):
        hosts = targets(target.inventory, target.hosts)
        if len(hosts) > 1:
            confirm(f"Go back with {app} on {len(hosts)} hosts?", yes)
        options = [*(["--across-migrations"] if across else []), *(["--wait"] if wait else [])]
        argv = ["rollback", "--yes", f"--by={by or person()}", *options, "--", app, *filter(None, [release])]

        def show(host: str, data: dict[str, Any]) -> None:
            _say(data, as_json, host)

        return each(target, argv, show, root=True, timeout=None)
    from ..states.releases_return import go_back

    if os.geteuid():
        raise Failure("going back changes what Supervisor runs, which only root may", DENIED, "use sudo")
    config = locate.find(target.config, target.url, target.user).config
    if not config:
        raise Failure("going back changes files that a server's address does not name", USAGE, "name -c FILE")
    with held("rollback", wait, lambda text: click.echo(f"celeryhost: waiting: {text}", err=True), by):
        now, left = go_back(app, release, config, across)
    _say({"version": VERSION, "app": app, "release": now, "left": left}, as_json)
    return 0


def _told(app: str) -> dict[str, Any]:
    known = record.load(app)
    return {"app": app, "releases": [_one(known, each) for each in known.releases]}


def _one(known: record.Record, release: record.Release) -> dict[str, Any]:
    told = asdict(release)
    del told["verify"], told["built"]
    return told | {"state": "running" if release.id == known.current else release.state, "size": _size(release.code)}


def _size(folder: str) -> int | None:
    """Bytes that a folder takes on the disk; None where it can't be read."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return None
    places = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(os.lstat(path).st_blocks * 512 for path in places)


def _show(apps: Sequence[dict[str, Any]], host: str | None = None) -> None:
    for app in apps:
        rows = [HEAD, *_rows(app["releases"])]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        click.echo(plain(f"{host}  {app['app']}" if host else app["app"]))
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            cells[1] = paint(cells[1], COLOURS.get(row[1]), coloured())
            click.echo(f"  {'  '.join(cells).rstrip()}")
        for release in app["releases"]:
            if release["reason"] and release["state"] == record.FAILED_STATE:
                click.echo(f"  {plain(release['id'])}: {plain(str(release['reason']).splitlines()[0])}")


def _rows(found: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for each_ in reversed(found):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(each_["proven"] or each_["made"]))
        size = "" if each_["size"] is None else f"{each_['size'] / 1e6:.1f} MB"
        by = "@".join(filter(None, [each_["by"], each_["origin"]]))
        yield tuple(plain(str(cell)) for cell in (each_["id"], each_["state"], each_["version"], when, by, size))


def _say(data: dict[str, Any], as_json: bool, host: str | None = None) -> None:
    if as_json:
        click.echo(json.dumps(({"host": host} if host else {}) | data))
    else:
        said = f"{data['app']}: went back to {data['release']}, from {data['left']}"
        click.echo(plain(f"{host}  {said}" if host else said))

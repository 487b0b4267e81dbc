"""`celeryhost init`: an inventory for the project at hand."""

from __future__ import annotations

import os
import sys

import click

from ..errors import OK, USAGE, Failure
from ..plain import plain
from ..project import init as core


@click.command()
@click.argument("project", default=".", type=click.Path())
@click.option("-o", "--output", metavar="FOLDER", help="The inventory to write; default: inventory/NAME.")
@click.option("--host", metavar="ADDRESS", help="Where it is to run: [USER@]ADDRESS, or localhost.")
@click.option("--user", metavar="NAME", help="User to log in as there: root, or one who may use sudo.")
@click.option("--name", help="Name of the app: of its programs, its user, its folders.")
@click.option("-A", "--app", metavar="MODULE", help="The Celery app, as for celery -A.")
@click.option("--settings", metavar="MODULE", help="DJANGO_SETTINGS_MODULE on the host.")
def init(
    project: str,
    output: str | None,
    host: str | None,
    user: str | None,
    name: str | None,
    app: str | None,
    settings: str | None,
) -> int:
    """Write an inventory folder for the Django project in PROJECT (default: this folder).

    What can't be found in the project is asked for on a terminal, or taken by option. Nothing is overwritten.
    """
    directory = _one("project folder", {os.path.relpath(path): "" for path in core.find(project)}, None, "PROJECT")
    found = core.look(directory, project)
    apps = _shown(found.directory, found.apps)
    app = _one("Celery app", _shown(found.directory, found.started) or apps, app, "--app")
    settings = settings or _first("settings module", found.settings, "--settings")
    name = name or core.app_name(found)
    entry = core.description(found, name, app, settings)
    output = output or os.path.join("inventory", name)
    if os.path.lexists(output):
        raise Failure(f"{output} exists and is left as it is", USAGE, "name another one with --output")
    host = host or _ask("address of the host (localhost: this machine)", "--host")
    login, _, host = host.rpartition("@")
    local = host in core.LOCAL
    user = user or login or ("" if local else _ask("user to log in as", "--user", "root"))
    core.write(output, core.files(entry, host, user))
    click.echo(f"Wrote {output}:")
    for key in ("name", "source", "version", "subfolder", "app", "requirements", "results"):
        if entry.get(key):
            click.echo(f"  {key:<13} {plain(entry[key])}")
    click.echo(f"  {'beat':<13} {plain(entry['beat'].get('scheduler', 'yes'))}")
    for variable, value in entry["environment"].items():
        click.echo(f"  {variable} {plain(value)}")
    for others, taken, option in ((apps, app, "--app"), (found.settings, settings, "--settings")):
        for other, file in others.items():
            if other != taken:
                click.echo(plain(f"  ({file} has {other} instead; {option} chooses)"))
    for remark in core.remarks(found, entry):
        click.echo(plain(f"Mind: {remark}"))
    click.echo(
        f"Look it over, then:\n  celeryhost provision -i {output} --check --diff\n  celeryhost provision -i {output}"
    )
    return OK


def _shown(directory: str, apps: dict[str, str]) -> dict[str, str]:
    return {app: os.path.relpath(file, directory) for app, file in apps.items()}


def _one(what: str, candidates: dict[str, str], given: str | None, option: str) -> str:
    """What was given, else the only candidate, else the one that the person at the terminal chooses."""
    if given:
        return given
    if not candidates:
        return _ask(f"no {what} found; which is it", option)
    if len(candidates) == 1:
        return next(iter(candidates))
    listed = ", ".join(f"{name} ({file})" if file else name for name, file in candidates.items())
    if not sys.stdin.isatty():
        raise Failure(f"more than one {what}: {listed}", USAGE, f"choose with {option}")
    click.echo(f"More than one {what}: {listed}")
    return click.prompt("Which", type=click.Choice(list(candidates)), default=next(iter(candidates)))


def _first(what: str, candidates: dict[str, str], option: str) -> str:
    return next(iter(candidates), None) or _ask(f"no {what} found; which is it", option)


def _ask(question: str, option: str, default: str | None = None) -> str:
    if sys.stdin.isatty():
        return click.prompt(question[0].upper() + question[1:], default=default)
    if default:
        return default
    raise Failure(f"{question}?", USAGE, f"say it with {option}")

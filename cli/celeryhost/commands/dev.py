"""`celeryhost dev`: a development stack on the terminal."""

from __future__ import annotations

import os
import signal
import sys

import click

from ..errors import OK, USAGE, Failure
from ..project import dev as core
from ..project import init
from .logs import Printer


@click.command()
@click.argument("project", default=".", type=click.Path())
@click.option("--dir", "folder", metavar="FOLDER", help="Where it keeps everything; default: PROJECT/.celeryhost.")
@click.option("--fresh", is_flag=True, help="Forget queued tasks and beat's schedule of the last time.")
@click.option("-A", "--app", metavar="MODULE", help="The Celery app, as for celery -A.")
@click.option("-B", "beat_in_worker", is_flag=True, help="Beat inside the worker, as by celery worker -B.")
def dev(project: str, folder: str | None, fresh: bool, app: str | None, beat_in_worker: bool) -> int:
    """Run worker, beat and a private Redis for the Django project in PROJECT (default: this folder).

    Without root, and without touching anything outside its folder. Ctrl-C ends it once the running tasks have ended; a
    second one ends it at once. Programs have your environment; '{{ redis_url }}' in a variable of it stands for the
    private Redis, '{{ redis_urls[1] }}' for its database 1.
    """
    directories = init.find(project)
    if len(directories) > 1 and os.path.abspath(project) not in directories:
        listed = ", ".join(os.path.relpath(directory) for directory in directories)
        raise Failure(f"more than one project: {listed}", USAGE, "name one of these folders")
    stack = core.Stack(directories[0], folder or core.default_folder(directories[0]), app, beat_in_worker, fresh)
    _introduce(stack)
    printer = Printer(None, as_json=False)
    printer.know(stack.programs)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: _stop(stack))
    for line in stack.run():
        printer.write(None, line)
        sys.stdout.flush()
    click.echo("ended; nothing is left running")
    return OK


def _introduce(stack: core.Stack) -> None:
    here = os.path.relpath(stack.folder)
    click.echo(f"celery -A {stack.app}, from {stack.virtualenv}; everything is in {here}; Ctrl-C ends it")
    if stack.web:
        click.echo(f"  page           {stack.web} (user {core.WEB_USER}, password in {here}/web.password)")
    else:
        click.echo("  page           none without HAProxy, which keeps other pages in the browser from it")
    click.echo(f"  other commands celeryhost -c {here}/supervisord.conf status")
    click.echo(f"  your server    set -a; . {here}/environment; set +a; python manage.py runserver")
    for remark in stack.remarks:
        click.echo(f"  mind           {remark}")
    sys.stdout.flush()


def _stop(stack: core.Stack) -> None:
    stack.stop()
    os.write(2, b"\nstopping when the running tasks have ended; Ctrl-C again: at once\n" if stack.asked == 1 else b"\n")

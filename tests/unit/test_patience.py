"""Texts of others that would take a pattern hours: each is read at once."""

from __future__ import annotations

import signal

import pytest
from celeryhost import account, masking
from celeryhost.celery import log_lines
from celeryhost.project import init_files
from celeryhost.scripts import requirements
from celeryhost.states import celery_app, project_virtualenv

MUCH = 1 << 21
APP = {"name": "x", "directory": "/srv/x", "virtualenv": "/srv/x/venv"}
SECONDS = 120  # a busy machine takes three of them; without bounds it is hours


def explain(output):
    project_virtualenv.explained(output, None)
    project_virtualenv.last(output)
    celery_app._fix(APP, output)
    account.error(output, APP["directory"])
    account.error(f'Traceback (most recent call last):\n  File "/srv/x/a.py", line 3\n{output}', APP["directory"])


READ = {
    "included requirements": lambda: requirements._INCLUDED.findall("\n" * MUCH),
    "local requirements": lambda: requirements._LOCAL.findall("\n" * MUCH),
    "groups": lambda: requirements.groups("[dependency-groups]\n" + "\n" * MUCH),
    "default groups": lambda: requirements.default_groups("[tool.uv]\n" + "default-groups=[\n" * (MUCH // 17)),
    "tables": lambda: requirements._tables("[a]\n" * (MUCH // 4)),
    "a project's requirements": lambda: init_files._ABOUT.search(b"\n" * MUCH),
    "a project's scripts": lambda: list(init_files._commands("\n \t" * (MUCH // 3))),
    "what is pinned": lambda: project_virtualenv.explained("Failed to build `x==1`", None, "\n" * MUCH),
    "URLs": lambda: masking.hide_passwords("a." * (MUCH // 2) + "@"),
    "expansions": lambda: masking.hide_passwords("{'a': " * (MUCH // 6) + "'ENV_"),
    "a line of beat": lambda: log_lines.entry_sent("Scheduler: Sending due task " * (MUCH // 28)),
    "a line of a worker": lambda: log_lines.has_succeeded("Task " + "a[]" * (MUCH // 3)),
}
SAID = ("FileNotFoundError: ", "command ", "Failed to build `", "No solution found", "No solution found\n", "\n", "w",
        "metadata-generation-failed", "fatal: unable to access '", "aError: ", "compiler ", "a.", " ")  # fmt: skip
READ |= {f"output {said!r}": lambda said=said: explain(said * (MUCH // len(said))) for said in SAID}


@pytest.mark.parametrize("what", READ)
def test_is_read_at_once(what):
    def too_long(*_):
        raise AssertionError(f"{what}: still at it after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        READ[what]()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_the_end_of_an_output_still_says_why():
    noise = "compiling\n" * (MUCH // 10)
    assert "no space left" in project_virtualenv.explained(f"{noise}No space left on device\n", None)
    assert project_virtualenv.last(f"{noise}error: it failed\ncause: why\n") == "it failed: why"
    unsolved = (
        "No solution found when resolving:\n  Because a wants b\n  And because c wants d, both are unsatisfiable.\n"
    )
    assert project_virtualenv.last(unsolved).endswith("because c wants d, both are unsatisfiable.")


def test_a_dump_of_an_environment_is_masked_wherever_it_stands():
    dump = "{'here': '/etc', 'ENV_SECRET': 'x'}"
    assert masking.hide_passwords(f"a {{b}} 'ENV_ {dump}, c") == f"a {{b}} 'ENV_ {masking.MASK}, c"
    assert masking.hide_passwords("{'ENV_SECRET': 'x'} end") == f"{masking.MASK} end"

"""Command lines as public projects have them in their Supervisor files."""

import subprocess
import sys

import pytest
from celeryhost import proc
from celeryhost.celery import command_line


def read(text):
    found = command_line.read(text)
    return found and (found.name, command_line.option(found.words, "-A", "--app"))


@pytest.mark.parametrize(
    "text",
    [
        "celery -A shop beat -l INFO",
        "/v/bin/celery beat -A shop",
        "/usr/bin/nice -n 5 /v/bin/celery -A shop beat",
        "/v/bin/python3 -u -W ignore -m celery --app=shop beat",
        "/usr/bin/env A=1 celery -Ashop beat",
        "poetry run celery -A shop beat",
        "uv run --no-dev python -m celery -A shop beat",
        "flock -F /var/lock/celery /v/bin/python run.py /v/bin/celery -A shop beat",
        "/bin/bash -c \"exec /v/bin/celery -A shop beat -n 'a b'\"",
        'sh -lc "cd /srv/celery && . venv/bin/activate && DEBUG=1 exec celery -A shop beat >> /var/log/x 2>&1"',
        "/bin/sh -c 'A=$(cat x) && export A && exec \"$@\"' sh /v/bin/celery -A shop beat",
        "setpriv --pdeathsig TERM bash -c 'sh -c \"celery -A shop beat\"'",
    ],
)
def test_beat_in_many_words(text):
    assert read(text) == ("beat", "shop")


@pytest.mark.parametrize(
    "text",
    [
        "celery -A shop flower",
        "celery -A beat inspect ping",
        "tail -f /var/log/celery worker.log",
        "/srv/celery/run.sh worker",
        "gunicorn shop.wsgi",
        "sh -c 'echo celery; worker'",
        "sh -c 'unclosed",
        "",
    ],
)
def test_what_starts_no_celery(text):
    assert command_line.read(text) is None


def test_options_of_what_stands_before_are_not_celerys():
    found = command_line.read("nice -n 5 celery -A shop worker -Q a -- task.acks_late=1 -n")
    assert command_line.option(found.words, "-n", "--hostname") == ""
    assert found.settings == ["task.acks_late=1", "-n"]


def test_what_a_shell_sets_before():
    text = "bash -c 'cd /srv/shop; export A=1 B=2; source env/bin/activate && C=3 celery -A shop worker -B'"
    found = command_line.read(text)
    assert (found.directory, found.environment) == ("/srv/shop", {"A": "1", "B": "2", "C": "3"})
    assert found.path == ["/srv/shop/env/bin"]
    assert command_line.is_beat(found)


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("/x/poetry run celery -A shop beat", ["/x/poetry", "run", "python"]),
        ("poetry run /v/bin/python -m celery -A shop beat", ["/v/bin/python"]),
        ("python -u -m celery -A shop beat", None),
    ],
)
def test_the_python_that_it_runs_in(text, python, tmp_path):
    (tmp_path / "python").write_text("")
    (tmp_path / "python").chmod(0o755)
    found = command_line.interpreter(command_line.read(text), str(tmp_path))
    assert found == (python or [f"{tmp_path}/python"])


def test_a_process_is_what_it_runs_itself():
    assert command_line.of_process(["/v/bin/python", "/v/bin/celery", "-A", "shop", "beat"]).name == "beat"
    assert command_line.of_process(["sh", "-c", "celery -A shop beat"]) is None
    assert command_line.of_process(["flock", "-F", "x", "/v/bin/celery", "-A", "shop", "beat"]) is None


@pytest.mark.parametrize("emulator", ["/usr/libexec/qemu-binfmt/arm-binfmt-P", "/usr/bin/qemu-arm-static", "celery"])
def test_the_words_of_a_process_that_an_emulator_runs(tmp_path, emulator):
    script = tmp_path / "celery"
    script.write_text("print(flush=True); input()")
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([emulator, script, "celery", "beat"], executable=sys.executable, **streams) as process:
        process.stdout.readline()
        found = proc.words(process.pid)
        process.kill()
    assert found == (["celery", "beat"] if "qemu" in emulator else ["celery", str(script), "celery", "beat"])

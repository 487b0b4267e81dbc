"""The launcher, on copies of the checkout: the first call makes .venv, later ones use it, a broken one is mended.

What pip says while it installs depends on the machine's pip.conf; only later calls are silent.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest

SECONDS = 300  # for an installation
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*cache", "*.egg-info", "tests")


def copy(root, place):
    return shutil.copytree(root, place, ignore=LEFT_OUT, symlinks=True)


@pytest.fixture
def checkout(tmp_path, root):
    """A copy of the checkout without .venv."""
    return copy(root, tmp_path / "here")


@pytest.fixture(scope="module")
def installed(tmp_path_factory, root):
    """A copy of the checkout with .venv, which a test may renew: making one takes 20 s and more."""
    here = copy(root, tmp_path_factory.mktemp("launcher") / "here")
    code, _, errors = result(start(here / "celeryhost"))
    assert code == 0, errors
    return here


def start(launcher) -> subprocess.Popen:
    return subprocess.Popen(
        [launcher, "--version"],
        cwd="/",
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def result(process) -> tuple[int, str, str]:
    said, errors = process.communicate(timeout=SECONDS)
    return process.returncode, said, errors


def made(checkout) -> int:
    return os.stat(checkout / ".venv" / "celeryhost.stamp").st_mtime_ns


def test_two_first_calls_at_once_one_by_a_link(checkout):
    link = checkout.parent / "link"
    link.symlink_to(checkout / "celeryhost")
    calls = [start(link), start(checkout / "celeryhost")]
    results = [result(call) for call in calls]
    assert [(code, said.split()[0]) for code, said, _ in results] == [(0, "celeryhost")] * 2, results
    errors = "".join(errors for _, _, errors in results)
    assert errors.count("installing itself in") == 1
    assert "usually half a minute" in errors
    assert "another first call is at work" in errors


def test_later_calls_are_silent_and_change_nothing(installed):
    before = made(installed)
    code, said, errors = result(start(installed / "celeryhost"))
    assert (code, errors) == (0, "")
    assert said.startswith("celeryhost ")
    assert made(installed) == before


def test_arguments_and_exit_code_pass_through(installed):
    done = subprocess.run(
        [installed / "celeryhost", "provision", "-i", "no such place"], text=True, capture_output=True, timeout=180
    )
    assert done.returncode == 2
    assert done.stderr == "celeryhost: inventory 'no such place' does not exist; name a file or folder with -i\n"


def test_a_changed_dependency_list_is_installed(installed):
    before = made(installed)
    with open(installed / "pyproject.toml", "a") as file:
        file.write("# another one\n")
    code, _, errors = result(start(installed / "celeryhost"))
    assert code == 0, errors
    assert "installing itself" in errors
    assert "starting .venv over" not in errors, "what is installed stays"
    assert made(installed) != before


def test_a_copied_checkout_is_made_anew(installed, tmp_path):
    other = shutil.copytree(installed, tmp_path / "other", symlinks=True)
    code, said, errors = result(start(other / "celeryhost"))
    assert code == 0, errors
    assert "starting .venv over" in errors
    assert said.startswith("celeryhost ")


def test_a_first_call_that_was_killed_is_finished_by_the_next(checkout):
    call = start(checkout / "celeryhost")
    while not (checkout / ".venv" / "bin" / "python3").is_symlink():
        assert call.poll() is None, result(call)
        time.sleep(0.02)
    os.killpg(call.pid, signal.SIGKILL)
    call.communicate()
    code, said, errors = result(start(checkout / "celeryhost"))
    assert code == 0, errors
    assert said.startswith("celeryhost ")

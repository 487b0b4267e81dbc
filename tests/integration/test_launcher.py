"""The launcher, on a copy of the checkout: the first call makes .venv, later ones use it, a broken one is mended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest

SECONDS = 300  # for an installation
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*cache", "*.egg-info", "tests")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, root):
    """A copy of the checkout whose .venv the first test makes."""
    return shutil.copytree(root, tmp_path_factory.mktemp("launcher") / "here", ignore=LEFT_OUT, symlinks=True)


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


def test_later_calls_are_silent_and_change_nothing(checkout):
    before = made(checkout)
    code, said, errors = result(start(checkout / "celeryhost"))
    assert (code, errors) == (0, "")
    assert said.startswith("celeryhost ")
    assert made(checkout) == before


def test_arguments_and_exit_code_pass_through(checkout):
    done = subprocess.run(
        [checkout / "celeryhost", "provision", "-i", "no such place"], text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "celeryhost: inventory 'no such place' does not exist; name a file or folder with -i\n"


def test_a_changed_dependency_list_is_installed(checkout):
    before = made(checkout)
    with open(checkout / "pyproject.toml", "a") as file:
        file.write("# another one\n")
    code, _, errors = result(start(checkout / "celeryhost"))
    assert code == 0
    assert "installing itself" in errors
    assert "over" not in errors, "what is installed stays"
    assert made(checkout) != before


def test_a_moved_checkout_is_made_anew(checkout):
    moved = checkout.parent / "moved"
    os.rename(checkout, moved)
    code, said, errors = result(start(moved / "celeryhost"))
    assert code == 0, errors
    assert "starting .venv over" in errors
    assert said.startswith("celeryhost ")
    os.rename(moved, checkout)


def test_a_first_call_that_was_killed_is_finished_by_the_next(checkout):
    shutil.rmtree(checkout / ".venv")
    call = start(checkout / "celeryhost")
    while not (checkout / ".venv" / "bin" / "python3").is_symlink():
        assert call.poll() is None, result(call)
        time.sleep(0.02)
    os.killpg(call.pid, signal.SIGKILL)
    call.communicate()
    code, said, errors = result(start(checkout / "celeryhost"))
    assert code == 0, errors
    assert said.startswith("celeryhost ")

"""What machines can say about the sources, each linter as one test."""

from __future__ import annotations

import os
import subprocess

import pytest


def shell_scripts(root):
    """Files that start with a shell's #! line, wherever they are."""
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".") or name == ".ci"]
        for path in (os.path.join(folder, name) for name in files):
            with open(path, "rb") as file:
                if file.readline().split() in ([b"#!/bin/sh"], [b"#!/usr/bin/env", b"bash"], [b"#!/bin/bash"]):
                    yield path


@pytest.mark.parametrize(
    "command",
    ["ruff check", "ruff format --check --diff", "yamllint --strict .", "ansible-lint --nocolor", "shellcheck", "mypy"],
)
def test_lint(command, root):
    files = sorted(shell_scripts(root)) if command == "shellcheck" else []
    done = subprocess.run(
        [*command.split(), *files],
        cwd=root,
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": "playbooks/collections"},  # ansible-lint sets it anew otherwise
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)

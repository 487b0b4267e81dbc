"""Hosts that go away with their test; base trees are built in the background while the fast tests run."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hosts import Host, requirements

HERE = Path(__file__).parent
TREES = ("trixie-amd64", "bookworm-amd64", "bookworm-armhf")
SCENARIO_SECONDS = 2400

builder = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption("--screenshots", metavar="FOLDER", help="take pictures of the web pages (docs/pages.md)")


def pytest_collection_modifyitems(items):
    """The emulated scenario first: it takes longer than all others together."""
    items.sort(key=lambda item: (HERE in item.path.parents, item.name != "test_scenario[armhf]"))


def pytest_collection_finish(session):
    """Build missing base trees, unless none of these tests was chosen."""
    first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    wanted = any(HERE in item.path.parents for item in session.items)
    if first and wanted and not session.config.option.collectonly and not requirements():
        command = [sys.executable, "-m", "tests.hosts", "base", *TREES]
        session.stash[builder] = subprocess.Popen(
            command, cwd=HERE.parents[1], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )


def pytest_sessionfinish(session):
    if process := session.stash.get(builder, None):
        _end(process)


def _end(process):
    """End a process and what it started; it leads its own session."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.fixture
def host():
    """Make hosts that go away with the test: `host(suite=…, init=…)`, options as of Host.up."""
    if reasons := requirements():
        pytest.skip("; ".join(reasons))
    made = []

    def up(**options):
        made.append(Host.up(f"test-{secrets.token_hex(3)}", **options))
        return made[-1]

    yield up
    for one in made:
        one.down()


@pytest.fixture
def checkout(root):
    """The files of the checkout, as git knows them."""
    command = ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    return [path for path in listed if (root / path).is_file() or (root / path).is_symlink()]


@pytest.fixture
def screenshots(pytestconfig):
    """The folder for pictures of the web pages, None when they are not wanted."""
    return pytestconfig.getoption("screenshots")


class Scenario:
    """A run of `molecule test`; its exit code counts, as the closing table can call a failed idempotence successful."""

    def __init__(self, name, root, folder):
        self.name, self.root, self.folder = name, root, folder
        self.log = folder / "log"
        self.process = self._start("test", "--no-command-borders", "--no-shared-state")
        self.deadline = time.monotonic() + SCENARIO_SECONDS

    def _start(self, *command):
        environment = {
            **os.environ,
            "MOLECULE_GLOB": "tests/molecule/*/molecule.yml",
            "MOLECULE_EPHEMERAL_DIRECTORY": str(self.folder / "molecule"),
            # a connection kept from an earlier host of the same address would hang
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "ssh"),
        }
        base = ["molecule", "--base-config", "tests/molecule/common/base.yml"]
        with self.log.open("a") as log:
            return subprocess.Popen(
                [*base, *command, "--scenario-name", self.name],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def result(self):
        """The exit code and the output; TimeoutExpired after SCENARIO_SECONDS."""
        code = self.process.wait(max(0, self.deadline - time.monotonic()))
        return code, self.log.read_text()

    def close(self):
        """End the run and remove its host, whatever state it is in."""
        _end(self.process)
        self._start("destroy").wait()


@pytest.fixture
def scenario(request, root, tmp_path):
    """The run of the Molecule scenario of that name."""
    name = request.param
    if reasons := requirements("armhf" if name == "armhf" else "amd64"):
        pytest.skip("; ".join(reasons))
    run = Scenario(name, root, tmp_path)
    yield run
    run.close()

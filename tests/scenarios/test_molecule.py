"""Every Molecule scenario, by Molecule's exit code (its closing table can say "Successful" of a failed idempotence)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts import requirements

BASE = Path("tests/molecule/common/base.yml")
TIMEOUT = 1800  # seconds; armhf is emulated


@pytest.mark.parametrize("scenario", ["trixie", "bookworm", "armhf"])
def test_scenario(scenario, root, tmp_path):
    if reasons := requirements("armhf" if scenario == "armhf" else "amd64"):
        pytest.skip("; ".join(reasons))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MOLECULE_GLOB": "tests/molecule/*/molecule.yml",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path),
        # a connection kept from an earlier host of the same address would hang
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(tmp_path / "ssh"),
    }
    molecule = ["molecule", "--base-config", BASE]
    try:
        done = subprocess.run(
            [*molecule, "test", "--no-command-borders", "--no-shared-state", "--scenario-name", scenario],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    finally:
        subprocess.run([*molecule, "destroy", "--scenario-name", scenario], cwd=root, env=environment, check=False)
    if done.returncode:
        pytest.fail(done.stdout, pytrace=False)

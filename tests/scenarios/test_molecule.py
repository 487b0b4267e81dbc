"""Every Molecule scenario: what it does is the test_sequence in tests/molecule/common/base.yml."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("scenario", ["trixie", "bookworm", "armhf"], indirect=True)
def test_scenario(scenario):
    code, output = scenario.result()
    if code:
        pytest.fail(output, pytrace=False)

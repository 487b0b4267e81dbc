"""Exit codes: one table, told apart, and documented."""

import re
from pathlib import Path

import pytest
from celeryhost import errors

CODES = {name: value for name, value in vars(errors).items() if name.isupper() and type(value) is int}


def test_codes_differ_and_all_have_a_gravity():
    assert len(set(CODES.values())) == len(CODES)
    assert sorted(errors.GRAVITY) == sorted(CODES.values())


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        ([], errors.OK),
        ([errors.OK, errors.STARTING], errors.STARTING),
        ([errors.NOT_RUNNING, errors.UNREACHABLE, errors.OK], errors.UNREACHABLE),
    ],
)
def test_the_gravest_outcome_is_the_exit_code(codes, worst):
    assert errors.worst(codes) == worst


def test_the_documented_table_is_the_table():
    text = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text()
    documented = [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert documented == sorted(CODES.values())

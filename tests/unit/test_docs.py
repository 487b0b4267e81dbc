"""The documentation of variables has every key that there is, with its default, and no other."""

import re
from pathlib import Path

import celeryhost
import pytest
import yaml
from celeryhost import apps, audit, paths
from celeryhost.cli import cli
from celeryhost.scripts import hold
from click.testing import CliRunner

TOP = Path(__file__).parents[2]
TEXT = (TOP / "docs" / "variables.md").read_text()


def section(title):
    return TEXT.split(f"{title}\n", 1)[1].split("\n##", 1)[0]


@pytest.mark.parametrize(
    ("title", "defaults"),
    [
        ("## An app", apps.APP),
        ("### `workers`", apps.WORKER),
        ("### `beat`", apps.BEAT),
        ("### `flower`", apps.FLOWER),
        ("### `programs`", apps.PROGRAM),
        ("### `verify`", apps.VERIFY),
    ],
)
def test_each_key_with_its_default(title, defaults):
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section(title), re.MULTILINE))
    assert list(documented) == list(defaults)
    for key, default in defaults.items():
        if default is not None:
            assert yaml.safe_load(documented[key].strip("`")) == default, key


def test_settings_that_every_worker_is_given():
    assert all(name in section("### `workers`") for name in apps.WORKER_SETTINGS)


def test_each_variable_of_each_role():
    documented = {}
    for role, names in re.findall(r"^\| (\w+) \| (`.*`) \|$", section("## The roles"), re.MULTILINE):
        documented[role] = set(re.findall(r"`(\w+)`", names))
    specs = {
        path.parts[-3]: set(yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"])
        for path in TOP.glob("roles/*/meta/argument_specs.yml")
    }
    assert documented == specs


def test_help_is_one_page_with_each_command_on_one_line():
    lines = CliRunner().invoke(cli, ["--help"]).output.splitlines()
    assert len(lines) <= 50
    assert all(len(line) <= 80 and "..." not in line for line in lines[1:])


def test_the_collection_is_of_this_version():
    assert yaml.safe_load((TOP / "galaxy.yml").read_text())["version"] == celeryhost.__version__


def test_what_runs_on_bare_hosts_knows_the_same_places():
    assert (paths.AUDIT, f"{paths.ETC}/lock") == (hold.LOG, hold.BY_HAND)
    assert f"{paths.LOGS}/{audit.MEMBERS}" == paths.AUDIT_MEMBERS

"""A role's defaults and its argument specification say the same, for every role."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).resolve().parents[2] / "roles").iterdir() if (path / "tasks").is_dir())
TYPES = {"str": str, "path": str, "int": int, "bool": bool, "list": list, "dict": dict}

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)


def defaults_of(role):
    return yaml.safe_load((role / "defaults" / "main.yml").read_text(encoding="utf-8"))


def options_of(role):
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return specs["argument_specs"]["main"]["options"]


def is_expression(value):
    return isinstance(value, str) and "{{" in value


@each_role
def test_same_names(role):
    """An option without any default is named in the comments of the defaults."""
    options = options_of(role)
    assert set(defaults_of(role)) <= set(options)
    text = (role / "defaults" / "main.yml").read_text(encoding="utf-8")
    assert [name for name in options if name not in text] == []
    assert [name for name in options if name not in defaults_of(role) and "default" in options[name]] == []


@each_role
def test_same_values(role):
    """A default that is computed is put into words in the description."""
    for name, value in defaults_of(role).items():
        option = options_of(role)[name]
        if is_expression(value):
            assert "default" not in option, name
        else:
            assert option.get("default") == value, name
            assert isinstance(value, TYPES[option.get("type", "str")]), name


@each_role
def test_every_option_is_described(role):
    for name, option in options_of(role).items():
        assert option["description"], name
        assert option["type"] in TYPES, name


@each_role
def test_every_default_has_its_comment(role):
    for paragraph in (role / "defaults" / "main.yml").read_text(encoding="utf-8").split("\n\n"):
        assert paragraph.startswith("# "), paragraph


@each_role
def test_every_variable_bears_its_roles_name(role):
    for name in options_of(role):
        assert name.startswith((f"{role.name}_", "celery_")), name

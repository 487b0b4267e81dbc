"""What a module's documentation says of its arguments is what its state takes; and each state has its module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml
from celeryhost.states.look import STATES

TOP = Path(__file__).parents[2]
MODULES = {path.stem: path for path in (TOP / "plugins" / "modules").glob("*.py")}
SAID = ("type", "elements", "choices", "default", "required")
NO_STATE = {"check", "lock"}
# Those with an action plugin of their own.
OWN = {path.stem for path in (TOP / "plugins" / "action").glob("*.py")}


def documented(name):
    """The DOCUMENTATION of a module, which is not imported: that needs the collection."""
    for node in ast.parse(MODULES[name].read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "DOCUMENTATION":
            return yaml.safe_load(node.value.value)
    raise AssertionError(f"{name} has no DOCUMENTATION")


def plain(arguments, of="options"):
    """What of arguments both sides say: `suboptions` in a documentation is `options` in a state."""
    return {
        name: {key: argument[key] for key in SAID if argument.get(key) is not None and argument[key] is not False}
        | ({"of": plain(argument[of], of)} if of in argument else {})
        for name, argument in arguments.items()
    }


@pytest.mark.parametrize("name", sorted(STATES))
def test_a_modules_documentation_has_the_arguments_of_its_state(name):
    said = documented(name)
    assert said["module"] == name
    assert plain(said.get("options", {}), "suboptions") == plain(STATES[name].ARGUMENTS)


def test_each_state_has_a_module_and_the_action_that_asks_the_host():
    assert MODULES.keys() - NO_STATE == STATES.keys()
    routed = yaml.safe_load((TOP / "meta" / "runtime.yml").read_text())["plugin_routing"]["modules"]
    assert routed.keys() == STATES.keys() - OWN

"""What may import what in the package: each folder only those before it, also inside functions, and no file itself."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "cli" / "celeryhost"
TOOLS = "files that every folder uses"
LAYERS = (
    *("scripts", TOOLS, "celery", "supervisor", "logs", "hosts", "apps", "project", "schedule", "watchdog", "top"),
    *("checks", "states", "controller", "commands", "cli", "__main__"),
)
ELSEWHERE = "inside"  # below scripts/: modules of a worker and a beat


def modules() -> dict[str, Path]:
    """{"folder.name": file}; a folder's own name for its __init__.py."""
    files = [file for file in PACKAGE.rglob("*.py") if not {"_ansible", ELSEWHERE} & {*file.parts}]
    found = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in files}
    return {name.removesuffix("__init__").removesuffix("."): file for name, file in found.items()}


def imported(name: str, file: Path, known) -> set[str]:
    """The modules of the package that a file imports, wherever in it."""
    package = [part for part in name.split(".") if part]
    package = package if file.name == "__init__.py" else package[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            place = [*package[: len(package) + 1 - node.level], *filter(None, [node.module])]
            for alias in node.names:
                whole = ".".join([*place, alias.name])
                found.add(whole if whole in known else ".".join(place))
    return found - {""}


def layer(name: str) -> str:
    """Where in LAYERS a module is."""
    first = name.partition(".")[0]
    return first if first in LAYERS else TOOLS if (PACKAGE / f"{first}.py").is_file() else f"no layer: {first}"


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    known = modules()
    return {name: imported(name, file, known) for name, file in known.items()}


def test_each_layer_imports_only_those_before_it(imports):
    upwards = [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if name and LAYERS.index(layer(other)) > LAYERS.index(layer(name))
    ]
    assert not upwards


def test_no_circle(imports):
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]), pytrace=False)


def test_scripts_need_nothing_but_python_and_what_they_run_in():
    """They are sent as text to where this package is not."""
    there = {"billiard", "celery", "django", "django_celery_beat", "kombu", "redis", "supervisor"}
    for file in (PACKAGE / "scripts").rglob("*.py"):
        nodes = [*ast.walk(ast.parse(file.read_text()))]
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
        assert {name.partition(".")[0] for name in names} <= there | sys.stdlib_module_names, file


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("commands.status_view", {"click", "dataclasses", "enum", "json", "re", "socket", "subprocess", "typing"}),
        ("watchdog.listener", {"click", "dataclasses", "subprocess", "typing"}),
    ],
)
def test_what_has_to_be_small_imports_little(module, spared):
    """By chance something soon does more: `re` alone takes a fifth of what `status` may."""
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import celeryhost.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-IS", "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert not spared & {*done.stdout.split()}

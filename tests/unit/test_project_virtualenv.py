"""What is in a virtual environment, and what is said when one cannot be made."""

from __future__ import annotations

import getpass
import sys

import pytest
from celeryhost.errors import Failure
from celeryhost.states.installer import Broken
from celeryhost.states.project_virtualenv import ARGUMENTS, CELERY, beside, bring, explained, last, python_problem


@pytest.fixture
def look(tmp_path):
    """`look(**params)`: the answer of a look at this environment, which is to be left as it is."""
    defaults = {name: argument.get("default") for name, argument in ARGUMENTS.items()}
    known = {"path": sys.prefix, "directory": str(tmp_path), "owner": getpass.getuser(), "managed": False}
    return lambda **params: bring(defaults | known | params, True)


def test_tools_that_are_there_change_nothing(look):
    found = look(tools=["celery>=1", "click"])
    assert (found["changed"], found["celery"]) == (False, look()["celery"])


def test_a_tool_that_somebody_elses_environment_lacks(look):
    with pytest.raises(Failure, match="lacks no-such-tool; install that there, or leave `requirements: false` out"):
        look(tools=["celery", "no-such-tool>=1,<2"])


def test_a_tool_that_our_environment_lacks(look):
    plain, asked = look(managed=True), look(managed=True, tools=["no-such-tool"])
    assert asked["changed"]
    assert asked["revision"] == plain["revision"], "no program restarts for it"


GCC = """error: Failed to build `psycopg2==2.9.9`
  cause: The build backend returned an error
         error: [Errno 2] No such file or directory: 'gcc'
"""
PG_CONFIG = """  error: subprocess-exited-with-error
  Error: pg_config executable not found.
ERROR: Failed building wheel for psycopg2
ERROR: Failed to build installable wheels for some pyproject.toml based projects (psycopg2)
"""
COMPILED = """error: Failed to build `psycopg2==2.9.9`
  cause: The build backend returned an error
         psycopg/utils.c: In function 'psyco_is_main_interp':
         psycopg/utils.c:397:12: error: implicit declaration of function '_PyInterpreterState_Get'
         error: command '/usr/bin/x86_64-linux-gnu-gcc' failed with exit code 1
"""
METADATA = """  error: subprocess-exited-with-error
      AttributeError: module 'pkgutil' has no attribute 'ImpImporter'. Did you mean: 'zipimporter'?
error: metadata-generation-failed

x Encountered error while generating package metadata.
╰─> numpy

note: This is an issue with the package mentioned above, not with pip.
hint: See above for details.
"""


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (GCC, "write packages: [gcc, python3-dev, libpq-dev], or take Debian's build (packages: [python3-psycopg2]"),
        (PG_CONFIG, "write packages: [gcc, python3-dev, libpq-dev], or take Debian's build"),
        (METADATA, "numpy in requirements has no wheel for this machine and its Python, and cannot be built from its"),
        (METADATA, "AttributeError: module 'pkgutil' has no attribute 'ImpImporter'"),
        (
            "error: Failed to build `bad @ file:///x`\n  SyntaxError: invalid syntax\n",
            "SyntaxError: invalid syntax; take",
        ),
        ("error: Git operation failed\n  cause: Git executable not found. Ensure it is", "packages: [git, ca-cert"),
    ],
)
def test_why_a_package_cannot_be_built(output, said):
    assert said in explained(output, "")


def test_a_pin_without_a_wheel_is_named_with_its_ways_out():
    output = GCC.replace("psycopg2", "psycopg2-binary").replace("2.9.9", "2.9.3")
    for asked in ("psycopg2-binary==2.9.3\n", '  "psycopg2-binary[x] == 2.9.3",\n'):
        said = explained(output, "", asked, "3.13")
        assert said == (
            "psycopg2-binary==2.9.3 in requirements has no wheel for this machine and Python 3.13, and there is "
            'nothing to build it with; take another release of it, or name an older Python, such as python: "3.11", '
            "or write packages: [gcc, python3-dev, libpq-dev]"
        )
    said = explained(GCC, "", "psycopg2==2.9.9\n", "3.13")
    assert "write packages: [gcc, python3-dev, libpq-dev], or take another release of it, or name an older" in said
    said = explained(COMPILED, "", "psycopg2==2.9.9", "3.13")
    assert (
        "no wheel for this machine and Python 3.13, and cannot be built from its source: psycopg/utils.c:397:12: "
        in said
    )
    assert said.endswith('take another release of it, or name an older Python, such as python: "3.11"')

    unmade = (
        "error: No solution found\n  cause: Because psycopg-binary{{implementation_name != 'pypy'}}=={} has no wheels"
    )
    said = explained(unmade.format("3.1.19") + " with a matching Python ABI tag (e.g., `cp313`) and", "", "", "3.13")
    assert said.startswith("psycopg-binary==3.1.19 in requirements has no wheel for this machine and Python 3.13; take")


def test_the_cause_that_uv_names():
    output = "error: Failed to download `foo`\n  cause: Request failed\n  cause: Connection refused (os error 111)\n"
    assert last(output) == "Failed to download `foo`: Request failed: Connection refused (os error 111)"


def test_the_conclusion_of_uv_on_versions():
    output = """error: No solution found when resolving dependencies
  cause: Because only the following versions of pikachu are available:
             pikachu<0.2.0
             pikachu>0.3.dev0
         and you require pikachu>=0.2.0,<0.3.dev0, we can conclude that your requirements are unsatisfiable.
"""
    said = (
        "no versions go with each other: because only the following versions of pikachu are available: pikachu<0.2.0 "
    )
    assert last(output).startswith(said + "pikachu>0.3.dev0 and you require pikachu>=0.2.0,<0.3.dev0, we can conclude")
    longer = (
        output.replace(" unsatisfiable.", " unusable.") + "         And because you require celery[redis]==4.4 and "
    )
    longer += "redis==3.2.1, we can conclude that your requirements are unsatisfiable.\n"
    assert last(longer).startswith(
        "no versions go with each other: because you require celery[redis]==4.4 and redis==3"
    )


def test_a_python_that_the_project_is_not_for():
    assert python_problem("3.12", ">=3.12") == ""
    assert python_problem("/usr/bin/no-such-python", ">=3.12") == ""
    assert "the project is for Python >=3.12 (requires-python), and 3.11 is 3.11" in python_problem("3.11", ">=3.12")
    assert 'such as python: "3.14", which uv brings' in python_problem("3.13", ">=3.14,<3.15")


class Tool:
    """An installer that finds no versions for the first so many calls."""

    def __init__(self, *outputs):
        self.outputs, self.asked = list(outputs), []

    def install(self, path, words):
        self.asked.append(words)
        if self.outputs:
            raise Broken(1, self.outputs.pop(0))


def test_a_redis_py_outside_of_celerys_bounds_is_the_projects_own_choice():
    """celery 5.3.4 with redis 5.0.1, say: celery[redis] wants one before 5."""
    tool = Tool("No solution found when resolving dependencies")
    beside(tool, "venv", ["-r", "requirements.txt"], [*CELERY, "django-celery-beat"])
    assert tool.asked[1] == ["-r", "requirements.txt", "celery", "kombu", "django-celery-beat", "redis", "packaging"]


@pytest.mark.parametrize("outputs", [("ResolutionImpossible: first", "second"), ("No space left on device: first",)])
def test_what_else_does_not_go_together_says_so_itself(outputs):
    with pytest.raises(Broken, match="first"):
        beside(Tool(*outputs), "venv", [], list(CELERY))

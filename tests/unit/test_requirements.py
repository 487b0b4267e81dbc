"""What a project declares that it needs."""

from __future__ import annotations

import os

import pytest
from celeryhost.scripts import requirements
from celeryhost.scripts.requirements import Unfit, declared, fits

PYPROJECT = '[project]\nname = "x"\nrequires-python = ">=3.12"\ndependencies = ["django"]\n'


@pytest.fixture
def project(tmp_path):
    """`project(name=text, …)`: a folder with these files; `__` in a name is a folder's end."""

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return str(tmp_path)

    return write


def names(found, folder):
    return [os.path.relpath(path, folder) for path in found["files"]]


@pytest.mark.parametrize(
    ("files", "taken", "kind"),
    [
        ({"requirements.txt": "", "uv.lock": "", "pyproject.toml": PYPROJECT}, "requirements.txt", "requirements"),
        ({"uv.lock": "", "pyproject.toml": PYPROJECT}, "uv.lock", "uv.lock"),
        ({"poetry.lock": "", "pyproject.toml": PYPROJECT}, "poetry.lock", "poetry.lock"),
        ({"pdm.lock": "", "pyproject.toml": PYPROJECT}, "pdm.lock", "pdm.lock"),
        ({"Pipfile.lock": "{}", "Pipfile": ""}, "Pipfile.lock", "Pipfile.lock"),
        ({"pylock.toml": ""}, "pylock.toml", "pylock.toml"),
        ({"pyproject.toml": PYPROJECT}, "pyproject.toml", "pyproject"),
        ({"pyproject.toml": "[tool.poetry.dependencies]\ndjango = '*'\n"}, "pyproject.toml", "pyproject"),
    ],
)
def test_what_is_taken_when_nothing_is_named(project, files, taken, kind):
    folder = project(files)
    found = declared(folder)
    assert (names(found, folder), found["kind"]) == ([taken], kind)


def test_a_pyproject_of_a_linter_declares_nothing(project):
    assert declared(project({"pyproject.toml": "[tool.ruff]\nline-length = 100\n"}))["files"] == []


def test_the_top_of_the_code_is_looked_at_too(project):
    folder = project({"uv.lock": "", "pyproject.toml": PYPROJECT, "src/manage.py": ""})
    assert names(declared(f"{folder}/src", folder), folder) == ["uv.lock"]
    assert declared(f"{folder}/src")["files"] == []


def test_all_that_is_included_counts(project):
    folder = project(
        {
            "requirements.txt": "-r base.txt\n-c limits.txt\n-e .\n./lib\n",
            "base.txt": "django\n",
            "limits.txt": "django<6\n",
            "setup.cfg": "[metadata]\n",
            "lib/pyproject.toml": PYPROJECT,
        }
    )
    found = {os.path.relpath(path, folder) for path in declared(folder)["texts"]}
    assert found == {"requirements.txt", "base.txt", "limits.txt", "setup.cfg", "lib/pyproject.toml"}


@pytest.mark.parametrize("named", [None, ["requirements.txt"]])
def test_only_regular_files_of_a_bounded_size_are_read(project, named, monkeypatch):
    folder = project({})
    path = f"{folder}/requirements.txt"
    os.mkfifo(path)
    with pytest.raises(Unfit, match="no regular file"):
        declared(folder, named=named)
    os.unlink(path)
    os.symlink("/dev/zero", path)
    with pytest.raises(Unfit, match="no regular file"):
        declared(folder, named=named)
    os.unlink(path)
    with open(path, "wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(Unfit, match="more than 8 MB"):
        declared(folder, named=named)


def test_a_file_that_is_not_there_and_one_that_includes_itself(project):
    folder = project({"requirements.txt": "-r requirements.txt\n-r gone.txt\n"})
    with pytest.raises(Unfit, match=r"gone\.txt: No such file or directory; name a file in"):
        declared(folder)


def test_a_lock_file_stands_alone(project):
    folder = project({"uv.lock": "", "more.txt": ""})
    with pytest.raises(Unfit, match=r"uv\.lock stands alone"):
        declared(folder, named=["uv.lock", "more.txt"])
    with pytest.raises(Unfit, match=r"run pipenv lock and name Pipfile\.lock"):
        declared(folder, named=["Pipfile"])


def test_which_python_it_is_for(project):
    assert declared(project({"pyproject.toml": PYPROJECT}))["python"] == ">=3.12"
    assert declared(project({"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.11"\n'}))["python"] == "^3.11"


@pytest.mark.parametrize(
    ("wanted", "fit"),
    [
        (">=3.12", "3.12 3.13"),
        (">=3.11,<3.13", "3.11 3.12"),
        (">=3.11, <3.13", "3.11 3.12"),
        (">=3.11 <3.13", "3.11 3.12"),
        ("<3.13,>=3.8", "3.10 3.11 3.12"),
        ("^3.11", "3.11 3.12 3.13"),
        ("~3.11", "3.11"),
        ("~=3.11", "3.11 3.12 3.13"),
        ("~=3.12.1", "3.12"),
        ("==3.12.*", "3.12"),
        (">=3.12.4", "3.12 3.13"),
        (">3.11", "3.12 3.13"),
        ("<=3.11", "3.10 3.11"),
        ("!=3.12.*,>=3.11", "3.11 3.13"),
        (">=3", "3.10 3.11 3.12 3.13"),
        ("<4", "3.10 3.11 3.12 3.13"),
        ("*", "3.10 3.11 3.12 3.13"),
        ("~3.10 || ~3.13", "3.10 3.13"),
        ("3.12", "3.12"),
    ],
)
def test_pythons_that_fit(wanted, fit):
    assert " ".join(f"3.{minor}" for minor in range(10, 14) if fits((3, minor), wanted)) == fit


def test_groups_of_development():
    text = '[dependency-groups]\ndev = ["pytest"]\nprod = ["gunicorn"]\n[tool.poetry.group.docs.dependencies]\n'
    assert [group for group in requirements.groups(text) if requirements.is_development(group)] == ["dev", "docs"]
    assert requirements.default_groups('[tool.uv]\ndefault-groups = ["dev", "prod"]\n') == ["dev", "prod"]


def test_a_pyproject_that_holds_its_dependencies_in_groups(project):
    text = '[dependency-groups]\nmain = [\n    "django",\n]\ndev = ["ruff"]\n[tool.ruff]\nline-length = 1\n'
    folder = project({"pyproject.toml": text})
    assert requirements.declared(str(folder))["kind"] == "pyproject"
    assert requirements.deployed_groups(text) == ["main"]
    assert requirements.deployed_groups(text + '[project]\nname = "x"\n') == []
    assert requirements.deployed_groups('[dependency-groups]\ndev = ["ruff"]\n') == []


def test_a_requires_python_without_an_end_is_none(project):
    endless = PYPROJECT.replace(">=3.12", f">=3{' ' * 1_000_000}a")
    assert declared(project({"pyproject.toml": endless}))["python"] == ""

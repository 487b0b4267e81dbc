"""A project's virtual environment, made by the real uv from small wheels that are made here."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from celeryhost.errors import Failure
from celeryhost.states import installer, project_virtualenv
from celeryhost.states.environment import stamp
from sshd import sshd

WHEELS = {"celery": "5.6.0", "kombu": "5.6.0", "redis": "6.0.0", "idna": "3.0", "attrs": "1.0", "gunicorn": "1.0"}
PYPROJECT = """[project]
name = "shop"
version = "0.1"
requires-python = "{python}"
dependencies = [{dependencies}]
[tool.setuptools]
packages = []
"""


def wheel(folder, name, version, needs=(), text=""):
    info = f"{name}-{version}.dist-info"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    lines += ["Provides-Extra: redis"] if name == "celery" else []
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}/__init__.py", text or f"__version__ = {version!r}\n")
        if name == "celery":
            file.writestr("celery/bin/celery.py", "")
        file.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="session")
def uv(tmp_path_factory):
    """The folder of uv, as role project brings it; one for all processes of the tests."""
    place = (
        tmp_path_factory.getbasetemp().parent
        if os.environ.get("PYTEST_XDIST_WORKER")
        else tmp_path_factory.mktemp("uv")
    )
    with open(place / "uv.lock", "w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patch.setattr(installer, "UV", str(place / "celeryhost-uv"))
        assert installer.fetch_uv(), "no uv in the index"
    return str(place / "celeryhost-uv")


class Site:
    def __init__(self, folder):
        self.folder, self.wheels, self.venv = folder / "shop", folder / "wheels", folder / "shop" / "venv"
        self.folder.mkdir()
        self.wheels.mkdir()
        for name, version in WHEELS.items():
            self.wheel(name, version, {"celery": ["kombu", "redis; extra == 'redis'"]}.get(name, ()))

    def wheel(self, name, version, *more):
        return wheel(self.wheels, name, version, *more)

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def bring(self, check=False, **params):
        known = {name: argument.get("default") for name, argument in project_virtualenv.ARGUMENTS.items()}
        known |= {"path": str(self.venv), "directory": str(self.folder), "owner": getpass.getuser()}
        return project_virtualenv.bring(known | params, check)

    def fails(self, **params):
        with pytest.raises(Failure) as caught:
            self.bring(**params)
        text = str(caught.value)
        assert "\n" not in text
        return text

    def has(self, name):
        return subprocess.run([self.venv / "bin/python", "-c", f"import {name}"], capture_output=True).returncode == 0

    def beside(self):
        return sorted(path.name for path in self.folder.glob("venv.*") if path.name != "venv.cache")


@pytest.fixture
def site(tmp_path, uv, monkeypatch):
    monkeypatch.setattr(installer, "UV", uv)
    monkeypatch.setattr(project_virtualenv, "LOCK", str(tmp_path / "lock"))
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_CONSTRAINT", "")
    return Site(tmp_path)


BAD = """[build-system]
requires = []
build-backend = "nothing"
backend-path = ["."]
[project]
name = "bad"
version = "1"
"""


@pytest.fixture
def theirs(site, uv, monkeypatch):
    """A site that another account can reach: pytest's folders are its user's alone."""
    if os.geteuid() != 0:
        pytest.skip("needs another account")
    folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
    folder.chmod(0o755)
    shutil.copytree(uv, folder / "uv", copy_function=os.link)
    monkeypatch.setattr(installer, "UV", str(folder / "uv"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder / "wheels"))
    found = Site(folder)
    found.folder.chmod(0o777)
    yield found
    shutil.rmtree(folder)


BACKEND = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BUILT = """
import zipfile
def build_wheel(folder, *_, **__):
    name = "shop-0.1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as file:
        file.writestr("shop.py", "")
        file.writestr("shop-0.1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: shop\\nVersion: 0.1\\n")
        file.writestr("shop-0.1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr("shop-0.1.dist-info/RECORD", "")
    return name
"""
FAILURES = {
    "a host that is down": ("foo @ http://127.0.0.1:9/foo-1.0-py3-none-any.whl\n", "Connection refused"),
    "a release that is not there": ("idna==99\n", "idna==99"),
    "a repository that cannot be reached": ("foo @ git+http://127.0.0.1:9/foo.git\n", "127.0.0.1"),
    "a line that is none": ("idna==\n", "requirements.txt"),
    "a file that is not there": ("-r gone.txt\n", "gone.txt: No such file or directory"),
    "a package that does not build": ("./bad\n", "bad in requirements"),
}


@pytest.mark.parametrize("fault", FAILURES)
def test_a_failure_leaves_what_runs_as_it_was(site, fault):
    text, said = FAILURES[fault]
    site.write("requirements.txt", "idna\n")
    site.bring()
    before = os.readlink(site.venv)
    (site.folder / "bad").mkdir()
    site.write("bad/pyproject.toml", BAD)
    site.write("bad/nothing.py", "def build_wheel(*_, **__): raise SyntaxError('no')\n")
    site.write("requirements.txt", "idna\nattrs\n" + text)
    assert said in site.fails()
    assert os.readlink(site.venv) == before
    assert site.beside() == [before], "nothing is left of it"
    assert (site.has("celery"), site.has("idna"), site.has("attrs")) == (True, True, False)
    assert site.bring(check=True)["changed"] if "gone" not in text else True, "the next run tries again"


def test_a_change_is_another_environment_and_no_change_none(site):
    site.write("requirements.txt", "idna\n")
    first = site.bring()
    assert (first["changed"], first["celery"], stamp(str(site.venv))) == (True, "5.6.0", first["revision"])
    assert not site.bring()["changed"]
    site.write("requirements.txt", "attrs\n")
    second = site.bring()
    assert second["revision"] != first["revision"]
    assert (site.has("attrs"), site.has("idna")) == (True, False), "what is no longer wanted is not there"
    assert len(site.beside()) == 2, "what may still run from the one before goes on"
    site.write("requirements.txt", "attrs\nidna\n")
    site.bring()
    assert len(site.beside()) == 2


def test_django_comes_where_nothing_is_declared(site):
    site.wheel("django", "5.2")
    site.write("manage.py", "")
    site.bring()
    assert site.has("django")
    site.write("requirements.txt", "idna\n")
    site.bring()
    assert (site.has("idna"), site.has("django")) == (True, False), "what is declared is what is installed"


def test_a_process_keeps_the_environment_that_it_began_in(site):
    site.write("requirements.txt", "idna\n")
    site.bring()
    before = site.folder / os.readlink(site.venv)
    with subprocess.Popen([before / "bin/python", "-c", "input(); import redis"], stdin=subprocess.PIPE) as process:
        for text in ("attrs\n", "attrs\ngunicorn\n", "gunicorn\n"):
            site.write("requirements.txt", text)
            site.bring()
        process.communicate(b"\n")
    assert process.returncode == 0


def test_one_from_before_and_one_whose_python_is_gone_are_replaced(site):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", site.venv], check=True)
    site.write("requirements.txt", "idna\n")
    assert site.bring()["changed"]
    assert site.venv.is_symlink()
    python = site.folder / os.readlink(site.venv) / "bin/python"
    python.unlink()
    python.symlink_to("/usr/bin/python3.99")
    assert site.bring()["changed"]
    assert site.has("celery")
    assert not site.bring()["changed"]


def test_what_a_killed_run_has_begun_is_taken_away(site):
    site.write("requirements.txt", "idna\n")
    site.bring()
    revision = stamp(str(site.venv))
    (site.folder / f"venv.{revision}.7/bin").mkdir(parents=True)
    os.symlink("nowhere", site.folder / "venv.link")
    site.write("requirements.txt", "attrs\n")
    site.bring()
    assert f"venv.{revision}.7" not in site.beside()
    assert site.has("attrs")


def test_requirements_with_hashes(site):
    sums = {name: hashlib.sha256(site.wheel(name, "1.0").read_bytes()).hexdigest() for name in ("attrs", "idna")}
    site.write("requirements.txt", "".join(f"{name}==1.0 --hash=sha256:{total}\n" for name, total in sums.items()))
    assert site.bring()["celery"] == "5.6.0"
    assert site.has("attrs")
    site.write("requirements.txt", f"attrs==1.0 --hash=sha256:{'0' * 64}\n")
    assert "attrs==1.0" in site.fails()


def test_pyproject_alone(site):
    site.write("pyproject.toml", PYPROJECT.format(python=">=3.10", dependencies='"idna"'))
    site.bring()
    assert (site.has("idna"), site.has("attrs")) == (True, False)
    site.write("pyproject.toml", PYPROJECT.format(python=">=3.10", dependencies='"idna", "attrs"'))
    assert site.bring()["changed"]
    assert site.has("attrs")


def test_pyproject_with_groups_alone(site):
    site.write("pyproject.toml", '[dependency-groups]\nmain = ["idna"]\ndev = ["attrs"]\n')
    site.bring()
    assert (site.has("idna"), site.has("attrs")) == (True, False)


def test_a_celery_that_its_python_cannot_import(site):
    site.wheel("celery", "5.7.0", ["kombu", "redis; extra == 'redis'"], "import async\n")
    said = site.fails()
    assert "celery and redis cannot be imported in" in said
    assert "SyntaxError: invalid syntax (" in said
    assert "they are for an older Python than 3." in said
    assert site.beside() == []


@pytest.mark.parametrize("kind", installer.EXPORTS)
def test_the_tools_of_lock_files_know_the_words_that_they_get(uv, tmp_path, kind):
    """They fail in a folder without a lock file, but not for those."""
    for tool, words in installer.EXPORTS[kind]:
        command = [f"{uv}/bin/uv", "tool", "run", "--quiet", *tool, *words]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert not re.search("unrecognized arg|No such option|option .* does not exist", said.stdout + said.stderr)


def test_why_a_lock_file_could_not_be_exported(site, tmp_path):
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\necho poetry.lock is behind >&2\nexit 1\n")
    program.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    site.write("poetry.lock", "")
    tool = installer.Uv(str(program), getpass.getuser(), str(site.folder), str(tmp_path), {})
    with pytest.raises(installer.Broken, match="lock is behind"):
        tool.locked(str(site.venv), {"kind": "poetry.lock", "files": [str(site.folder / "poetry.lock")], "texts": {}})


def test_locked_by_uv(site, uv):
    site.write(
        "pyproject.toml",
        PYPROJECT.format(python=">=3.10", dependencies='"idna<3.1"') + '[dependency-groups]\ndev = ["gunicorn"]\n',
    )
    words = ["lock", "--quiet", "--no-index", "--find-links", site.wheels, "--directory", site.folder]
    subprocess.run([f"{uv}/bin/uv", *words], check=True)
    site.wheel("idna", "3.0.1")
    site.bring()
    assert site.has("celery")
    assert not site.has("gunicorn"), "nothing for developers"
    said = "import idna; assert idna.__version__ == '3.0'"
    assert subprocess.run([site.venv / "bin/python", "-c", said]).returncode == 0, "what is locked stays"
    site.write("pyproject.toml", PYPROJECT.format(python=">=3.10", dependencies='"idna<3.1", "attrs"'))
    assert "uv.lock" in site.fails(), "a lock file that is behind"


def test_a_python_that_does_not_fit_is_said_before_anything_is_made(site):
    site.write("pyproject.toml", PYPROJECT.format(python=">=3.99", dependencies='"idna"'))
    assert "is for Python >=3.99 (requires-python)" in site.fails()
    assert site.beside() == []
    site.write("pyproject.toml", "[tool.ruff]\n")
    assert "3.99" in site.fails(python="3.99")


def test_a_fifo_in_place_of_the_requirements(site):
    os.mkfifo(site.folder / "requirements.txt")
    assert "requirements.txt is no regular file" in site.fails()


def test_what_only_root_may_read_is_not_read(theirs):
    theirs.write("requirements.txt", "-r /etc/shadow\n")
    assert "/etc/shadow: Permission denied" in theirs.fails(owner="nobody")


def test_without_uv_pip_does_it(site, monkeypatch):
    monkeypatch.setattr(installer, "fetch_uv", lambda: None)
    site.write("requirements.txt", "idna\n")
    assert site.bring()["changed"]
    assert site.has("idna")
    (site.folder / "requirements.txt").unlink()
    site.write("uv.lock", "")
    assert "uv.lock needs uv" in site.fails()


@pytest.mark.parametrize("end", ["kill -ILL $$", "echo 'error: fault of its own' >&2; exit 2"])
def test_pip_steps_in_where_uv_starts_and_then_fails(site, monkeypatch, tmp_path, end):
    other = tmp_path / "other/bin/uv"
    other.parent.mkdir(parents=True)
    other.write_text(f"""#!/bin/sh
[ "$1" = --version ] && echo uv 0.13.0 && exit 0
[ "$1" = pip ] && {{ {end}; }}
exec {installer.UV}/bin/uv "$@"
""")
    other.chmod(0o755)
    monkeypatch.setattr(installer, "UV", str(other.parent.parent))
    site.write("requirements.txt", "idna\n")
    found = site.bring()
    assert (found["changed"], found["celery"], site.has("idna")) == (True, "5.6.0", True)
    assert "uv has failed, and pip has filled" in found["warnings"][0]
    assert not site.bring(check=True)["changed"]
    site.write("requirements.txt", "idna==99\n")
    assert "fault of its own" in site.fails() or "signal 4" in site.fails(), "where pip fails too, uv's words"


def test_a_requirement_from_git_by_ssh_gets_the_key(theirs):
    package = theirs.folder.parent / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(PYPROJECT.format(python=">=3.10", dependencies="") + BACKEND)
    (package / "backend.py").write_text(BUILT)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=me", "-c", "user.email=me@e", "commit", "-qm", "1"]):
        subprocess.run(["git", *words], cwd=package, check=True)
    with sshd(package.parent / "sshd") as host:
        theirs.write("requirements.txt", f"shop @ git+ssh://root@127.0.0.1:{host['ansible_port']}{package}\n")
        assert "a requirement comes from git by ssh, which does not let this host in" in theirs.fails(owner="nobody")
        assert theirs.bring(owner="nobody", key=str(package.parent / "sshd/key"))["changed"]
    assert theirs.has("shop")


def test_settings_of_pip_hold_for_uv(tmp_path):
    found = installer.as_uv(
        {"index-url": "https://a/simple", "extra-index-url": f"https://b/simple file://{tmp_path}/no"}
    )
    assert (found["UV_DEFAULT_INDEX"], found["UV_INDEX"]) == ("https://a/simple", "https://b/simple")
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"

"""The wheel, installed in a virtual environment of its own, carries all that `provision`, `init` and `dev` need."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PLACE = "celeryhost/_ansible/ansible_collections/celeryhost/celeryhost"
SECONDS = 300  # for an installation
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*cache", "*.egg-info", "tests")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, root):
    """Built from a checkout in which a person has an inventory, a development stack and a database."""
    copy = shutil.copytree(root, tmp_path_factory.mktemp("wheel") / "checkout", ignore=LEFT_OUT, symlinks=True)
    for secret in ("inventory/mine/secret.yml", "examples/mysite/.celeryhost/secret", "examples/mysite/secret.sqlite3"):
        (copy / secret).parent.mkdir(exist_ok=True)
        (copy / secret).write_text("redis_password: secret\n")
    subprocess.run([sys.executable, "-m", "build", "--outdir", copy.parent, copy], check=True, timeout=SECONDS)
    (built,) = copy.parent.glob("*.whl")  # from the source archive
    return built


@pytest.fixture(scope="module")
def celeryhost(wheel):
    """The command, installed where no checkout is near."""
    venv = wheel.parent / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=SECONDS)
    subprocess.run([venv / "bin" / "pip", "install", "--quiet", wheel], check=True, timeout=SECONDS)
    return venv / "bin" / "celeryhost"


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        **options,
    )


def test_it_holds_the_tree_and_nothing_of_the_person(wheel, root):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if "/_ansible/" in name}
    places = ("playbooks", "roles", "plugins", "templates", "inventory/local", "inventory/example", "examples", "meta")
    listed = subprocess.run(
        ["git", "ls-files", *places, "ansible.cfg", "galaxy.yml"], cwd=root, capture_output=True, text=True, check=True
    )
    tracked = {path for path in listed.stdout.splitlines() if (root / path).is_file()}  # not the links to folders
    assert {f"{PLACE}/{path}" for path in tracked} <= held
    assert f"{PLACE}/plugins/module_utils/celeryhost/apps.py" in held
    assert not [name for name in held if "mine" in name or "secret" in name or "__pycache__" in name]


def test_the_source_archive_and_its_wheel_are_what_an_index_takes(wheel, tmp_path):
    checked = run(sys.executable, "-m", "twine", "check", "--strict", wheel, *wheel.parent.glob("*.tar.gz"))
    assert (checked.returncode, checked.stdout.count("PASSED")) == (0, 2), checked.stdout
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, wheel.parent / "checkout", check=True)
    assert sums(tmp_path / wheel.name) == sums(wheel), "the checkout and the archive make the same wheel"


def sums(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


def test_provision(celeryhost, tmp_path):
    assert "--check" in run(celeryhost, "provision", "--help", cwd=tmp_path).stdout
    done = run(celeryhost, "provision", "-H", "nobody", cwd=tmp_path)
    assert done.returncode == 4, done
    assert "did you mean" in done.stderr or "see them all" in done.stderr


def test_its_playbooks_are_whole(celeryhost, tmp_path):
    (packages,) = celeryhost.parents[1].glob("lib/python*/site-packages")
    tree = packages / PLACE
    playbooks = list((tree / "playbooks").glob("*.yml"))
    assert playbooks
    for playbook in playbooks:
        done = run(
            celeryhost.with_name("ansible-playbook"),
            "--syntax-check",
            playbook,
            env=os.environ
            | {
                "ANSIBLE_CONFIG": str(tree / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(packages / "celeryhost" / "_ansible"),
            },
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr


def test_init_then_dev(celeryhost, root, tmp_path):
    project = shutil.copytree(root / "examples" / "mysite", tmp_path / "site", ignore=LEFT_OUT)
    done = run(celeryhost, "init", project, "--host", "192.0.2.7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "inventory" / "mysite" / "hosts.yml").is_file()
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server on PATH")
    environment = os.environ | {"VIRTUAL_ENV": sys.prefix, "PYTHONUNBUFFERED": "1"}
    stack = subprocess.Popen([celeryhost, "dev", project], stdout=subprocess.PIPE, text=True, env=environment)
    said = ""
    for line in stack.stdout:
        said += line
        if re.search(r"mysite-worker .*ready\.", line):
            stack.send_signal(signal.SIGINT)
    assert stack.wait(SECONDS) == 0, said
    assert "ended; nothing is left running" in said
    assert Path(project / ".celeryhost" / "supervisord.conf").is_file()

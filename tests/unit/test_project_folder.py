"""Which files of a folder on the controller are brought to a host."""

from __future__ import annotations

import hashlib

import pytest
from celeryhost.controller.app_states import source_files as files


def test_files_links_and_modes(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/models.py").write_text("x")
    (tmp_path / "manage.py").write_text("x")
    (tmp_path / "manage.py").chmod(0o755)
    (tmp_path / "link").symlink_to("app")
    digest = hashlib.sha256(b"x").hexdigest()
    assert files(str(tmp_path)) == {"app/models.py": digest, "manage.py": f"x{digest}", "link": "->app"}


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        "__pycache__/a.pyc",
        "app/__pycache__/a.pyc",
        "node_modules/a.js",
        ".pytest_cache/a",
        "db.sqlite3",
        "data/db.sqlite3-wal",
        "a.pyc",
    ],
)
def test_what_stays_here(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert files(str(tmp_path)) == {}


def test_a_virtual_environment_of_any_name_stays_here(tmp_path):
    (tmp_path / "my-env/lib").mkdir(parents=True)
    (tmp_path / "my-env/pyvenv.cfg").touch()
    (tmp_path / "my-env/lib/a.py").touch()
    assert files(str(tmp_path)) == {}


def test_a_folder_that_is_too_much_is_refused_with_the_file(tmp_path):
    (tmp_path / "manage.py").touch()
    with open(tmp_path / "hole.bin", "wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(OSError, match="keep data out of it") as refused:
        files(str(tmp_path))
    assert refused.value.filename == str(tmp_path / "hole.bin")

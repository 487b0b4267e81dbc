"""The mistakes that are found before anything changes: each message has the variable, its value and a fix."""

from __future__ import annotations

import getpass
import os

import pytest
from celeryhost import apps
from celeryhost.project import preflight


@pytest.fixture
def project(tmp_path):
    """A folder with the least that is a Django project with a Celery app `mysite`."""
    (tmp_path / "site/mysite").mkdir(parents=True)
    (tmp_path / "site/manage.py").touch()
    (tmp_path / "site/mysite/__init__.py").touch()
    (tmp_path / "site/mysite/celery.py").write_text("from celery import Celery\napp = Celery('mysite')\n")
    return tmp_path / "site"


def problems(project, **more):
    # root's own name is refused as an app's user, and this must run as root too
    user = {"user": getpass.getuser()} if os.geteuid() else {"user": "nobody"}
    places = {"data": str(project.parent / "data"), "logs": str(project.parent / "logs")}
    return preflight.app_problems(apps.describe({"name": "mysite", "directory": str(project)} | user | places | more))


def only(found, *said):
    (problem,) = found
    assert "\n" not in problem
    for words in said:
        assert words in problem


def test_nothing_wrong(project):
    assert problems(project) == []


def test_a_user_that_does_not_exist(project):
    only(problems(project, user="nosuchuser"), "user of app mysite", "'nosuchuser'", "adduser", "leave `user` out")


def test_the_account_of_a_service(project):
    only(problems(project, name="daemon", user="daemon", app="mysite"), "name of app daemon", "usermod -c celeryhost")


def test_an_extension_that_is_not_installed(project):
    (project / "mysite/settings.py").write_text("INSTALLED_APPS = ['django_celery_results']\n")
    wanted = {"beat": {"scheduler": "django"}, "results": "django"}
    only(problems(project, **wanted), "scheduler of beat of app mysite", "'django_celery_beat' in INSTALLED_APPS")
    (project / "venv").mkdir()
    (project / "venv/pyvenv.cfg").touch()
    (project / "venv/django_celery_beat.py").write_text("django_celery_beat = True\n")
    only(problems(project, **wanted), "django_celery_beat")
    (project / "mysite/settings.py").write_text(
        "INSTALLED_APPS = ['django_celery_results', 'django_celery_beat.apps.X']\n"
    )
    assert problems(project, **wanted) == []


def test_a_folder_without_manage_py(project):
    (project / "manage.py").unlink()
    only(problems(project), "directory of app mysite", repr(str(project)), "no manage.py")


def test_the_folder_above_the_project(project):
    only(problems(project.parent), "no manage.py", "write subfolder: site")
    assert problems(project.parent, subfolder="site") == []


def test_no_folder_at_all(project):
    only(problems(project / "gone"), "directory of app mysite", "no folder")


def test_a_project_without_the_celery_app(project):
    only(problems(project, app="other"), "app of app mysite is 'other'", "did you mean app: mysite?")
    (project / "mysite/celery.py").unlink()
    only(problems(project), "app of app mysite is 'mysite'", "mysite/celery.py")


def test_a_celery_path_that_is_not_in_the_virtualenv(project):
    only(
        problems(project, requirements=False),
        "virtualenv of app mysite",
        repr(f"{project}/venv"),
        "no bin/celery",
        "requirements: false",
    )


def test_a_folder_of_other_things_is_no_virtualenv_to_be_cleared(project):
    (project / "venv").mkdir()
    (project / "venv/thesis.odt").touch()
    only(problems(project), "virtualenv of app mysite", "no virtual environment")


def test_a_virtualenv_begun_by_a_killed_run(project):
    (project / "venv/bin").mkdir(parents=True)
    assert problems(project) == []


def test_git_does_not_take_over_a_folder_with_files(project):
    source = {"source": "https://git.example/me/mysite.git", "keep": False}
    only(problems(project, **source), "directory of app mysite", "no git checkout")
    (project / ".git").mkdir()
    assert problems(project, **source) == []


def test_data_of_somebody_else(project, tmp_path):
    if os.geteuid():
        pytest.skip("needs a folder of another account: run as root")
    (tmp_path / "data").mkdir()
    only(problems(project), "data of app mysite", repr(f"{tmp_path}/data"), "belongs to root")


def test_a_python_that_is_not_there(project):
    only(problems(project, python="/opt/python3.99"), "python of app mysite", "'/opt/python3.99'")

"""What `celeryhost init` reads out of Django projects of several layouts, and the inventory that it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from celeryhost.errors import UNKNOWN, USAGE, Failure
from celeryhost.project import init, init_variables

MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n'
CELERY = "from celery import Celery\n" + MANAGE + '{} = Celery("x")\n'


@pytest.fixture
def project(tmp_path):
    """Writes a project: file name → content, as keyword-free pairs; returns its folder."""

    def write(files: dict[str, str], folder: str = "shop"):
        for name, content in files.items():
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return tmp_path / folder

    return write


STARTPROJECT = {
    "manage.py": MANAGE.format("mysite.settings"),
    "mysite/__init__.py": "from .celery import app as celery_app\n",
    "mysite/settings.py": 'INSTALLED_APPS = ["django_celery_results", "django_celery_beat"]\n',
    "mysite/asgi.py": MANAGE.format("mysite.settings"),
    "mysite/celery.py": CELERY.format("mysite.settings", "app"),
    "requirements.txt": "django\ncelery\n",
}
COOKIECUTTER = {
    "manage.py": MANAGE.format("config.settings.local"),
    "config/__init__.py": "from .celery_app import app as celery_app\n",
    "config/celery_app.py": CELERY.format("config.settings.local", "app"),
    "config/wsgi.py": MANAGE.format("config.settings.production"),
    "config/settings/__init__.py": "",
    "config/settings/base.py": 'INSTALLED_APPS = ["django_celery_beat"]\n'
    'CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"\n',
    "config/settings/production.py": "from .base import *\n",
    "requirements/base.txt": "celery\n",
    "requirements/production.txt": "-r base.txt\n",
    "shop/__init__.py": "",
    "shop/tests/celery.py": "from celery import Celery\napp = Celery()\n",
    ".venv/pyvenv.cfg": "",
    "env/pyvenv.cfg": "",
    "env/lib/celery/app.py": "app = Celery()\n",
}
SRC = {
    "src/manage.py": MANAGE.format("shop.settings"),
    "src/shop/__init__.py": "",
    "src/shop/settings/__init__.py": "from .base import *\n",
    "src/shop/settings/base.py": 'INSTALLED_APPS = ["django_celery_beat.apps.BeatConfig"]\n',
    "src/shop/celery.py": CELERY.format("shop.settings", "celery_app"),
    "requirements.txt": "celery\n",
}


def test_startproject(project):
    found = init.look(project(STARTPROJECT))
    assert list(found.settings) == ["mysite.settings"]
    assert list(found.apps) == ["mysite"]
    assert found.requirements == "requirements.txt"
    assert (found.scheduler, found.results) == ("django", "django")
    entry = init.description(found, "mysite", "mysite", "mysite.settings")
    assert (entry["beat"], entry["results"]) == ({"scheduler": "django"}, "django")
    assert init.app_name(found) == "mysite"


@pytest.mark.parametrize("own", ["app.conf.result_backend = 'rpc://'", "app.conf.update(result_backend='rpc://')"])
def test_results_that_the_app_keeps_elsewhere(own, project):
    files = STARTPROJECT | {"mysite/celery.py": CELERY.format("mysite.settings", "app") + own}
    assert init.look(project(files)).results is None


def test_cookiecutter(project):
    found = init.look(project(COOKIECUTTER))
    assert found.settings == {"config.settings.production": "config/wsgi.py", "config.settings.local": "manage.py"} | {
        "config.settings.local": "config/celery_app.py"
    }
    assert list(found.apps) == ["config.celery_app"], "neither tests nor virtual environments"
    assert found.requirements == "requirements/production.txt"
    assert found.scheduler is None, "the settings name it"
    assert found.results is None
    assert init.app_name(found) == "shop", "config says nothing; the folder does"
    assert init.app_name(found._replace(directory="/x/django-celery-demo-project")) == "django-celery-demo"


def test_settings_that_a_rename_has_left_behind(project):
    files = STARTPROJECT | {"mysite/asgi.py": MANAGE.format("before.settings")}
    found = init.look(project(files))
    assert list(found.settings) == ["mysite.settings", "before.settings"]


def test_src_layout(project):
    top = project(SRC)
    (folder,) = init.find(str(top))
    found = init.look(folder)
    assert folder == str(top / "src")
    assert list(found.apps) == ["shop.celery:celery_app"]
    assert found.scheduler == "django"


def test_app_below_another_import_root(project):
    files = {
        "manage.py": 'import sys\nsys.path.insert(0, "lib")\n' + MANAGE.format("shop.settings"),
        "lib/shop/__init__.py": "",
        "lib/shop/settings.py": "",
        "lib/shop/celery.py": CELERY.format("shop.settings", "celery"),
    }
    found = init.look(project(files))
    entry = init.description(found, "shop", "shop", "shop.settings")
    assert entry["environment"]["PYTHONPATH"] == "/srv/shop/current/lib"
    found = found._replace(top=os.path.dirname(found.top), remote="git@git.example:me/all.git")
    entry = init.description(found, "shop", "shop", "shop.settings")
    assert entry["environment"]["PYTHONPATH"] == "/srv/shop/current/shop/lib"


def test_assigned_settings_annotations_and_what_does_not_parse(project):
    files = {
        "manage.py": 'import os\nos.environ["DJANGO_SETTINGS_MODULE"] = "a.settings"\n',
        "a/__init__.py": "",
        "a/tasks.py": "import celery\nqueue: celery.Celery = celery.Celery()\n",
        "a/python2.py": "print 'x'\n",
        "a/{{ template }}.py": "{% if %}\n",
    }
    found = init.look(project(files))
    assert list(found.settings) == ["a.settings"]
    assert list(found.apps) == ["a.tasks:queue"]
    assert found.requirements is None


MANAGED = {"manage.py": MANAGE.format("s.settings"), "s/__init__.py": "", "s/settings.py": ""}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["requirements-prod.txt", "requirements-dev.txt"], ["requirements-prod.txt"]),
        (["requirements/deploy.txt", "requirements/test.txt"], ["requirements/deploy.txt"]),
        (["requirements.txt", "requirements_prod.txt"], ["requirements.txt", "requirements_prod.txt"]),
        (["dependencies/pip/requirements.txt"], ["dependencies/pip/requirements.txt"]),
        (["requirements/prod.in", "requirements/prod.txt"], ["requirements/prod.txt", "requirements/prod.in"]),
        (["reqs.txt", "docs/requirements.txt", "robots.txt"], ["reqs.txt"]),
        (["deploy/requirements.txt"], ["deploy/requirements.txt"]),
        (["requirements/local.txt"], []),
    ],
)
def test_requirements_under_many_names(files, found, project):
    looked = init.look(project(MANAGED | dict.fromkeys(files, "django\ncelery\n")))
    assert [name for name in (looked.requirements, *looked.others) if name] == found


def test_requirements_between_manage_and_the_top(project):
    files = {f"services/backend/src/{name}": text for name, text in MANAGED.items()}
    files |= {"services/backend/requirements.txt": "django\n", "services/front/requirements.txt": "flask\n"}
    top = project(files)
    found = init.look(top / "services/backend/src", str(top))
    entry = init.description(found, "shop", "s", "s.settings")
    assert (found.requirements, found.others) == ("../requirements.txt", [])
    assert (entry["source"], entry["subfolder"]) == (str(top), "services/backend/src"), "without git the named folder"
    in_git(top)
    assert init.look(top / "services/backend/src").requirements == "../requirements.txt"


def test_without_requirements(project):
    found = init.look(project(MANAGED))
    [remark] = init.remarks(found, init.description(found, "s", "s", "s.settings"))
    assert "Celery and Django in their newest releases are then all that is installed" in remark
    found = init.look(project({"s/settings.py": "INSTALLED_APPS = ['django_celery_beat']\n"}))
    [remark] = init.remarks(found, init.description(found, "s", "s", "s.settings"))
    assert "Celery, its Django extensions and Django in their newest releases are then all" in remark


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["pyproject.toml", "uv.lock"], "uv.lock and pyproject.toml say"),
        (["pyproject.toml", "requirements-prod.txt"], None),
        (["pyproject.toml"], "what pyproject.toml say"),
        (["../pyproject.toml"], "what pyproject.toml say"),
        (["Pipfile"], "Pipfile is not locked (pipenv lock)"),
    ],
)
def test_lock_files_and_pyproject(files, said, project):
    texts = {"pyproject.toml": '[project]\nname = "s"\ndependencies = ["django"]\n', "uv.lock": "version = 1\n"}
    top = project({f"src/{name}": text for name, text in MANAGED.items()})
    for name in files:
        (top / "src" / name).write_text(texts.get(os.path.basename(name), "django\n"))
    found = init.look(top / "src", str(top))
    entry = init.description(found, "s", "s", "s.settings")
    assert ("requirements" in entry) == (said is None), "what is found by itself is not named"
    assert entry["source"] == (str(top) if files[0].startswith("..") else str(top / "src"))
    assert said is None or said in "".join(init.remarks(found, entry))


BEAT = MANAGED | {"s/settings.py": 'INSTALLED_APPS = ["django_celery_beat"]\n'}


@pytest.mark.parametrize(
    ("file", "text", "scheduler"),
    [
        ("Procfile", "web: gunicorn s.wsgi\nbeat: celery -A s beat -l INFO\n", None),
        ("Procfile", "beat: celery -A s beat --scheduler redbeat.RedBeatScheduler\n", "redbeat.RedBeatScheduler"),
        ("Procfile", "beat: celery -A s beat -S django\n", "django"),
        ("Procfile", "beat: celery -A s worker -B -S redbeat.RedBeatScheduler\n", "redbeat.RedBeatScheduler"),
        ("Procfile", "worker: celery -A s worker\n", "django"),
        ("docker-compose.yml", 'command: ["celery", "-A", "s", "beat", "-S", "a.b:C"]\n', "a.b:C"),
        ("compose.prod.yaml", "command:\n  - celery\n  - -A\n  - s\n  - beat\n  - --scheduler=a.b:C\n", "a.b:C"),
        ("compose.yml", "command: >\n  celery -A s beat\n  -S a.b:C\n", "a.b:C"),
        (
            "deploy/supervisor/beat.conf",
            "command=/v/bin/celery -A s beat --scheduler django_celery_beat.schedulers:DatabaseScheduler\n",
            "django",
        ),
        ("deploy/celery-beat.service", "ExecStart=/bin/sh -c 'celery -A s beat \\\n  -S a.b:C'\n", "a.b:C"),
        ("Makefile", "beat:\n\tpoetry run celery -A s beat -Sa.b:C\n", "a.b:C"),
        ("scripts/run.sh", "# celery -A s beat\nexec python -m celery -A s beat -S a.b:C &\n", "a.b:C"),
        ("scripts/run.sh", "# celery -A s beat\n", "django"),
    ],
)
def test_the_projects_own_beat_line_says_the_scheduler(file, text, scheduler, project):
    found = init.look(project(BEAT | {file: text}))
    assert found.scheduler == scheduler
    entry = init.description(found, "s", "s", "s.settings")
    assert entry["beat"] == ({"scheduler": scheduler} if scheduler else {})


def test_a_beat_line_for_an_extension_that_is_not_installed(project):
    files = {"Makefile": "beat:\n\tcelery -A s beat --scheduler django_celery_beat.schedulers:DatabaseScheduler\n"}
    found = init.look(project(BEAT | files | {"s/settings.py": ""}))
    entry = init.description(found, "s", "s", "s.settings")
    assert entry["beat"] == {}
    assert "Makefile has beat read django-celery-beat's entries, which INSTALLED_APPS does not have" in str(
        init.remarks(found, entry)
    )


SETTINGS = """
import os, environ, json
from os import environ as e
from decouple import config
from .helper import get_env
env = environ.Env(DEBUG=(bool, False), TOKEN=str)
environ.Env.read_env(".env")
A = os.environ["A"]
SECRET_KEY = os.getenv("KEY")
OPTIONAL = os.getenv("OPTIONAL")
HOSTS = os.getenv("HOSTS").split(",")
PORT = int(os.environ.get("PORT"))
WORKERS = int(os.environ.get("WORKERS", 2))
DEBUG = env("DEBUG")
TOKEN = env.str("TOKEN")
WITH = env.bool("WITH", False) or env("WITH2", default="") or config("WITH3", default=1) or config("WITH4", "x")
CAST = config("CAST", cast=int)
DATABASES = {"default": env.db(), "other": {"NAME": os.getenv("DB"), "OPTIONS": {"x": os.getenv("OPTION")}}}
CACHES = {"default": env.cache("CACHE", default="")}
OWN = get_env("OWN")
try:
    CAUGHT = os.environ["CAUGHT"]
except KeyError:
    CAUGHT = None
if "TESTED" in os.environ:
    TESTED = os.environ["TESTED"]
if os.getenv("ASKED"):
    ASKED = env("ASKED")
if STORAGE == "s3":
    BUCKET = env("BUCKET")
elif config("OTHER"):
    OTHER = env("A")
os.environ["WRITTEN"] = "1"
os.environ.setdefault("SET", "1")
SET = os.environ["SET"]
BROKER = os.environ["CELERY_BROKER_URL"]
"""
HELPER = """
import os
from django.core.exceptions import ImproperlyConfigured
def get_env(name):
    try:
        return os.environ[name]
    except KeyError:
        raise ImproperlyConfigured(name)
"""


def test_variables_that_are_read_without_a_default(project):
    files = MANAGED | {
        "s/settings.py": "",
        "s/settings/__init__.py": "",
        "s/settings/base.py": SETTINGS,
        "s/settings/helper.py": HELPER,
        "s/settings/production.py": "from .base import *\nimport os\nP = f\"x{os.environ['P']}\"\n",
        "s/settings/local.py": 'import os\nL = os.environ["L"]\n',
        "s/celery.py": CELERY.format("s.settings.production", "app"),
        ".env.example": "A=1\n",
        "requirements.txt": "django\n",
    }
    del files["s/settings.py"]
    found = init.look(project(files))
    always, sometimes = init.required(found, "s", "s.settings.production")
    assert sorted(always) == sorted(["P", "A", "KEY", "HOSTS", "PORT", "TOKEN", "CAST", "DATABASE_URL", "DB", "OWN"])
    assert sometimes == ["BUCKET", "OTHER"]
    assert init.required(found, "s", "s.settings.local") == (["L"], [])
    entry = init.description(found, "s", "s", "s.settings.local")
    assert [remark.partition(" shows")[0] for remark in init.remarks(found, entry)][1:] == [".env.example"]
    assert "read without a default: L; " in init.remarks(found, entry)[0]


def test_the_default_of_environs_comes_second(project):
    settings = "from environs import {0}\nenv = {0}()\nA = env('A')\nB = env('B', None)\nC = env.str('C', '')\n"
    for name in ("Env", "FileAwareEnv"):
        found = init.look(project(MANAGED | {"s/settings.py": settings.format(name)}, name))
        assert init.required(found, "s", "s.settings") == (["A"], [])


def test_our_redis_for_what_asks_for_one(project, tmp_path):
    settings = "import os\nREDIS_URL = os.environ['REDIS_URL']\nX = os.environ['DATABASE_URL']\n"
    settings += "CELERY_RESULT_BACKEND = os.environ['CELERY_RESULT_BACKEND']\n"
    found = init.look(project(MANAGED | {"s/settings.py": settings, "s/celery.py": CELERY.format("s.settings", "app")}))
    entry = init.description(found, "s", "s", "s.settings")
    assert (entry["results"], entry["environment"]["REDIS_URL"]) == ("redis", "{{ redis_url }}")
    said = "read without a default: DATABASE_URL; give them under `environment` (`database: postgresql` makes one"
    assert any(remark.startswith(said) for remark in init.remarks(found, entry))
    init.write(str(tmp_path / "mine"), init.files(entry, "localhost", ""))
    assert "REDIS_URL: '{{ redis_url }}'\n" in (tmp_path / "mine/group_vars/all/apps.yml").read_text()


def test_configurations_pydantic_and_secret_values(project):
    settings = "from configurations import values\nfrom pydantic_settings import BaseSettings\n"
    settings += "class P:\n    SECRET_KEY = values.SecretValue()\n    X = values.Value('1')\n"
    settings += "class Own(BaseSettings):\n    api_key: str\n    other: int = 1\n"
    files = MANAGED | {"s/settings.py": settings}
    files |= {
        "s/celery.py": CELERY.format("s.settings", "app") + 'os.environ.setdefault("DJANGO_CONFIGURATION", "P")\n'
    }
    found = init.look(project(files))
    assert init.required(found, "s", "s.settings") == (["DJANGO_SECRET_KEY", "API_KEY"], [])
    assert init.description(found, "s", "s", "s.settings")["environment"]["DJANGO_CONFIGURATION"] == "P"


@pytest.mark.parametrize(
    "code",
    [
        "from celery import Celery as Other\napp = Other('s')\n",
        "import celery\nclass Own(celery.Celery):\n    pass\napp = Own('s')\n",
        "from celery import Celery\ndef make():\n    made = Celery('s')\n    return made\napp = make()\n",
        "try:\n    from celery import Celery\n    app = Celery('s')\nexcept ImportError:\n    app = None\n",
    ],
)
def test_a_celery_app_by_another_way(code, project):
    assert list(init.look(project(MANAGED | {"s/celery.py": code})).apps) == ["s"]


def test_a_default_that_another_library_would_give(project):
    manage = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", config("X", default="s.y"))\n'
    assert list(init.look(project(MANAGED | {"manage.py": manage})).settings) == ["s.y"]


def in_git(top):
    for words in ("init -q -b stable", "remote add origin git@git.example:me/shop.git"):
        subprocess.run(
            ["git", "-C", top, *words.split()], check=True, env=os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null"}
        )
    return top


def test_git(project):
    top = in_git(project(STARTPROJECT))
    found = init.look(str(top))
    assert (found.top, found.remote, found.version) == (str(top), "git@git.example:me/shop.git", "stable")
    entry = init.description(found, "shop", "mysite", "mysite.settings")
    assert (entry["source"], entry["version"]) == ("git@git.example:me/shop.git", "stable")
    assert init.remarks(found, entry) == []


def test_manage_below_the_top_of_the_repository(project, tmp_path):
    top = in_git(project(SRC))
    (tmp_path / "link").symlink_to(top)
    found = init.look(str(tmp_path / "link" / "src"))
    entry = init.description(found, "shop", "shop.celery:celery_app", "shop.settings")
    assert (entry["source"], entry["version"]) == ("git@git.example:me/shop.git", "stable")
    assert (entry["subfolder"], entry["requirements"]) == ("src", "../requirements.txt")
    assert init.remarks(found, entry) == []

    entry = init.description(found._replace(remote=None), "shop", "shop.celery:celery_app", "shop.settings")
    assert (entry["source"], entry["subfolder"]) == (str(top), "src"), "the requirements above it are brought, too"
    found = found._replace(remote=None, requirements="requirements.txt")
    entry = init.description(found, "shop", "shop.celery:celery_app", "shop.settings")
    assert entry["source"] == str(top / "src")
    assert "subfolder" not in entry


@pytest.mark.parametrize(("files", "code"), [({"x.py": ""}, UNKNOWN)])
def test_no_project(project, files, code):
    with pytest.raises(Failure) as failure:
        init.find(str(project(files)))
    assert failure.value.code == code


def test_a_password_in_the_remote_is_refused(project):
    found = init.look(project(STARTPROJECT))._replace(remote="https://me:secret@git.example/shop.git")
    with pytest.raises(Failure) as failure:
        init.description(found, "shop", "mysite", "mysite.settings")
    assert failure.value.code == USAGE
    assert "secret" not in str(failure.value)


def celeryhost(*arguments, **options):
    command = [sys.executable, "-m", "celeryhost", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **options)


@pytest.mark.parametrize("user", ["me:sEcr3t", "ghp_sEcr3t0123456789", "sEcr3t"])
def test_what_the_remotes_url_lets_in_by_is_left_out(user, project, tmp_path):
    top = in_git(project(STARTPROJECT))
    subprocess.run(
        ["git", "-C", top, "remote", "set-url", "origin", f"https://{user}@git.example/shop.git"], check=True
    )
    done = celeryhost("init", top, "--output", tmp_path / "mine", "--host", "192.0.2.7")
    assert done.returncode == 0, done.stderr
    assert "password or token in the remote's URL is left out" in done.stdout
    written = (tmp_path / "mine/group_vars/all/apps.yml").read_text()
    assert "source: https://git.example/shop.git" in written
    assert "sEcr3t" not in written + done.stdout + done.stderr


@pytest.mark.parametrize(("files", "host"), [(STARTPROJECT, "192.0.2.7"), (COOKIECUTTER, "pi@board.example")])
def test_ansible_reads_what_is_written(project, tmp_path, files, host):
    folder = project(files)
    done = celeryhost("init", folder, "--output", tmp_path / "mine", "--host", host)
    assert done.returncode == 0, done.stderr
    inventory = os.path.join(os.path.dirname(sys.executable), "ansible-inventory")
    listed = subprocess.run(
        [inventory, "-i", tmp_path / "mine", "--list"], capture_output=True, text=True, timeout=60, check=True
    )
    groups = json.loads(listed.stdout)
    (name,) = groups["redis"]["hosts"]
    assert groups["celery_workers"]["hosts"] == groups["celery_beat"]["hosts"] == [name]
    variables = groups["_meta"]["hostvars"][name]
    assert variables["ansible_user"] == ("pi" if "@" in host else "root")
    assert variables.get("ansible_host", name) == host.rpartition("@")[2]
    (app,) = variables["celery_apps"]
    assert app["source"] == str(folder)
    assert app["environment"]["DJANGO_SETTINGS_MODULE"] in ("mysite.settings", "config.settings.production")


def test_nothing_is_overwritten(project, tmp_path):
    (tmp_path / "mine").mkdir()
    done = celeryhost("init", project(STARTPROJECT), "--output", tmp_path / "mine", "--host", "192.0.2.7")
    assert done.returncode == USAGE
    assert done.stderr.count("\n") == 1
    assert not os.listdir(tmp_path / "mine")


def test_two_apps_need_a_choice(project, tmp_path):
    files = STARTPROJECT | {"other/__init__.py": "", "other/celery.py": CELERY.format("mysite.settings", "app")}
    folder = project(files)
    done = celeryhost("init", folder, "--output", tmp_path / "mine", "--host", "localhost")
    assert done.returncode == USAGE
    assert "mysite (mysite/celery.py), other (other/celery.py)" in done.stderr
    assert "--app" in done.stderr
    done = celeryhost("init", folder, "--output", tmp_path / "mine", "--host", "localhost", "--app", "other")
    assert done.returncode == 0, done.stderr
    assert "app: other" in (tmp_path / "mine/group_vars/all/apps.yml").read_text()


@pytest.mark.parametrize("named", ["mysite", "mysite.celery", "mysite.celery:app"])
def test_of_two_apps_the_one_that_is_started_is_taken(named, project, tmp_path):
    files = STARTPROJECT | {
        "shop/tasks.py": "from celery import Celery\napp = Celery('tasks')\n",
        "compose.yml": f"command: celery -A {named} worker -Q high\nflower: celery -A shop.tasks flower\n",
    }
    done = celeryhost("init", project(files), "--output", tmp_path / "mine", "--host", "localhost")
    assert done.returncode == 0, done.stderr
    assert "app: mysite\n" in (tmp_path / "mine/group_vars/all/apps.yml").read_text()
    assert "(shop/tasks.py has shop.tasks instead; --app chooses)" in done.stdout


def test_what_is_missing_is_named(project, tmp_path):
    done = celeryhost("init", project(STARTPROJECT), cwd=tmp_path)
    assert done.returncode == USAGE
    assert "--host" in done.stderr
    assert not (tmp_path / "inventory").exists()


def test_a_clone_may_hold_links_to_devices_and_code_that_no_person_writes(project):
    """git brings links as they are."""
    folder = project(STARTPROJECT | {"mysite/deep.py": "x = 1" + "+1" * 5000, "mysite/wide.py": "-" * 200_000 + "1"})
    (folder / "mysite/zero.py").symlink_to("/dev/zero")
    os.mkfifo(folder / "mysite/fifo.py")
    with open(folder / "mysite/large.py", "w") as large:
        large.truncate(1 << 43)
    found = init.look(str(folder))
    assert found.directory == str(folder)
    init_variables.required([*found.trees.values()])

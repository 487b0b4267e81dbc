"""The Django extensions on one host's SQLite, PostgreSQL and MariaDB: entries of the admin, results in the database."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from celeryhost import apps
from celeryhost.scripts import mysql as mysql_script

from tests.hosts.host import KEY

HERE = Path(__file__).parent / "databases"
PASSWORD = "p;w #%(here)s x"
SERVER = {"DATABASE_NAME": "site", "DATABASE_USER": "site", "DATABASE_PASSWORD": PASSWORD}
APPS = {
    "lite": {},
    "elephant": {
        "database": "postgresql",
        "environment": {
            "DATABASE_ENGINE": "postgresql",
            "DATABASE_NAME": "{{ postgresql.name }}",
            "DATABASE_USER": "{{ postgresql.user }}",
            "DATABASE_PASSWORD": "{{ postgresql.password }}",
        },
        "requirements": "requirements-postgres.txt",
    },
    "seal": {
        "environment": {"DATABASE_ENGINE": "mysql", **SERVER},
        "packages": ["python3-mysqldb"],
        "system_site_packages": True,
    },
}
DATABASES = f"""
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends mariadb-server
mariadb <<'SQL'
create database site character set utf8mb4;
grant all on *.* to site@'127.0.0.1' identified by '{PASSWORD}';
grant all on *.* to site@localhost identified by '{PASSWORD}';
SQL
"""
# The files that hold the password of the app's database: its programs', its environment's and its own.
HOLDERS = [
    "/etc/celeryhost/elephant-postgresql.password",
    "/etc/celeryhost/elephant.env",
    "/etc/supervisor/conf.d/elephant-celery.conf",
]
TAKE_AWAY = ("unprovision", "--yes", "--data")
ENTRIES = {"often", "Monday", "gone", "one day", "check every 3 seconds", "sum at noon", "sum on Monday morning"}


@pytest.fixture
def project(root, tmp_path):
    """mysite with the admin; the extensions are in INSTALLED_APPS, and in no file of requirements."""
    folder = tmp_path / "project"
    shutil.copytree(root / "examples" / "mysite", folder, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3"))
    shutil.copytree(HERE / "site", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    requirements = (folder / "requirements.txt").read_text().splitlines(keepends=True)
    (folder / "requirements.txt").write_text("".join(line for line in requirements if "django-celery" not in line))
    return folder


@pytest.fixture
def site(host, project, tmp_path):
    """The host with its databases and the inventory of three apps."""
    return Site(host(), project, tmp_path / "inventory")


class Site:
    def __init__(self, host, project, inventory):
        self.host = host
        self.inventory = inventory
        host.ssh("bash -eu -s", input=DATABASES)
        self.apps = [describe(name, number, project) for number, name in enumerate(APPS)]
        variables = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(KEY),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        board = {"hosts": {"board": {"ansible_host": host.address}}}
        groups = dict.fromkeys(("redis", "celery_workers", "celery_beat"), board)
        (inventory / "group_vars").mkdir(parents=True)
        (inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": variables, "children": groups}}))
        (inventory / "group_vars" / "all.yml").write_text(yaml.safe_dump({"celery_apps": self.apps}))

    def here(self, *argv):
        """The exit code of a command of this machine, and all it printed."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(argv, cwd=HERE.parents[2], text=True, check=False, **streams)
        return done.returncode, done.stdout

    def module(self, name, **parameters):
        """What a module says to these parameters on the host."""
        ansible = [Path(sys.executable).with_name("ansible"), "-i", self.inventory, "board"]
        return self.here(*ansible, "-m", f"celeryhost.celeryhost.{name}", "-a", json.dumps(parameters))

    def inside(self, app, script):
        """What a script prints in the project's own Python, as its user and with its environment file."""
        become = (
            f"exec setpriv --reuid={app} --regid={app} --init-groups /srv/{app}/venv/bin/python manage.py shell -v 0"
        )
        command = f"cd /srv/{app}/current && set -a && . /etc/celeryhost/{app}.env && {become}"
        return self.host.ssh(command, input=(HERE / script).read_text()).stdout

    def says(self, *words):
        """What celeryhost says on the host, which may find something wrong."""
        return self.host.ssh(["celeryhost", *words], check=False).stdout

    def pids(self):
        return {program["name"]: program["pid"] for program in json.loads(self.says("status", "--json"))["programs"]}

    def entries(self):
        """{app: {name: entry}}"""
        found = json.loads(self.says("schedule", "--json"))["apps"]
        return {app["app"]: {entry["name"]: entry for entry in app["entries"]} for app in found}


def describe(name, number, project):
    own = APPS[name]
    environment = {"DJANGO_SETTINGS_MODULE": "mysite.with_admin", "DJANGO_TIME_ZONE": "Asia/Seoul"}
    return {
        "name": name,
        "source": str(project),
        "app": "mysite",
        "broker_database": number,
        "workers": [{"concurrency": 1}],
        "beat": {"scheduler": "django"},
        "results": "django",
        "settings": {"result_extended": True},
        "verify": {"task": "app.tasks.sum", "args": [2, 3]},
        **own,
        "environment": environment | own.get("environment", {}),
    }


def test_entries_of_the_admin_and_results(site):
    code, said = site.here(sys.executable, "-m", "celeryhost", "provision", "-i", str(site.inventory))
    assert code == 0, said
    assert PASSWORD not in said
    made = site.host.ssh("cat /etc/celeryhost/elephant-postgresql.password").stdout.strip()
    assert len(made) > 20
    assert made not in said
    holders = site.host.ssh(["grep", "-rlsF", made, "/etc", "/var/log", "/root"]).stdout.split()
    kept = [path for path in holders if path.startswith("/etc/celeryhost/releases/elephant/")]
    assert sorted(set(holders) - set(kept)) == HOLDERS
    assert set(site.host.ssh(["stat", "-c", "%U:%a", *kept]).stdout.split()) == {"root:600"}
    for app in APPS:
        assert f"{app}: task app.tasks.sum" in said
    before = site.pids()

    for app in APPS:
        site.inside(app, "admin.py")
    for app, found in site.entries().items():
        assert set(found) >= ENTRIES
        assert found["Monday"]["next"][0][1][10:] == "T07:30:00+09:00"
        marks = {name: [mark["code"] for mark in entry["marks"]] for name, entry in found.items() if entry["marks"]}
        assert marks == {"gone": ["unregistered"]}
        assert {entry["witness"] for entry in found.values()} == {"workers"}
        assert site.says("schedule", "run", "--app", app, "Monday") == "11\n"
        assert site.says("run", "--app", app, "app.tasks.sum", "20", "3") == "23\n"
        results = json.loads(site.inside(app, "results.py"))
        assert ["often", "app.tasks.debug_task", "SUCCESS"] in [result[:3] for result in results]
        for sender, value in ((None, "5"), ("Monday", "11"), (None, "23")):  # the first one's is of provision
            assert [sender, "app.tasks.sum", "SUCCESS", value] in results

    wrong = [line for line in site.says("doctor").splitlines() if line.startswith(("FAIL", "warn"))]
    zones = [line for line in wrong if "its form begins with time zone UTC" in line]
    gone = [line for line in wrong if "beat sends app.tasks.gone, which the project does not have" in line]
    assert len(zones) == len(gone) == len(APPS)
    assert [line for line in wrong if line not in zones + gone and not line.startswith("warn  redis-")] == []

    site.host.ssh("systemctl restart postgresql mariadb")
    for app in APPS:
        site.inside(app, "results.py")
    assert site.pids() == before, "neither a new entry nor a database that was away takes a restart"

    site.host.ssh(["celeryhost", "stop", *(f"{app}-beat" for app in APPS)])
    wait_for(lambda: all(found["often"]["missed"] for found in site.entries().values()))
    site.host.ssh(["celeryhost", "start", *(f"{app}-beat" for app in APPS)])
    assert all(found["often"]["missed"]["late"] for found in site.entries().values())

    refused_before_migrating(site)
    refused_without_the_extension(site)
    leaves_other_peoples_databases_alone(site)


def refused_before_migrating(site):
    """MariaDB as it was before 10.2: what `migrate` would leave half done is not begun."""
    site.host.ssh("mariadb -e 'set global innodb_default_row_format = compact; create database short'")
    seal = apps.describe(site.apps[-1])
    environment = seal["environment"] | {"DATABASE_NAME": "short"}
    where = {"directory": "/srv/seal/current", "virtualenv": "/srv/seal/venv", "owner": "seal"}
    code, said = site.module("project_migrations", **where, environment=environment)
    assert code
    assert mysql_script.SYMPTOM in said
    assert "takes 1020 bytes in an index" in said
    assert "set innodb_default_row_format = dynamic" in said
    assert site.host.ssh("mariadb short -e 'show tables'").stdout == ""


def refused_without_the_extension(site):
    """A project that names it, and does not have it in INSTALLED_APPS."""
    bare = "from mysite.with_admin import *\nINSTALLED_APPS.remove('django_celery_beat')\n"
    site.host.ssh("cat >/srv/lite/current/bare.py", input=bare)
    lite = apps.describe(site.apps[0])
    settings = {"DJANGO_SETTINGS_MODULE": "bare"}
    code, said = site.module("celery_app", app=lite, environment=settings)
    assert code
    assert "scheduler of beat of app lite needs 'django_celery_beat' in INSTALLED_APPS" in said


def leaves_other_peoples_databases_alone(site):
    """Neither takes over a role that a person has made, nor takes it or PostgreSQL away."""
    site.host.ssh("cd / && setpriv --reuid=postgres --regid=postgres --init-groups createuser theirs")
    site.host.ssh("cd / && setpriv --reuid=postgres --regid=postgres --init-groups createdb -O theirs theirs")
    code, said = site.module("postgresql_databases", databases={"theirs": "/etc/celeryhost/theirs"})
    assert code
    assert "'theirs' is a role of other people's there" in said
    code, said = site.here(sys.executable, "-m", "celeryhost", "provision", "-i", str(site.inventory))
    assert (code, "Nothing differs" in said) == (0, True), said
    code, said = site.here(sys.executable, "-m", "celeryhost", *TAKE_AWAY, "-i", str(site.inventory))
    assert code == 0, said
    databases = "cd / && setpriv --reuid=postgres --regid=postgres --init-groups psql -lAt | cut -d'|' -f1"
    assert {"theirs", "elephant"} & set(site.host.ssh(databases).stdout.split()) == {"theirs"}


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.5)

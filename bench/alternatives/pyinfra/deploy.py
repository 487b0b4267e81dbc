"""The state that ../ansible/playbook.yml describes, in pyinfra's terms, from the same templates."""

from pathlib import Path

from pyinfra import host
from pyinfra.operations import apt, files, pip, server, systemd

TEMPLATES = Path(__file__).resolve().parents[1] / "ansible" / "templates"
FOLDERS = ["/srv/mysite", "/var/lib/mysite", "/var/log/mysite"]

apt.packages(
    name="Install packages",
    # The last two are Ansible's needs: it is to find nothing missing where this was at work.
    packages=["redis-server", "supervisor", "python3-venv", "rsync", "python3-apt"],
    no_recommends=True,
    update=True,
    cache_time=3600,
)

redis = files.template(
    name="Configure Redis",
    src=str(TEMPLATES / "redis.conf.j2"),
    dest="/etc/redis/redis.conf",
    user="redis",
    group="redis",
    mode="640",
    redis_password=host.data.redis_password,
)
systemd.service(name="Run Redis, now and at each boot", service="redis-server", running=True, enabled=True)
systemd.service(name="Restart Redis", service="redis-server", restarted=True, _if=redis.did_change)

server.group(name="Make the group that may use Supervisor", group="supervisor", system=True)
supervisor = files.template(
    name="Configure Supervisor",
    src=str(TEMPLATES / "supervisord.conf.j2"),
    dest="/etc/supervisor/supervisord.conf",
    user="root",
    group="supervisor",
    mode="640",
    supervisor_password=host.data.supervisor_password,
)
systemd.service(name="Run Supervisor, now and at each boot", service="supervisor", running=True, enabled=True)
systemd.service(name="Restart Supervisor", service="supervisor", restarted=True, _if=supervisor.did_change)

server.user(
    name="Make the project's user",
    user="mysite",
    system=True,
    home="/var/lib/mysite",
    ensure_home=False,
    shell="/usr/sbin/nologin",
)
for folder in FOLDERS:
    files.directory(name=f"Make {folder}", path=folder, user="mysite", group="mysite", mode="750")

code = files.sync(
    name="Copy the code",
    src=host.data.source,
    dest="/srv/mysite",
    user="mysite",
    group="mysite",
    mode="750",
    exclude="*.pyc",
    exclude_dir=["__pycache__", "*/__pycache__"],
    add_deploy_dir=False,
)
pip.venv(name="Make the virtual environment", path="/srv/mysite/venv", python="/usr/bin/python3")
pip.packages(
    name="Install its requirements", requirements="/srv/mysite/requirements.txt", virtualenv="/srv/mysite/venv"
)
server.shell(
    name="Migrate its database",
    commands="cd /srv/mysite && venv/bin/python manage.py migrate --no-input",
    _sudo=True,
    _sudo_user="mysite",
)

programs = files.template(
    name="Configure its programs",
    src=str(TEMPLATES / "mysite.conf.j2"),
    dest="/etc/supervisor/conf.d/mysite.conf",
    user="root",
    group="root",
    mode="600",
    redis_password=host.data.redis_password,
    max_tasks_per_child=host.data.max_tasks_per_child,
)
server.shell(name="Restart the programs", commands="supervisorctl restart all", _if=code.did_change)
server.shell(name="Update the programs", commands="supervisorctl update", _if=programs.did_change)
server.shell(name="Run its programs", commands="supervisorctl start mysite-worker mysite-beat")

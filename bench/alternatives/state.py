"""Run on a host: whether it is in the state that every tool of bench/provision is to bring about; says what is not."""

import os
import pwd
import subprocess
import sys
import time

PROGRAMS = ("mysite-worker", "mysite-beat")
MIGRATIONS = "from django.core.management import execute_from_command_line as run; run(['', 'migrate', '--check'])"
TASK = "from app.tasks import sum; assert sum.delay(2, 3).get(timeout=60) == 5"
REDIS = """
import os, redis
server = redis.from_url(os.environ["CELERY_BROKER_URL"], decode_responses=True)
assert server.config_get("bind", "appendonly") == {"bind": "127.0.0.1", "appendonly": "yes"}
"""


def said(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    return done.stdout.strip()


def as_project(code):
    """What the project's Python says to this, with the worker's own account, environment and folder."""
    worker = f"/proc/{said('supervisorctl', 'pid', 'mysite-worker')}"
    with open(f"{worker}/environ") as file:
        environment = dict(entry.split("=", 1) for entry in file.read().split("\0") if entry)
    user = pwd.getpwnam("mysite").pw_uid
    return said("/srv/mysite/venv/bin/python", "-c", code, cwd=os.readlink(f"{worker}/cwd"), user=user, env=environment)


def running():
    """Whether Supervisor takes both for started, within a minute; most tools do not wait for that."""
    for _ in range(60):
        if [said("supervisorctl", "status", name).split()[1] for name in PROGRAMS] == ["RUNNING"] * 2:
            return True
        time.sleep(1)
    return False


wanted = {
    "Redis asks for a password": "NOAUTH" in said("redis-cli", "ping"),
    "Redis and Supervisor start at boot": said("systemctl", "is-enabled", "redis-server", "supervisor").split()
    == ["enabled"] * 2,
    "worker and beat run": running(),
    "they have logs": all(os.path.getsize(f"/var/log/mysite/{name}.log") for name in ("worker", "beat")),
    "Redis is on loopback, with an append-only file": as_project(REDIS) == "",
    "the worker does a task": as_project(TASK) == "",
    "migrations are applied": as_project(MIGRATIONS) == "",
}
missing = [what for what, is_so in wanted.items() if not is_so]
sys.exit(f"not so: {', '.join(missing)}" if missing else 0)

#!/usr/bin/python3
"""Runs on a provisioned host as root: what must be true of the example project there; prints each fact that is not.

Asks the tools that are there anyway (supervisorctl, redis-cli, Celery), never celeryhost. After a boot the programs
need a while, so a fact has PATIENCE seconds to come true.
"""

import grp
import http.client
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 120
SECRETS = ("/etc/celeryhost/redis.password", "/etc/celeryhost/web.password")
# path: mode owner:group
PATHS = {
    "/etc/celeryhost": "755 root:root",
    "/etc/celeryhost/redis.password": "600 root:root",
    "/etc/celeryhost/web.password": "640 root:supervisor",
    "/etc/celeryhost/page.cfg": "640 root:supervisor",
    "/etc/celeryhost/mysite.env": "640 root:mysite",
    "/etc/supervisor/conf.d/mysite-celery.conf": "600 root:root",
    "/run/supervisor.sock": "770 root:supervisor",
    "/var/log/mysite": "2750 mysite:supervisor",
    "/var/log/celeryhost": "2750 root:supervisor",
    "/var/log/celeryhost/mysite": "2750 root:supervisor",
    "/var/log/mysite/worker.log": "640 mysite:supervisor",
    "/var/log/mysite/beat.log": "640 mysite:supervisor",
}
SUM = """
set -ea
. /etc/celeryhost/mysite.env
cd /srv/mysite/current 2>/dev/null || cd /srv/mysite
exec /srv/mysite/venv/bin/python -c '
from mysite.celery import app
print(app.send_task("app.tasks.sum", (2, 3)).get(timeout=60))
'
"""

facts = []


def fact(check):
    facts.append(check)
    return check


def run(*argv, **environment):
    """Standard output and error of a command, whatever its exit code."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 90, "check": False}
    return subprocess.run(argv, env={**os.environ, **environment}, **options).stdout.strip()


def read(path):
    return Path(path).read_text().strip()


@fact
def both_programs_run():
    supervisorctl = shutil.which("supervisorctl") or "/opt/supervisor/bin/supervisorctl"
    status = run(supervisorctl, "-c", "/etc/supervisor/supervisord.conf", "status")
    running = set(re.findall(r"^(\S+)\s+RUNNING\s", status, re.MULTILINE))
    assert {"mysite-worker", "mysite-beat"} <= running, status


@fact
def worker_is_ready_and_beat_fires():
    assert "ready" in read("/var/log/mysite/worker.log"), "worker.log has no line 'ready'"
    assert "Sending due task" in read("/var/log/mysite/beat.log"), "beat.log has no line 'Sending due task'"


@fact
def a_task_comes_back():
    assert run("runuser", "-u", "mysite", "--", "sh", "-c", SUM).endswith("5")


@fact
def the_tutorials_work_unedited():
    """Their results are in Redis, which asks for a password that they do not have."""
    for log in Path("/var/log").glob("tutorial-*"):
        name = log.name
        said = run("celeryhost", "run", f"--app={name}", "notification.tasks.sum", "2", "4")
        assert "6" in said.splitlines(), said
        assert read(log / "beat.log").count("Sending due task") > 1, f"beat of {name} has not fired twice"
        assert "AuthenticationError" not in read(log / "worker.log")
        found = run("celeryhost", "doctor", name)
        assert "FAIL" not in found, found


@fact
def redis_takes_the_password_and_nothing_else():
    assert "NOAUTH" in run("redis-cli", "ping")
    assert run("redis-cli", "ping", REDISCLI_AUTH=read("/etc/celeryhost/redis.password")) == "PONG"


@fact
def nothing_listens_for_strangers():
    listening = re.findall(r"^LISTEN\s+\d+\s+\d+\s+(\S+):(\d+)\s", run("ss", "-ltn"), re.MULTILINE)
    strangers = {place for place in listening if place[0] not in ("127.0.0.1", "[::1]") and place[1] != "22"}
    assert not strangers, strangers


@fact
def the_web_page_asks_who_is_there():
    connection = http.client.HTTPConnection("127.0.0.1", 23233, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().status == 401


@fact
def the_service_of_haproxy_does_not_run():
    served = [argv for argv in Path("/proc").glob("[0-9]*/cmdline") if b"haproxy.cfg" in argv.read_bytes()]
    assert not served, served


@fact
def paths_have_their_modes_and_owners():
    found = {}
    for path in PATHS:
        entry = os.stat(path)
        owner = f"{pwd.getpwuid(entry.st_uid).pw_name}:{grp.getgrgid(entry.st_gid).gr_name}"
        found[path] = f"{stat.S_IMODE(entry.st_mode):o} {owner}"
    assert found == PATHS, {path: (found[path], PATHS[path]) for path in PATHS if found[path] != PATHS[path]}


@fact
def secrets_are_in_no_argv_and_no_world_readable_file():
    secrets = [read(path).split(":")[-1].encode() for path in SECRETS]
    assert all(len(secret) >= 16 for secret in secrets), "a secret is shorter than 16 characters"
    leaks = []
    for root in ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/var"):
        for folder, names, files in os.walk(root):
            names[:] = [
                name for name in names if os.stat(f"{folder}/{name}", follow_symlinks=False).st_mode & stat.S_IXOTH
            ]
            leaks += [path for path in (f"{folder}/{name}" for name in files) if leaks_one_of(path, secrets)]
    for argv in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            leaks += [argv] if any(secret in argv.read_bytes() for secret in secrets) else []
        except (FileNotFoundError, ProcessLookupError):
            continue
    assert not leaks, leaks


def leaks_one_of(path, secrets):
    entry = os.stat(path, follow_symlinks=False)
    if not stat.S_ISREG(entry.st_mode) or not entry.st_mode & stat.S_IROTH:
        return False
    content = Path(path).read_bytes()
    return any(secret in content for secret in secrets)


deadline = time.monotonic() + PATIENCE
while facts:
    last = time.monotonic() > deadline  # before it looks: an emulated host takes longer than that for all facts once
    failures = {}
    for check in facts:
        try:
            check()
        except Exception as error:
            failures[check] = f"{check.__name__}: {type(error).__name__} {error}"
    if not failures:
        break
    if last:
        sys.exit("\n".join(failures.values()))
    facts = list(failures)
    time.sleep(1)

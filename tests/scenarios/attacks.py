"""What an app's account, a local user and a project's code try on a provisioned host: SECURITY.md has the table."""

from __future__ import annotations

import re

PLAIN = "cp /srv/settings.before /srv/mysite/current/mysite/settings.py"
# A worker that becomes a set-uid program, waiting, and a virtual environment that tells who runs its Python.
SET_UID = """
import os, sys
if "worker" in sys.argv:
    reading, writing = os.pipe(); os.dup2(reading, 0); os.set_inheritable(writing, True)
    os.execve("/usr/bin/su", ["su"], {k: v for k, v in os.environ.items() if k != "CELERY_BROKER_URL"})
"""
TELLS = 'import os; os.geteuid() == 0 and open("/root/PWNED", "w").write("as root")\n'
PRINTS = """
import os, sys
if "worker" in sys.argv: os.write(1, b"\\nssh-ed25519 of-the-app\\n")
"""
ODD = "\\x1b]0;OWNED\\x07\\x1b[2J\\x9b31m\\u202e\\x00"
TASKS = f"""
@shared_task
def evil(): return "{ODD} result"
@shared_task
def evilraise(): raise ValueError("{ODD} raised")
"""
ENTRY = f"""
app.conf.beat_schedule["evil{ODD}entry"] = {{"task": "app.tasks.nosuch{ODD}", "schedule": 3600.0}}
"""
# The app answers the watchdog in its worker's name.
REPLIES = r"""
import base64, json, socket, sys
def encoded(reply): return json.dumps({"body": base64.b64encode(json.dumps(reply).encode()).decode()})
host = socket.gethostname(); node = f"mysite-worker@{host}"; key = f"celeryhost-watchdog-{host}.reply.celery.pidbox"
replies = [encoded({node: reply}) for reply in (
    {"total": {"a": "x"}}, {"total": [1]}, {"total": None}, [1], [{}], [{"name": {}}], [{"name": 5}],
    [{"name": "\ud800"}], [{"name": "a\r\nFLUSHALL\r\n\x1b["}], {"total": {"a": 10 ** 400}},
    [{"name": f"q{n}"} for n in range(20000)])]
replies += [json.dumps({"body": "%%%"}), "\xff\xfe", "[]", "[" * 100000,
            json.dumps({"body": base64.b64encode(b"[" * 100000).decode()})]
words = lambda *parts: b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)
with socket.create_connection(("127.0.0.1", 6379)) as redis:
    redis.sendall(words(b"AUTH", sys.argv[1].encode()) + words(b"RPUSH", key.encode(), *map(str.encode, replies)))
    said = b""
    while b":" not in said and (more := redis.recv(999)):
        said += more
    print(said)
"""


def attack(board, subtests) -> None:
    """Try each on a host that was provisioned with AWS_SECRET_ACCESS_KEY=of-root in root's environment."""
    for name, attempt in ATTACKS.items():
        with subtests.test(name):
            attempt(board)


def as_app(board, script):
    board.ssh(f"su -s /bin/sh mysite -c {quoted(script)}")


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def append(board, path, text):
    board.ssh(f"su -s /bin/sh mysite -c 'cat >>{path}'", input=text)


def worker(board):
    return board.ssh("supervisorctl pid mysite-worker").stdout.strip()


def again(board):
    """The project as it was, and running."""
    as_app(board, f"{PLAIN}; rm -f /srv/mysite/venv/lib/python3*/site-packages/tells.pth")
    board.ssh("pkill -x su; celeryhost restart mysite", check=False)


def root_passes_nothing_on(board):
    for pid in board.ssh("pgrep -u mysite; pgrep -u celeryhost").stdout.split():
        assert "of-root" not in board.ssh(f"cat /proc/{pid}/environ", check=False).stdout
    board.ssh("cp /srv/mysite/current/mysite/settings.py /srv/settings.before; chmod 644 /srv/settings.before")


def a_link_in_the_logs_leads_root_nowhere(board):
    board.ssh("useradd -m -G supervisor oper; useradd -m eve")
    before = board.ssh("sha256sum /root/.ssh/authorized_keys /etc/shadow").stdout
    append(board, "/srv/mysite/current/mysite/settings.py", PRINTS)
    for place in ("/root/.ssh/authorized_keys", "/etc/shadow"):
        as_app(board, f"rm -f /var/log/mysite/worker.log; ln -s {place} /var/log/mysite/worker.log")
        board.ssh(
            "celeryhost restart mysite-worker --timeout 15; logrotate -f /etc/logrotate.d/mysite-celery", check=False
        )
        logs = "celeryhost logs -n 500"
        shown = board.ssh(f"{logs}; su oper -c '{logs}'; su oper -c 'supervisorctl tail mysite-worker'", check=False)
        assert "root:" not in shown.stdout
        assert "of-the-app" in shown.stdout, "what is written before Celery logs is shown"
    assert board.ssh("sha256sum /root/.ssh/authorized_keys /etc/shadow").stdout == before
    assert board.ssh("su mysite -s /bin/sh -c 'touch /var/log/celeryhost/mysite/x'", check=False).returncode
    as_app(board, "rm -f /var/log/mysite/worker.log")
    again(board)


def a_fifo_for_a_log_silences_its_own_lines_at_most(board):
    as_app(board, "rm -f /var/log/mysite/beat.log; mkfifo /var/log/mysite/beat.log")
    shown = board.ssh("timeout 20 celeryhost logs -n 3", check=False)
    assert shown.returncode != 124
    assert "mysite-worker" in shown.stdout
    assert "beat.log" in shown.stderr
    assert board.ssh("timeout 120 celeryhost doctor", check=False).returncode != 124
    as_app(board, "rm -f /var/log/mysite/beat.log")
    board.ssh("celeryhost restart mysite-beat")


def a_set_uid_program_makes_nobody_root(board):
    append(board, "/srv/mysite/current/mysite/settings.py", SET_UID)
    as_app(board, f"printf %s {quoted(TELLS)} >$(echo /srv/mysite/venv/lib/python3*/site-packages)/tells.pth")
    board.ssh(
        "celeryhost restart mysite-worker --timeout 15; celeryhost restart mysite-worker --timeout 15", check=False
    )
    board.ssh("sed -i 's/^startretries=100/startretries=101/' /etc/supervisor/conf.d/mysite-celery.conf")
    board.ssh("celeryhost apply --timeout 15; celeryhost stop mysite-worker --timeout 15", check=False)
    assert board.ssh("ls /root/PWNED", check=False).returncode, "root ran the app's Python"
    again(board)


def nobody_holds_a_lock(board):
    hold = "for f in /etc/supervisor /etc/supervisor/.celeryhost.lock /run/celeryhost /run/celeryhost/*.lock; do " \
           "flock -n $f sleep 100 & done; wait"  # fmt: skip
    board.ssh(f"su eve -c {quoted(hold)} >/dev/null 2>&1 & sleep 1; timeout 60 celeryhost apply; pkill -u eve sleep")
    assert board.ssh("stat -c %a:%U:%G /etc/supervisor/.celeryhost.lock").stdout.strip() == "660:root:supervisor"


def the_watchdog_lives_on(board):
    pid = "pgrep -u celeryhost -f 'celeryhost watchdog'"
    before = board.ssh(pid).stdout
    password = board.ssh("cat /etc/celeryhost/redis.password").stdout.strip()
    said = board.ssh(f"python3 - {password}; sleep 17", input=REPLIES).stdout
    assert re.search(r"\+OK\\r\\n:\d", said), said
    assert board.ssh(pid).stdout == before


def nothing_drives_the_terminal(board):
    append(board, "/srv/mysite/current/app/tasks.py", TASKS)
    append(board, "/srv/mysite/current/mysite/celery.py", ENTRY)
    board.ssh("celeryhost restart mysite", check=False)
    for command in ("run app.tasks.evil", "run app.tasks.evilraise", "schedule", "doctor", "logs -n 50", "status",
                    "schedule --json", f"run $(printf {quoted(ODD[:-4])})"):  # fmt: skip
        shown = board.ssh(f"timeout 90 celeryhost {command}", check=False)
        found = re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown.stdout + shown.stderr)
        assert not found, (command, found)
        assert "Traceback (most" not in shown.stderr


ATTACKS = {
    attempt.__name__: attempt
    for attempt in (
        root_passes_nothing_on,
        a_link_in_the_logs_leads_root_nowhere,
        a_fifo_for_a_log_silences_its_own_lines_at_most,
        a_set_uid_program_makes_nobody_root,
        nobody_holds_a_lock,
        the_watchdog_lives_on,
        nothing_drives_the_terminal,
    )
}

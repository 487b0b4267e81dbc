"""Answers of supervisord and Redis, logs, descriptions and inventories with mistakes: no traceback, no hang.

`python -m tests.fuzz [SEED [COUNT [KIND]]]` prints a line a kind and each case that fails; it is no part of every run.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
import tempfile
import threading
import time
import xmlrpc.client
from urllib.parse import urlsplit

from celeryhost import apps
from celeryhost.celery import resp
from celeryhost.celery.remote_control import Mailbox
from celeryhost.checks import Skip
from celeryhost.checks.redis import Redis
from celeryhost.errors import Failure
from celeryhost.hosts import inventory, remote
from celeryhost.logs import file as logs_file
from celeryhost.supervisor import conffile, locate, programs, rpc
from celeryhost.supervisor.locate import Server

SLACK = 1.0  # seconds beyond a limit that a busy machine may take
LIMITS = {"xml-rpc": 0.5, "redis": resp.TIMEOUT, "conf": conffile.READ_SECONDS}
INFO = dict.fromkeys(("pid", "start", "stop", "now", "exitstatus", "state"), 1)
INFO |= dict.fromkeys(("group", "name", "spawnerr", "description", "stdout_logfile", "stderr_logfile"), "a")
ODD = [
    None,
    True,
    -1,
    10**400,
    1.5,
    "",
    "\ud800",
    "\x1b]0;x\x07",
    "a\u2028b\x85c",
    "%(here)s",
    "'\"",
    [],
    {},
    [[]],
    "{{ 1 }}",
]


def mutated(random, data: bytes) -> bytes:
    """`data` with a few mistakes."""
    data = bytearray(data)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(data) + 1)
        kind = random.randrange(5)
        if kind == 0:
            del data[at : at + random.randint(1, 40)]
        elif kind == 1:
            data[at:at] = bytes(random.randrange(256) for _ in range(random.randint(1, 8)))
        elif kind == 2:
            data[at:at] = data[random.randrange(len(data) + 1) :][: random.randint(1, 60)]
        elif kind == 3 and at < len(data):
            data[at] = random.randrange(256)
        else:
            data[at:at] = random.choice(
                (b"<value>", b"</struct>", b"9" * 5000, b"-1", b"*3\r\n", b"$-5\r\n", b"\0", b"&a;")
            )
    return bytes(data)


@contextlib.contextmanager
def answering(path: str, answer: bytes, random):
    """A unix socket that answers once: whole, in drops, with an end or without one."""
    server = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    server.bind(path)
    server.listen()
    done = threading.Event()

    def answer_all():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(answer)
                    if random.randrange(40) == 0:
                        done.wait(2 * resp.TIMEOUT)  # the rest never comes

    threading.Thread(target=answer_all, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def xml_rpc(random, folder):
    value = random.choice(
        ([INFO | {"statename": "RUNNING"}], [[["a"], [], ["b"]]], 5, {"faultCode": 1, "faultString": "x"})
    )
    body = xmlrpc.client.dumps((value,), methodresponse=True).encode()
    head = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = head + mutated(random, body) if random.random() < 0.9 else mutated(random, head + body)
    path = f"{folder}/s"
    supervisor = rpc.Supervisor(Server(f"unix://{path}"), LIMITS["xml-rpc"])
    with answering(path, answer, random), contextlib.suppress(Failure, rpc.Fault):
        method = random.choice(("getAllProcessInfo", "getAllConfigInfo", "reloadConfig", "getPID"))
        if random.random() < 0.5:
            programs.processes(supervisor)
        elif random.random() < 0.5:
            supervisor.multicall([("getPID",), ("getProcessInfo", "a")])
        else:
            supervisor.call(method)


def redis(random, folder):
    lines = b"redis_version:7.0.1\r\nused_memory:5\r\n"
    whole = b"+OK\r\n$%d\r\n%b\r\n*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n:5\r\n*1\r\n$2\r\n{}\r\n:1\r\n:2\r\n" % (
        len(lines),
        lines,
    )
    path = f"{folder}/s"
    place = f"redis+socket://{path}"
    with answering(path, mutated(random, whole), random):
        if random.random() < 0.5:
            with contextlib.suppress(Skip):
                _ = Redis(place).facts
        else:
            mailbox = Mailbox(place, {"w@h": "w"}, "me")
            mailbox.look({"w"})
            with contextlib.suppress(OSError, resp.Refused, ValueError):
                mailbox.active(0.2)
    assert urlsplit(place).scheme


def log(random, folder):
    path = f"{folder}/log"
    with open(path, "wb") as file:
        file.write(mutated(random, b"[2026-11-22 14:00:01,000: INFO/MainProcess] a\nTraceback\n  more\n" * 20))
    said = logs_file.LogFile(path)
    list(said.history(last=random.choice((None, 3))))
    with open(path, "ab") as file:
        file.write(mutated(random, b"[2026-11-22 14:00:01,000: INFO/MainProcess] a\n"))
    list(said.poll())
    for each in [said.tail, *said.late]:
        os.close(each.fd)


def description(random, folder):
    """A description is refused, or its values come back as they were from a file of Supervisor's."""
    given = {"name": "mysite"}
    for key in random.sample([*apps.APP], random.randint(1, 4)):
        given[key] = random.choice(
            (*ODD, {random.choice(("A", "b_c")): random.choice(ODD)}, [{"name": random.choice(ODD)}])
        )
    with contextlib.suppress(Failure):
        (app,) = apps.describe_all([given])
        variables = apps.environment(app, {"environment": {}}, "redis://h")
        entry = apps.supervisor_environment(variables).replace("\n", "\n ")
        text = f"[supervisord]\n[program:x]\ncommand=/bin/x\nenvironment={entry}\n"
        if text.isascii():
            from supervisor.options import ServerOptions

            with open(f"{folder}/c", "w", encoding="utf-8") as file:
                file.write(text)
            options = ServerOptions()
            options.realize(["-c", f"{folder}/c"])
            assert options.process_group_configs[0].process_configs[0].environment == variables


SECRET = "s3cr3t-of-the-environment"
CONF = f"""[supervisord]
logfile=/tmp/supervisord.log
minfds=1024
environment=LANG=C.UTF-8
[unix_http_server]
file=/tmp/supervisor.sock
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:mysite-worker]
command=/usr/bin/setpriv --pdeathsig TERM
    /srv/mysite/venv/bin/celery -A mysite worker -n mysite-worker@%%h
directory=/tmp
user=root
umask=027
environment=A="1",
    PASSWORD="{SECRET}",
    URL="redis://:{SECRET}@h/0"
autorestart=true
startsecs=10
stopsignal=TERM
stopwaitsecs=360
stdout_logfile=/tmp/worker.log
stdout_logfile_maxbytes=1MB
priority=10
[group:all]
programs=mysite-worker
"""
AT_ONCE = 20  # texts for one parser: to start it takes longer than to read them


def conf(random, folder):
    """A file of Supervisor's is refused in one line, or read, and no value of an environment is told."""
    path = f"{folder}/supervisord.conf"
    texts = [mutated(random, CONF.encode()).decode(errors="surrogateescape") for _ in range(AT_ONCE)]
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(texts[0])
    for section in ("supervisorctl", "supervisord", "unix_http_server"):
        with contextlib.suppress(Failure):
            locate.read_section(path, section, "serverurl", "logfile", "file")
    readings, _ = conffile.read(path, [[(path, text)] for text in texts])
    for text, reading in zip(texts, readings, strict=True):
        said = str(reading.failure or "")
        assert "\n" not in said, said
        if text.count(SECRET) == CONF.count(SECRET):  # else a mistake has put it under another option
            assert SECRET not in said, said
            assert SECRET not in conffile.hide(text) or mine(text) != mine(CONF), conffile.hide(text)


def mine(text):
    """The lines of the environment, as long as nothing has come into or before them."""
    return text.partition("umask=027\n")[2].partition("autorestart=")[0]


def host(random, folder):
    keys = (
        "ansible_connection",
        "ansible_host",
        "ansible_port",
        "ansible_user",
        "ansible_ssh_common_args",
        "ansible_ssh_extra_args",
    )
    given = {key: random.choice((*ODD, "-o 'x", "a b")) for key in random.sample(keys, 3)}
    with contextlib.suppress(Failure):
        remote.command(
            inventory.Host("h", {key: value for key, value in given.items() if value is not None}), ["status"]
        )


KINDS = {"xml-rpc": xml_rpc, "redis": redis, "log": log, "description": description, "conf": conf, "host": host}


def main(seed: str = "1", count: str = "300", only: str = "") -> int:
    """The number of cases that failed."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, case in KINDS.items() if not only else [(only, KINDS[only])]:
            wrong, longest = 0, 0.0
            for number in range(int(count)):
                began = time.monotonic()
                try:
                    case(random.Random(f"{seed} {name} {number}"), folder)
                except Exception as error:
                    wrong += 1
                    print(f"{name} {number} of seed {seed}: {error!r}"[:300])
                took = time.monotonic() - began
                longest = max(longest, took)
                if took > 3 * LIMITS.get(name, 5) + SLACK:
                    wrong += 1
                    print(f"{name} {number} of seed {seed}: {took:.1f} s")
            print(f"{name}: {count} cases, {wrong} failed, the longest took {longest:.1f} s", flush=True)
            failed += wrong
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))

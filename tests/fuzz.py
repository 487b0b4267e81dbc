"""Answers of supervisord and Redis, logs, descriptions and inventories with mistakes: no traceback, no hang.

`python -m tests.fuzz [SEED] [COUNT]` prints a line a kind and each case that fails; it is no part of every run.
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

from celeryhost import apps, inventory, logs_file, programs, remote, resp, rpc
from celeryhost.checks import Skip
from celeryhost.checks.redis import Redis
from celeryhost.errors import Failure
from celeryhost.locate import Server
from celeryhost.watchdog_redis import Mailbox

SLACK = 1.0  # seconds beyond a limit that a busy machine may take
LIMITS = {"xml-rpc": 0.5, "redis": resp.TIMEOUT}
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


KINDS = {"xml-rpc": xml_rpc, "redis": redis, "log": log, "description": description, "host": host}


def main(seed: int = 1, count: int = 300) -> int:
    """The number of cases that failed."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, case in KINDS.items():
            wrong, longest = 0, 0.0
            for number in range(count):
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
    sys.exit(bool(main(*map(int, sys.argv[1:]))))

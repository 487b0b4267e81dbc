"""`celeryhost manage` and `celeryhost celery`, under a real supervisord, over a real sshd and on real terminals."""

from __future__ import annotations

import json
import os
import pty
import pwd
import subprocess
import sys
import time
from pathlib import Path

import pytest
from celeryhost import errors
from outcome import failed
from redis_server import redis_server, url
from sshd import sshd

CELERY = Path(sys.executable).with_name("celery")
OTHER = "nobody"
APP = """
import os
from celery import Celery
app = Celery("shop", broker=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True
"""
# Stands for a project's: says what it was given, and does what it is told.
MANAGE = """
import getpass, json, os, sys, time
what, *words = sys.argv[1:]
if what == "show":
    about = {"words": words, "user": getpass.getuser(), "uid": os.getuid(), "directory": os.getcwd()}
    about |= {"environment": dict(os.environ), "groups": os.getgroups(), "terminals": [os.isatty(n) for n in (0, 1, 2)]}
    print(json.dumps(about))
elif what == "terminal":
    print("on", os.ttyname(0), "of", os.get_terminal_size().columns, "columns", flush=True)
    print("secret", getpass.getpass("password: ")[::-1], flush=True)
    try:
        print("waiting", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(7)
elif what == "copy":
    print(sys.stdin.read().upper(), end="")
elif what == "leave":
    if os.fork() == 0:
        time.sleep(60)
print("an error", file=sys.stderr)
sys.exit(int(words[0]) if what == "exit" else 0)
"""
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another account")


@pytest.fixture
def shop(daemon):
    """A supervisord, not started, with an app `shop` of somebody else's making: the entry alone tells of it."""
    code = daemon.folder / "code"
    code.mkdir()
    (code / "shop.py").write_text(APP)
    (code / "manage.py").write_text(MANAGE)
    daemon.folder.chmod(0o755)

    def program(name="shop-worker", command="/usr/bin/python3 -m celery -A shop worker", user=None, **settings):
        user = user or pwd.getpwuid(os.getuid()).pw_name
        settings = {
            "directory": code,
            "user": user,
            "environment": "GREETING=\"hello to 'you' there\"",
            "autostart": "false",
        } | settings
        daemon.program(name, command, **settings)
        return daemon

    daemon.shop = program
    return daemon


def shown(done) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@as_root
def test_manage_is_the_programs_account_environment_and_folder(shop):
    shop.shop(user=OTHER)
    words = ["it's", "--plan", "two words", "", "$HOME;"]
    done = shop.run("manage", "shop", "--", "show", *words, env={"AWS_SECRET_ACCESS_KEY": "of the caller", "TERM": "x"})
    found = shown(done)
    account = pwd.getpwnam(OTHER)
    assert (found["uid"], found["user"], found["words"]) == (account.pw_uid, OTHER, words)
    assert found["groups"] == os.getgrouplist(OTHER, account.pw_gid)
    assert found["directory"] == str(shop.folder / "code")
    environment = found["environment"]
    assert (environment["GREETING"], environment["HOME"], environment["TERM"]) == (
        "hello to 'you' there",
        account.pw_dir,
        "x",
    )
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert done.stderr == "an error\n"
    assert shown(shop.run("manage", "shop", "show", "--plan"))["words"] == ["--plan"], "without --, too"


def test_what_the_project_starts_is_of_its_virtual_environment(shop):
    """Whatever PATH supervisord itself has, which its programs inherit."""
    shop.shop(command=f"{CELERY.with_name('python')} -m celery -A shop worker")
    shop.config.write_text(
        shop.config.read_text().replace("[supervisord]", '[supervisord]\nenvironment=PATH="/usr/bin:/bin"')
    )
    places = shown(shop.run("manage", "shop", "show"))["environment"]["PATH"].split(":")
    assert places == [str(CELERY.parent), "/usr/bin", "/bin"]


@pytest.mark.parametrize("user", [None, pytest.param(OTHER, marks=as_root)])
def test_exit_codes_input_and_output_are_passed_on(user, shop):
    shop.shop(user=user)
    done = shop.run("manage", "shop", "--", "exit", "42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "", "an error\n")
    done = subprocess.run(
        shop.argv("manage", "shop", "copy"), **shop.options(stdin=None, input="bytes\n", capture_output=True)
    )
    assert done.stdout == "BYTES\n"
    done = shop.run("manage", "--json", "shop", "--", "exit", "42")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said == [{"version": 1, "stderr": "an error"}, {"version": 1, "exit": 42}]


@pytest.mark.parametrize(
    ("name", "command", "app"),
    [
        ("shop-worker-two", "/usr/bin/celery -A shop worker", "shop"),
        ("shop-beat", "/usr/bin/python3 -m celery -A shop.celery:app beat", "shop"),
        ("celeryd", "/usr/bin/python3 -m celery --app=shop.celery worker", "shop.celery"),
        ("celeryd", "/usr/bin/python3 -m celery --app=shop.celery worker", "shop"),
        ("celeryd", "/usr/bin/python3 -m celery -A shop worker", "celeryd"),
    ],
)
def test_what_an_app_may_be_called(name, command, app, shop, tmp_path):
    shop.shop(name, command.replace("/usr/bin/celery", f"{tmp_path}/celery"))
    (tmp_path / "celery").write_text("#!/usr/bin/python3\n")
    (tmp_path / "celery").chmod(0o755)
    assert shown(shop.run("manage", app, "show"))["words"] == []


def test_what_is_wrong_is_said(shop):
    shop.program("web")
    failed(shop.run("manage", "shop", "check"), errors.UNKNOWN, "no app 'shop' with a Celery worker or beat here")
    shop.shop()
    failed(shop.run("manage", "shpo", "check"), errors.UNKNOWN, "no app 'shpo'", "did you mean 'shop'")
    (shop.folder / "code" / "manage.py").unlink()
    failed(shop.run("manage", "shop", "check"), errors.UNKNOWN, "no manage.py in", "shop-worker")
    shop.shop(command="/nowhere/python -m celery -A shop worker")
    failed(shop.run("celery", "shop", "report"), errors.FAILED, "shop-worker: ", "/nowhere/python: No such file")
    assert shop.run("manage").returncode == errors.USAGE


def test_without_manage_py_django_is_asked(shop):
    (shop.folder / "code" / "manage.py").unlink()
    (shop.folder / "code" / "mysettings.py").write_text('SECRET_KEY = "x"\n')
    shop.shop(command=f"{sys.executable} -m celery -A shop worker", environment="DJANGO_SETTINGS_MODULE=mysettings")
    done = shop.run("manage", "shop", "--", "diffsettings")
    assert done.returncode == 0, done.stderr
    assert "SECRET_KEY = 'x'" in done.stdout


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command: list[str], **options):
        self.master, slave = pty.openpty()
        self.name = os.ttyname(slave)
        import fcntl
        import struct
        import termios

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 101, 0, 0))
        self.process = subprocess.Popen(
            command, **options | dict.fromkeys(("stdin", "stdout", "stderr"), slave), start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def until(self, text: str) -> str:
        end = time.monotonic() + 40
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            try:
                self.seen += os.read(self.master, 4096).decode()
            except OSError:
                raise AssertionError(self.seen) from None
        return self.seen

    def type(self, text: str):
        os.write(self.master, text.encode())


@as_root
def test_root_gives_another_account_a_terminal_but_not_its_own(shop):
    shop.shop(user=OTHER)
    terminal = Terminal(shop.argv("manage", "shop", "--", "terminal"), **shop.options(text=False))
    said = terminal.until("password: ")
    assert "of 101 columns" in said
    assert f"on {terminal.name} " not in said
    terminal.type("drowssap\r")
    terminal.until("waiting")
    assert "secret password" in terminal.seen
    assert "drowssap" not in terminal.seen, "it is not shown"
    terminal.type("\x03")
    assert terminal.process.wait(20) == 7
    terminal = Terminal(shop.argv("manage", "shop", "--", "leave"), **shop.options(text=False))
    assert terminal.process.wait(20) == 0, "what it leaves behind does not keep it"


@pytest.fixture
def reachable(shop, tmp_path_factory, monkeypatch):
    """`celeryhost` options that mean `shop`'s supervisord over ssh, on host `up`; host `no` is down."""
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with sshd(folder / "sshd") as host:
        hosts = {"up": host, "again": host, "no": {**host, "ansible_port": 1}}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
        yield ["-i", str(folder / "hosts.json"), "-c", str(shop.config)]


def test_on_hosts(shop, reachable):
    shop.shop()
    done = shop.run(*reachable, "-H", "up", "manage", "shop", "--", "show", "it's; $HOME", "")
    assert shown(done)["words"] == ["it's; $HOME", ""]
    assert not any(shown(done)["terminals"])
    assert shop.run(*reachable, "-H", "up", "manage", "shop", "--", "exit", "42").returncode == 42
    command = shop.argv(*reachable, "-H", "up", "manage", "shop", "copy")
    assert subprocess.run(command, **shop.options(stdin=None, input="x\n", capture_output=True)).stdout == "X\n"
    done = shop.run(*reachable, "-H", "up", "manage", "shp", "x")
    assert done.returncode == errors.UNKNOWN
    assert "no app 'shp'" in done.stderr
    assert shop.run(*reachable, "-H", "no", "manage", "shop", "x").returncode == errors.UNREACHABLE

    done = shop.run(*reachable, "-H", "up,again", "manage", "shop", "--", "exit", "42")
    assert (done.returncode, sorted(done.stderr.splitlines())) == (42, ["again: an error", "up: an error"])
    done = shop.run(*reachable, "manage", "shop", "--", "exit", "0")
    assert done.returncode == errors.UNREACHABLE
    assert "again: an error" in done.stderr


def test_on_a_host_with_a_terminal(shop, reachable):
    shop.shop()
    command = shop.argv(*reachable, "-H", "up", "manage", "shop", "--", "terminal")
    terminal = Terminal(command, **shop.options(text=False))
    assert "of 101 columns" in terminal.until("password: ")
    terminal.type("drowssap\r")
    terminal.until("waiting")
    assert "secret password" in terminal.seen
    terminal.type("\x03")
    assert terminal.process.wait(20) == 7


def test_celery_asks_the_workers(shop, tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        broker = url(port).replace("%", "%%")
        command = f"{CELERY} -A shop worker -n shop@%%h -c 1 -P threads -l INFO"
        shop.shop(command=command, environment=f'BROKER="{broker}"', autostart="true")
        shop.start(until=("RUNNING",))
        end = time.monotonic() + 60
        while (done := shop.run("celery", "shop", "--", "inspect", "-t", "2", "ping")).returncode:
            assert time.monotonic() < end, done.stdout + done.stderr
        assert "shop@" in done.stdout
        assert "pong" in done.stdout
        shop.run("stop", "shop-worker")
        done = shop.run("celery", "shop", "--", "inspect", "-t", "1", "ping")
        assert done.returncode == 69, done.stderr
        done = shop.run("celery", "shop", "--", "purge", "-f")
        assert (done.returncode, "No messages purged" in done.stdout) == (0, True), done.stderr

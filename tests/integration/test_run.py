"""`celeryhost run`, against a real Redis, real workers and a real supervisord."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from celeryhost import errors
from outcome import failed
from redis_server import redis_server, url
from sshd import sshd

CELERY = Path(sys.executable).with_name("celery")
APP = """
import os
import time
from celery import Celery

print("what a project prints is no result")
app = Celery("shop", broker=os.environ["BROKER"], backend=os.environ.get("BACKEND"))
app.conf.broker_connection_retry_on_startup = True


@app.task
def add(x, y=1):
    return x + y


@app.task
def show(*args, **kwargs):
    return [args, kwargs, os.environ["GREETING"], os.getuid()]


@app.task
def fail():
    raise ValueError("no\\nbread today")


@app.task(ignore_result=True)
def forget():
    pass


@app.task
def nap(seconds):
    time.sleep(seconds)


@app.task(queue="elsewhere")
def stray():
    pass
"""


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """The port of a Redis with a password."""
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


class Shop:
    """An app `shop` under a supervisord."""

    def __init__(self, daemon, port: int):
        self.daemon = daemon
        self.port = port
        self.directory = daemon.folder / "code"
        self.directory.mkdir()
        (self.directory / "shop.py").write_text(APP)
        (self.directory / "errors.py").write_text("raise SystemExit('the project has an errors.py of its own')\n")
        self.url = url(port)

    def program(self, command=f"{CELERY} -A shop worker -n shop@%%h -c 1 -P threads -l INFO -f LOG", **environment):
        values = {"BROKER": self.url, "BACKEND": self.url, "GREETING": "hello to 'you' there"} | environment
        pairs = ",".join(f'{key}="{value}"'.replace("%", "%%") for key, value in values.items() if value is not None)
        log = str(self.daemon.folder / "log" / "shop-worker.log")
        settings = {"directory": self.directory, "environment": pairs}
        if os.getuid() == 0:
            settings["user"] = "root"
        self.daemon.program("shop-worker", command.replace("LOG", log), **settings)
        return self

    def start(self):
        self.daemon.start(until=("RUNNING",))
        log = self.daemon.folder / "log" / "shop-worker.log"
        end = time.monotonic() + 40
        while not log.exists() or "ready." not in log.read_text():
            assert time.monotonic() < end, log.read_text() if log.exists() else "no log"
            time.sleep(0.1)
        return self

    def run(self, *args):
        return self.daemon.run("run", *args)


@pytest.fixture
def shop(daemon, redis):
    return Shop(daemon, redis)


def test_a_result_backend_that_refuses_is_named_and_not_the_broker(shop):
    shop.program(BACKEND=f"redis://127.0.0.1:{shop.port}/1").start()
    done = shop.run("shop.add", "2", "3")
    assert done.returncode == errors.FAILED
    assert f"result backend redis://127.0.0.1:{shop.port}/1: AuthenticationError" in done.stderr
    assert "results: redis" in done.stderr
    assert "must be restarted" not in done.stderr


def test_a_task_gives_its_result(shop):
    shop.program().start()
    done = shop.run("shop.add", "2", "3")
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
    assert done.stderr.startswith("shop.add in ")

    done = shop.run("shop.add", "--json", "--kwargs", '{"y": -3}', "--", "-2")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["version"], data["task"], data["result"], data["remark"]) == (1, "shop.add", -5, None)
    assert data.keys() == {"version", "task", "id", "seconds", "result", "remark"}, "as docs/json.md has it"

    words = ["it's", "1.5", "[1, 2]", '{"a": null}', "true", "two words", '"3"', ""]
    data = json.loads(shop.run("shop.show", "--json", "--kwargs", '{"k": "v"}', *words).stdout)
    args, kwargs, greeting, uid = data["result"]
    assert args == ["it's", 1.5, [1, 2], {"a": None}, True, "two words", "3", ""]
    assert (kwargs, greeting, uid) == ({"k": "v"}, "hello to 'you' there", os.getuid())

    done = shop.run()
    assert (done.returncode, done.stdout) == (0, "{}\n")
    assert done.stderr.startswith("celery.accumulate in ")

    done = shop.run("shop.forget")
    assert (done.returncode, done.stdout) == (0, "null\n")
    assert "a worker ran it and stored no result" in done.stderr

    failed(shop.run("shop.ad"), errors.UNKNOWN, "no worker knows a task 'shop.ad'; did you mean 'shop.add'")
    failed(shop.run("zzzzzzz"), errors.UNKNOWN, "there are shop.add, shop.fail, shop.forget")
    failed(shop.run("shop.add"), errors.USAGE, "missing 1 required positional argument: 'x'")
    failed(shop.run("shop.fail"), errors.FAILED, "shop.fail failed: ", "bread today")
    failed(
        shop.run("shop.stray", "--timeout", "3"), errors.TIMEOUT, "waits in queue 'elsewhere', which no worker reads"
    )
    failed(shop.run("shop.nap", "60", "--timeout", "3"), errors.TIMEOUT, "shop.nap still runs")
    failed(shop.run("shop.add", "1", "--timeout", "3"), errors.TIMEOUT, "waits in queue 'celery' behind others")
    failed(shop.run("shop.add", "--app", "shp"), errors.UNKNOWN, "no app 'shp'", "did you mean 'shop'")
    assert shop.run("shop.add", "--kwargs", "[1]").returncode == errors.USAGE
    assert shop.run("shop.add", "--timeout", "0").returncode == errors.USAGE


def test_a_task_on_hosts(shop, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    shop.program().start()
    with sshd(folder / "sshd") as host:
        (folder / "hosts.json").write_text(
            json.dumps({"all": {"hosts": {"up": host, "no": {**host, "ansible_port": 1}}}})
        )
        options = ["-i", str(folder / "hosts.json"), "-c", str(shop.daemon.config)]
        done = shop.daemon.run(*options, "-H", "up", "run", "shop.add", "--kwargs", '{"y": -3}', "--", "-2")
        assert (done.returncode, done.stdout) == (0, "up: -5\n"), done.stderr
        done = shop.daemon.run(*options, "run", "--json", "shop.show", "it's; two")
        assert done.returncode == errors.UNREACHABLE
        [found] = json.loads(done.stdout)["hosts"]
        assert (found["host"], found["result"][0]) == ("up", ["it's; two"])
        done = shop.daemon.run(*options, "-H", "up", "run", "shop.fail")
        assert (done.returncode, done.stdout) == (errors.FAILED, "")
        assert done.stderr.startswith("celeryhost: up: shop-worker: shop.fail failed: ")


def test_without_a_result_backend_the_counters_prove_it(shop):
    shop.program(BACKEND=None).start()
    done = shop.run("shop.add", "1")
    assert (done.returncode, done.stdout) == (0, "null\n"), done.stderr
    assert "a worker ran it; no result backend is configured: 'DisabledBackend' object has no attribute" in done.stderr


def test_settings_of_the_command_line_count(shop):
    """Broker, result backend and prefix are only on the worker's command line."""
    options = f"-b {shop.url.replace('%', '%%')} --result-backend={shop.url.replace('%', '%%')}"
    prefix = """'broker.transport_options=(json){"global_keyprefix":"shop-"}'"""
    command = f"{CELERY} --app=shop {options} worker -n shop@%%h -c 1 -P threads -l INFO -f LOG -- {prefix}"
    shop.program(command, BROKER="redis://127.0.0.1:1/0", BACKEND=None).start()
    done = shop.run("shop.add", "1")
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_no_worker_answers(shop):
    shop.program()
    done = shop.run("shop.add", "1", "--timeout", "2")
    failed(done, errors.DOWN, "no worker answered within 2 s; see celeryhost status")


def test_a_worker_that_starts_meanwhile_answers(shop):
    """What is asked of workers reaches only those that listen already."""
    shop.program().start()
    shop.daemon.run("stop", "shop-worker")
    starting = threading.Timer(4, shop.daemon.run, ("start", "shop-worker"))
    starting.start()
    done = shop.run("shop.add", "1", "--starting", "--timeout", "60")
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    starting.join()


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("redis://127.0.0.1:1/0", "Connection refused"),
        ("redis://127.0.0.1:{port}/0", "Authentication required"),
        ("redis://:wrong-one@127.0.0.1:{port}/0", "invalid username-password pair"),
    ],
)
def test_broker_that_cannot_be_reached(broker, said, shop):
    shop.program(BROKER=broker.format(port=shop.port)).daemon.start()
    done = shop.run("shop.add", "1")
    failed(done, errors.DOWN, "shop-worker: redis://", said)
    assert "wrong-one" not in done.stderr


def test_broker_that_celery_cannot_use(shop):
    shop.program(BROKER="sqs9://").daemon.start()
    failed(shop.run("shop.add", "1"), errors.FAILED, "No such transport: sqs9")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("nowhere", APP, "celery -A nowhere does not load"),
        ("shop", "import gone", "No module named 'gone'"),
        ("shop", "x = 1", "celery -A shop does not load"),
        ("shop", "raise SystemExit('bye')", "bye"),
    ],
)
def test_project_that_does_not_load(name, text, said, shop):
    (shop.directory / "shop.py").write_text(text)
    shop.program(f"{CELERY} -A {name} worker").daemon.start()
    failed(shop.run("shop.add", "1"), errors.FAILED, said)


def test_nothing_to_run_with(daemon):
    daemon.program("web", "sleep 1000")
    daemon.start()
    failed(daemon.run("run", "shop.add"), errors.UNKNOWN, "no program here is a Celery worker")


def test_several_apps_want_a_choice(shop):
    shop.program()
    shop.daemon.program("two-worker", f"{CELERY} -A two worker")
    failed(shop.run("shop.add"), errors.USAGE, "several apps here, shop, two; choose one with --app")

"""`celeryhost top` over real supervisords: its stream, its keys, and the screen of a real terminal (tmux)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from celeryhost import errors
from celeryhost.hosts.target import Target
from celeryhost.top.feed import Feed
from celeryhost.top.screen import Canvas, Top
from conftest import Daemon, wait_for
from documented import fields
from redis_server import PASSWORD, redis_server, url
from sshd import sshd
from waiting import line

CELERY = Path(sys.executable).with_name("celery")
SHOP = """
from celery import Celery
from celery.schedules import crontab
app = Celery("shop")
app.conf.beat_schedule = {
    "every second": {"task": "shop.work", "schedule": 1.0, "args": [True]},
    "nightly": {"task": "shop.work", "schedule": crontab(hour=3, minute=5), "args": [True]},
}

@app.task
def work(well):
    assert well
"""


class Terminal:
    """A command in a tmux of its own; ended with it."""

    def __init__(self, folder: Path, words: list[str], size: str = "80x24", **variables: str):
        self.socket = folder / "tmux"
        self.code = folder / "code"
        columns, _, lines = size.partition("x")
        script = f"{shlex.join(words)}; echo $? >{shlex.quote(str(self.code))}; echo over; exec sleep 600"
        environment = shlex.join(f"{name}={value}" for name, value in {"LC_ALL": "C.UTF-8", **variables}.items())
        script = f"env {environment} {script}"
        self.tmux("-f/dev/null", "new-session", "-d", "-x", columns, "-y", lines, script, cwd=folder)

    def tmux(self, *words: str, **options) -> str:
        argv = ["tmux", "-S", self.socket, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=180, **options).stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def wait_for(self, *texts: str) -> str:
        """The screen, once it shows all of these."""
        try:
            wait_for(lambda: all(text in self.screen() for text in texts), 180)
        except AssertionError:
            raise AssertionError(f"no {texts} in:\n{self.screen()}") from None
        return self.screen()

    def end(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.tmux("kill-server")


@pytest.fixture
def terminal(tmp_path):
    """Makes Terminals."""
    if not shutil.which("tmux"):
        pytest.skip("needs tmux (apt-get install tmux)")
    made = []

    def make(*args, **options):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        made.append(Terminal(folder, *args, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


def top(daemon, *args: str, shared=()) -> list[str]:
    return [*daemon.argv("-c", str(daemon.config), *shared), "top", "--interval=0.5", *args]


def rows(screen: str) -> dict[str, list[str]]:
    """{program: [state, pid]} of a screen of one host."""
    table = screen.partition(" PROGRAM")[2].partition("──")[0].splitlines()[1:]
    return {words[0]: words[1:3] for words in (found[1:].split() for found in table) if words}


def test_on_a_terminal_keys_restart_stop_and_start_programs(daemon, terminal):
    for name in ("mail-worker", "shop-beat", "shop-worker"):
        daemon.program(name)
    daemon.program("broken", "sh -c 'echo cannot open database; exit 3'", startretries=0, startsecs=1)
    daemon.start()
    screen = terminal(top(daemon))
    shown = rows(screen.wait_for(">broken", "FATAL", "mail-worker", "s start"))
    assert shown["mail-worker"] == ["RUNNING", str(daemon.pid("mail-worker"))]
    assert "4 programs, 1 not running" in screen.screen()
    assert "cannot open database" in screen.screen()

    screen.press("/", "m", "a", "i", "l", "Enter")
    shown = rows(screen.wait_for("with mail", "s start"))
    assert list(shown) == ["mail-worker"]
    before = daemon.pid("mail-worker")
    screen.press("r")
    screen.wait_for("restart mail-worker? [y/N]")
    screen.press("n")
    screen.wait_for("s start")
    assert daemon.pid("mail-worker") == before
    screen.press("r", "y")
    wait_for(lambda: daemon.pid("mail-worker") not in (0, before))
    screen.wait_for(str(daemon.pid("mail-worker")), "mail-worker: running")
    screen.press("x", "y")
    wait_for(lambda: daemon.state("mail-worker") == "STOPPED")
    screen.wait_for("STOPPED")
    screen.press("s", "y")
    wait_for(lambda: daemon.state("mail-worker") == "RUNNING")
    screen.wait_for("RUNNING")
    screen.press("Escape")
    screen.wait_for("shop-worker")
    screen.press("o")
    screen.wait_for("by state")
    assert next(iter(rows(screen.screen()))) == "broken"

    screen.press("q")
    assert screen.wait_for("over").split() == ["over"]  # nothing of the view is left
    assert screen.code.read_text() == "0\n"
    assert screen.tmux("display-message", "-p", "#{alternate_on}#{cursor_flag}#{mouse_any_flag}") == "010\n"
    assert not _processes(str(daemon.config))


def test_what_was_begun_goes_on_after_quitting(daemon, terminal):
    daemon.program("slow", """sh -c "trap '' TERM; while :; do sleep 1; done" """, stopwaitsecs=4)
    daemon.start()
    before = daemon.pid("slow")
    screen = terminal(top(daemon))
    screen.wait_for(">slow", "RUNNING")
    screen.press("r", "y")
    wait_for(lambda: daemon.state("slow") == "STOPPING")
    screen.press("q")
    assert "restart slow goes on; see celeryhost status" in screen.wait_for("over")
    wait_for(lambda: daemon.state("slow") == "RUNNING" and daemon.pid("slow") != before, 180)


def _processes(text: str) -> list[str]:
    """Command lines of `celeryhost top` that name `text`."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = place.read_text(errors="replace")
            if text in words and "\0top\0" in words:
                found.append(words)
    return found


def test_a_log_is_followed_and_a_small_terminal_is_waited_for(daemon, terminal):
    daemon.program("web", "sh -c 'while :; do date +now-%%s-$((n = n + 1)); sleep 0.2; done'")
    daemon.start()
    screen = terminal(top(daemon))
    screen.wait_for(">web", "now-")
    screen.press("l")
    screen.wait_for("log of web on", "now-")
    number = int(screen.screen().rpartition("now-")[2].split("-")[1].split()[0])
    wait_for(lambda: int(screen.screen().rpartition("now-")[2].split("-")[1].split()[0]) > number + 5)
    screen.press("q")
    screen.wait_for("s start", ">web")
    screen.tmux("resize-window", "-x", "40", "-y", "10")
    screen.wait_for("is too small; make it")
    screen.tmux("resize-window", "-x", "100", "-y", "30")
    screen.wait_for("s start", ">web")
    screen.press("C-c")
    screen.wait_for("over")
    assert screen.code.read_text() == "0\n"


@pytest.mark.parametrize(
    "variables", [{"NO_COLOR": "1"}, {"TERM": "vt100"}, {"LC_ALL": "C", "TERM": "linux"}], ids=" ".join
)
def test_a_plain_terminal(daemon, terminal, variables):
    daemon.program("web")
    daemon.start()
    screen = terminal(top(daemon), **variables)
    screen.wait_for(">web", "RUNNING", "s start")
    coloured = screen.tmux("capture-pane", "-p", "-e")
    if "NO_COLOR" in variables:
        assert "\x1b[3" not in coloured.replace("\x1b[39m", "")
    else:
        assert screen.screen().isascii()
    screen.press("q")
    assert screen.wait_for("over").split() == ["over"]


@pytest.mark.parametrize(
    ("size", "variables", "code", "said"),
    [
        ("50x20", {}, 2, "the terminal is too small for top, 50x20; make it 60x12 or larger"),
        ("80x24", {"TERM": "dumb"}, 2, "top cannot draw on a terminal of TERM='dumb'"),
        ("80x24", {"PYTHONPATH": "{folder}"}, 1, "the view needs Textual 2.1 or later, which is not here; install it"),
    ],
)
def test_where_no_view_is_possible(daemon, terminal, tmp_path, size, variables, code, said):
    (tmp_path / "textual.py").write_text("raise ImportError")
    variables = {name: value.format(folder=tmp_path) for name, value in variables.items()}
    screen = terminal(top(daemon), size, **variables)
    shown = screen.wait_for("over")
    assert said in "".join(shown.splitlines()), shown
    assert screen.code.read_text() == f"{code}\n"


def test_without_a_terminal_or_a_supervisord(daemon):
    done = daemon.run("top")
    assert (done.returncode, done.stdout) == (errors.USAGE, "")
    assert "top needs a terminal" in done.stderr
    done = daemon.run("top", "--json")
    assert (done.returncode, done.stdout) == (errors.DOWN, "")
    assert len(done.stderr.splitlines()) == 1
    done = daemon.run("top", "--interval=soon")
    assert done.returncode == errors.USAGE
    assert "'soon' is no number of seconds" in done.stderr


def test_the_stream_tells_of_queues_tasks_and_beat(daemon, tmp_path):
    (tmp_path / "redis").mkdir()
    (daemon.folder / "shop.py").write_text(SHOP)
    with redis_server(tmp_path / "redis") as port:
        shared = {"directory": daemon.folder, "environment": f'CELERY_BROKER_URL="{url(port).replace("%", "%%")}"'}
        celery = f"{CELERY} -A shop"
        daemon.program("shop-worker", f"{celery} worker -l INFO -c 1 -Q celery,slow --without-mingle", **shared)
        daemon.program("shop-beat", f"{celery} beat -l INFO -s {daemon.folder}/schedule", **shared)
        daemon.program("web")
        daemon.start()
        environment = {**os.environ, "CELERY_BROKER_URL": url(port)}
        send = [CELERY, "-A", "shop", "call", "shop.work", "--queue"]
        with _ended(daemon.popen("top", "--json", "--interval=0.5", "shop", "web")) as stream:
            seen = [json.loads(line(stream))]
            assert [program["name"] for program in seen[0]["programs"]] == ["shop-beat", "shop-worker", "web"]
            for queue, arguments in (("celery", "[false]"), ("slow", "[true]")):
                subprocess.run(
                    [*send, queue, "-a", arguments], cwd=daemon.folder, env=environment, check=True, timeout=180
                )

            def see(truth):
                def look():
                    text = line(stream)
                    assert text, stream.stderr.read()
                    seen.append(json.loads(text))
                    return truth(seen[-1]["apps"][0])

                wait_for(look, 180)

            see(lambda app: app["failed"] == 1 and (app["done"] or 0) >= 3)
            see(lambda app: app["beat"]["next"])
            # The events of Redis may come before the lines of the log.
            see(lambda _: any("raised unexpected" in told["text"] for one in seen for told in one["log"]))
            app, at = seen[-1]["apps"][0], seen[-1]["time"]
            assert seen[-1].keys() == fields("top") - {"host"}
            assert app.keys() == fields("top", "an app")
            assert (app["app"], app["programs"], app["remark"]) == ("shop", ["shop-beat", "shop-worker"], None)
            assert app["queues"].keys() == {"celery", "slow"}
            last, following = app["beat"]["last"], app["beat"]["next"]
            assert last[1] == following[1] == "every second"
            assert at - 5 < last[0] <= at
            assert following[0] == pytest.approx(last[0] + 1, abs=0.02)
            texts = [told["text"] for one in seen for told in one["log"]]
            assert sum("raised unexpected" in text for text in texts) == 1
            daemon.rpc.call("stopProcess", "shop-worker", True)
            subprocess.run([*send, "slow", "-a", "[true]"], cwd=daemon.folder, env=environment, check=True, timeout=180)
            see(lambda app: app["queues"] is None and app["remark"] is None)  # nobody says where the broker is
            daemon.rpc.call("startProcess", "shop-worker", False)
            see(lambda app: app["queues"])
            assert PASSWORD not in json.dumps(seen)


def test_a_stream_ends_with_its_reader(daemon):
    daemon.program("web")
    daemon.start()
    stream = daemon.popen("top", "--json", "--interval=86400")
    with _ended(stream):
        assert json.loads(line(stream))["programs"][0]["name"] == "web"
        stream.stdout.close()
        assert stream.wait(20) == -signal.SIGPIPE


@contextlib.contextmanager
def _ended(process):
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def hosts(monkeypatch):
    """Two hosts behind real sshds, and one where nobody listens: (their Daemons, the inventory)."""
    folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    daemons = {}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)  # ssh takes its sockets away at the same time
        described = {}
        for name in ("board", "cloud"):
            (folder / name).mkdir()
            daemons[name] = Daemon(folder / name, [sys.executable, "-m", "supervisor.supervisord"])
            stack.callback(daemons[name].end)
            daemons[name].program(f"{name}-worker")
            daemons[name].start()
            described[name] = stack.enter_context(sshd(folder / f"{name}-sshd", daemons[name].command()))
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # not listening
        described["gone"] = {**described["board"], "ansible_port": closed.getsockname()[1]}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": described}}))
        yield daemons, str(folder / "hosts.json")


def test_many_hosts_one_of_which_is_down(hosts):
    daemons, inventory = hosts
    asyncio.run(_use(daemons, inventory))


async def _use(daemons, inventory):
    feed = Feed(Target(inventory, None, None, None, None))
    view = Top(feed, (), 0.5)
    async with view.run_test(size=(100, 24)) as pilot:

        def shown() -> str:
            canvas = view.query_one(Canvas)
            return "\n".join(canvas.render_line(y).text for y in range(canvas.size.height))

        async def see(truth):
            end = time.monotonic() + 180
            while not truth():
                assert time.monotonic() < end, shown()
                await pilot.pause(0.1)

        await see(lambda: "board-worker" in shown() and "cloud-worker" in shown() and "UNREACHABLE" in shown())
        assert "3 hosts, 1 away  2 programs" in shown()
        assert ">board" in shown() or ">cloud" in shown()
        await pilot.press("slash", *"cloud", "enter")
        await see(lambda: "board-worker" not in shown())
        before = daemons["cloud"].pid("cloud-worker"), daemons["board"].pid("board-worker")
        await pilot.press("r")
        assert "restart cloud-worker on cloud? [y/N]" in shown()
        await pilot.press("y")
        await see(lambda: daemons["cloud"].pid("cloud-worker") not in (0, before[0]))
        await see(lambda: str(daemons["cloud"].pid("cloud-worker")) in shown())
        assert daemons["board"].pid("board-worker") == before[1]
        await pilot.press("escape", "home")
        await see(lambda: ">gone" in shown())
        await pilot.press("r")
        assert "choose a program first" in shown()
        daemons["board"].end()
        await see(lambda: "DOWN" in shown())
        await pilot.press("q")
    feed.close()
    assert view.return_value == errors.OK


def test_when_no_host_answers(hosts, terminal, daemon):
    _, inventory = hosts
    words = daemon.argv("-i", inventory, "-H", "gone", "top")
    variables = {name: os.environ[name] for name in ("XDG_CACHE_HOME", "XDG_RUNTIME_DIR")}
    screen = terminal(words, **variables)
    shown = screen.wait_for("over")
    assert shown.startswith("celeryhost: gone: ssh: connect to host 127.0.0.1"), shown
    assert screen.code.read_text() == f"{errors.UNREACHABLE}\n"

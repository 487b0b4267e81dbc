"""`top`: what it counts, what it shows in which order, and the screen, drawn for terminals of several sizes.

The screens are files of tests/unit/top; `CELERYHOST_SCREENS=write pytest tests/unit/test_top.py` makes them anew, to be
looked at before they are committed.
"""

import os
import time
from pathlib import Path

import pytest
from celeryhost import errors
from celeryhost.logs.reader import Line
from celeryhost.supervisor.status import Row
from celeryhost.top import draw as top_draw
from celeryhost.top.parts import count, part
from celeryhost.top.schedule import Schedule
from celeryhost.top.screen import ASCII_BARS, differences, in_ascii
from celeryhost.top.state import State
from celeryhost.top.table import Column, table
from rich.segment import Segment
from rich.text import Text
from textual.strip import Strip

SCREENS = Path(__file__).parent / "top"
NOW = 1_795_352_400  # 2026-11-22 13:00:00 UTC
TASK = "Task mysite.sum[0a3bfe8a-adc0-41aa-b955-2cd9c268baa3]"


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def program(name, state="RUNNING", pid=1234, **fields):
    row = dict.fromkeys(Row._fields) | {"name": name, "state": state, "pid": pid, "restarts": 0}
    used = {"uptime": 12000, "cpu": 0.5, "memory": 50 << 20} if pid else {}
    return row | used | fields


def app(name, waiting=0, done=0, failed=0, beat=None, remark=None):
    programs = [f"{name}-worker", f"{name}-beat"]
    queues = None if waiting is None else {"celery": waiting}
    numbers = {"queues": queues, "remark": remark, "done": done, "failed": failed}
    return {"app": name, "programs": programs, **numbers, "beat": beat}


def beat(last=None, following=None, remark=None):
    return {"program": "mysite-beat", "last": last, "next": following, "remark": remark}


def sample(programs, apps=(), log=(), left_out=0, at=NOW):
    lines = [{"time": at - 1, "program": name, "stream": "stdout", "text": text} for name, text in log]
    return {"version": 1, "time": at, "programs": programs, "apps": apps, "log": lines, "left_out": left_out}


def one_host():
    """A host whose worker gets ever more to do."""
    state = State(["board"])
    for n in range(12):
        programs = [
            program("mysite-beat", cpu=0.0),
            program("mysite-mail", "FATAL", None, error="Exited too quickly", stopped=NOW, last_line="no such host"),
            program("mysite-web", "STOPPED", None, stopped=NOW - 3600),
            program(
                "mysite-worker", pid=97531, uptime=65.4 + 2 * n, cpu=8.0 * n, memory=(100 + 10 * n) << 20, restarts=3
            ),
        ]
        log = [
            (
                "mysite-beat",
                "[2026-11-22 13:00:00,123: INFO/MainProcess] Scheduler: Sending due task clean up (mysite.sum)",
            ),
            ("mysite-worker", f"[2026-11-22 13:00:00,123: INFO/ForkPoolWorker-1] {TASK} succeeded in 0.1s: {n}"),
            (
                "mysite-worker",
                f"[2026-11-22 13:00:00,124: ERROR/ForkPoolWorker-1] {TASK} raised unexpected: ValueError()",
            ),
            ("mysite-web", "\x1b[32m한국어\x1b[0m 로그도 \x07 보입니다"),
        ]
        due = beat([NOW - 3, "clean up"], [NOW + 21600, "nightly report"])
        apps = [app("mysite", waiting=n * n, done=3 * n, failed=n // 4, beat=due)]
        state.take("board", sample(programs, apps, log, left_out=7 if n == 11 else 0))
    return state


def many_hosts():
    """Twenty hosts, one of them unreachable, one not heard of yet, one whose worker crashes, one with a late beat."""
    state = State([f"eu-west-{n:02}" for n in range(20)])
    for n in range(18):
        name = f"eu-west-{n:02}"
        worker = program("shop-worker", pid=4000 + n, cpu=5.0 * n, memory=(90 + n) << 20)
        if n == 7:
            worker = program("shop-worker", "BACKOFF", None, error="Exited too quickly", restarts=12)
        late = beat([NOW - 400, "tick"], [NOW - 340, "tick"]) if n == 9 else None
        apps = [
            app("shop", waiting=None if n == 2 else n, done=n, failed=None, beat=late, remark="Redis does not answer")
        ]
        apps[0]["remark"] = apps[0]["remark"] if n == 2 else None
        state.take(name, sample([worker, program("shop-web")], apps, [("shop-worker", f"line of {name}")] * 2))
    state.lose(
        "eu-west-18", errors.Failure("eu-west-18: ssh: connect to host 192.0.2.9 port 22: No route", 8, "try ssh x")
    )
    return state


VIEW = top_draw.View(now=NOW)


@pytest.mark.parametrize(
    ("name", "state", "view", "width", "height"),
    [
        ("one-80x24", one_host, VIEW._replace(chosen=("board", "mysite-worker")), 80, 24),
        (
            "one-60x12",
            one_host,
            VIEW._replace(chosen=("board", "mysite-worker"), question="stop mysite-worker?"),
            60,
            12,
        ),
        (
            "one-132x30",
            one_host,
            VIEW._replace(chosen=("board", "mysite-beat"), said="mysite-beat: running pid 7"),
            132,
            30,
        ),
        ("one-ascii-80x24", one_host, VIEW._replace(bars=ASCII_BARS), 80, 24),
        ("many-80x24", many_hosts, VIEW._replace(chosen=("eu-west-09", "shop-worker")), 80, 24),
        ("many-by-cpu-100x40", many_hosts, VIEW._replace(sort="cpu", chosen=("eu-west-17", "shop-worker")), 100, 40),
        ("many-filtered-80x24", many_hosts, VIEW._replace(filter="eu-west-1", typing=True), 80, 24),
        ("connecting-80x24", lambda: State(["board"]), VIEW, 80, 24),
    ],
)
def test_screen(name, state, view, width, height):
    lines = top_draw.screen(state(), view, width, height)
    if view.bars == ASCII_BARS:
        lines = [in_ascii(line) for line in lines]
        assert all(line.plain.isascii() for line in lines)
    assert [line.cell_len for line in lines] == [width] * height
    drawn = "".join(f"{line.plain.rstrip()}\n" for line in lines)
    file = SCREENS / f"{name}.txt"
    if os.environ.get("CELERYHOST_SCREENS") == "write":
        file.write_text(drawn)
    assert drawn == file.read_text()


@pytest.mark.parametrize("width", range(60, 200, 7))
@pytest.mark.parametrize("height", (12, 13, 19, 20, 33, 60))
def test_every_size_is_filled_and_no_more(width, height):
    for state in (one_host(), many_hosts(), State(["a", "b"])):
        lines = top_draw.screen(state, VIEW, width, height)
        assert [line.cell_len for line in lines] == [width] * height


def test_the_chosen_line_and_its_app_are_always_among_those_shown():
    state = many_hosts()
    for item in state.items("name", ""):
        view = VIEW._replace(chosen=top_draw.key(item))
        lines = [line.plain for line in top_draw.screen(state, view, 80, 24)]
        assert any(line.startswith(f">{item.host}") for line in lines), item
        if item.row.name == "shop-worker":
            assert any(line.startswith(f" {item.host}  shop ") for line in lines), item


def test_a_table_leaves_out_what_there_is_no_room_for():
    columns = [
        Column("NAME", [Text("a"), Text("b")]),
        Column("PID", [Text("1"), Text("")], "number"),
        Column("", [lambda width: "#" * width] * 2, "graph"),
    ]
    assert [line.plain for line in table(columns, 20, 1, [None, "stopped"])] == [
        "NAME  PID           ",
        "a       1 ########  ",
        "b     stopped       ",
    ]
    assert [line.plain for line in table(columns, 10, 1, [None, "stopped"])] == [
        "NAME  PID ",
        "a       1 ",
        "b     sto…",
    ]


def test_order_and_filter():
    state = one_host()

    def names(sort, text=""):
        return [item.row.name for item in state.items(sort, text)]

    assert names("name") == ["mysite-beat", "mysite-mail", "mysite-web", "mysite-worker"]
    assert names("cpu")[0] == names("memory")[0] == "mysite-worker"
    assert names("uptime")[0] == "mysite-beat"
    assert names("name", "fatal") == ["mysite-mail"]
    assert names("name", "WORK") == ["mysite-worker"]
    assert len(names("name", "boa")) == 4
    assert state.apps(state.items("name", "mail")) == []
    assert {line["program"] for _, line in state.lines("web", 100)} == {"mysite-web"}


def test_it_ends_only_when_no_host_has_ever_answered():
    state = State(["a", "b"])
    state.lose("a", errors.Failure("a: gone", errors.UNREACHABLE, "try ssh a"))
    assert state.hopeless() is None
    state.lose("b", errors.Failure("b: down", errors.DOWN))
    assert (state.hopeless().code, str(state.hopeless())) == (8, "none of 2 hosts answers: a: gone; try ssh a")
    state.take("b", sample([]))
    state.lose("b", errors.Failure("b: down", errors.DOWN))
    assert state.hopeless() is None


def worker(options):
    command = f"/usr/bin/setpriv --pdeathsig TERM /srv/venv/bin/celery -A mysite worker {options}"
    row = Row(**dict.fromkeys(Row._fields) | {"name": "mysite-worker", "group": "mysite-worker", "pid": 1})
    found = part(row, command, None)
    found.is_logged = True
    return found


def test_tasks_are_counted_in_the_log_for_a_minute():
    found = worker("-l info")
    for at, text in (
        (NOW - 61, f"{TASK} succeeded in 0.1s: None"),
        (NOW - 59, f"[2026-11-22 12:59:01,123: INFO/ForkPoolWorker-1] {TASK} succeeded in 0.1s: None"),
        (NOW - 1, f"{TASK} received"),
        (NOW - 1, f"{TASK} succeeded in 0.1s: 'it raised nothing'"),
        (NOW - 1, f"{TASK} raised unexpected: ValueError('Task x[y] succeeded in 1s')"),
        (NOW - 1, f"{TASK} raised expected: KeyError()"),
        (NOW - 1, f"{TASK} retry: Retry in 3s"),
        (NOW - 1, "Task handler raised error: WorkerLostError('Worker exited prematurely: signal 9')"),
    ):
        found.note(Line(at, "mysite-worker", "stdout", text))
    assert count([found], NOW) == (2, 3)
    assert count([found], NOW + 60) == (0, 0)


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ("--loglevel=INFO", (0, 0)),
        ("-l DEBUG", (0, 0)),
        ("", (None, 0)),
        ("--loglevel WARNING", (None, 0)),
        ("-lCRITICAL", (None, None)),
    ],
)
def test_what_the_log_does_not_tell_is_unknown(options, known):
    found = worker(options)
    assert count([found], NOW) == known
    found.is_logged = False
    assert count([found], NOW) == (None, None)
    assert count([], NOW) == (None, None)


def test_what_a_command_says_of_a_worker():
    found = worker("-Q mail,slow -B -n x@%h -- broker.heartbeat=beat")
    assert (found.app, found.queues, found.is_worker, found.is_beat) == ("mysite", ["mail", "slow"], True, True)
    row = Row(**dict.fromkeys(Row._fields) | {"name": "web", "group": "web"})
    assert part(row, "gunicorn worker", None) is None
    assert part(row, "sh -c 'unfinished", None) is None


def test_the_command_line_says_where_the_broker_is_before_the_environment_does():
    assert worker("--broker=redis://x/0").broker() == "redis://x/0"
    found = worker("-l INFO")
    found.pid = os.getpid()
    environment = Path(f"/proc/{found.pid}/environ").read_bytes()
    assert b"CELERY_BROKER_URL" not in environment
    assert found.broker() is None
    found.pid = None
    assert found.broker() is None


def test_when_beat_sends_next():
    schedule = Schedule(None)
    entry = {"enabled": True, "kind": "interval", "fields": {"seconds": 30.0, "relative": False}}
    crontab = {**entry, "kind": "crontab", "name": "nightly", "next": [[NOW - 60, ""], [NOW + 60, ""]]}
    off = {**crontab, "name": "off", "enabled": False, "next": [[NOW + 1, ""]]}
    schedule.entries = {"mysite-beat": [{**entry, "name": "tick", "next": [[NOW + 5, ""]]}, crontab, off]}
    row = Row(**dict.fromkeys(Row._fields) | {"name": "mysite-beat", "group": "mysite-beat", "pid": 1})
    found = part(row, "celery -A mysite beat -s x", None)
    assert schedule.next(found, NOW) == ([NOW + 5, "tick"], None)
    found.note(Line(NOW - 90, "mysite-beat", "stdout", "Scheduler: Sending due task tick (mysite.tick)"))
    assert schedule.next(found, NOW) == ([NOW - 60, "tick"], None)  # late
    found.note(Line(NOW - 1, "mysite-beat", "stdout", "Scheduler: Sending due task tick (mysite.tick)"))
    assert schedule.next(found, NOW) == ([NOW + 29, "tick"], None)
    assert schedule.next(worker(""), NOW) == (None, None)


def test_only_what_differs_is_sent():
    def places(before, after):
        return list(differences(Strip([Segment(before)]), Strip([Segment(after)])))

    assert places("same", "same") == []
    assert places("cpu 1.5%  memory 10 MB  12:00:01", "cpu 1.6%  memory 10 MB  12:00:02") == [(6, 1), (31, 1)]
    assert places("a한b", "a국b") == [(1, 2)]

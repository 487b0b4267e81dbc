"""`celeryhost logs` on a real supervisord: what it shows, and that following loses and repeats nothing."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import pytest
from celeryhost import errors
from conftest import wait_for
from documented import fields

# Numbered lines, 1,000 a second, written as a program does that logs by itself or to Supervisor.
WRITER = """
import logging, logging.handlers, subprocess, sys, time
kind, path, count, *rotate = sys.argv[1:]
handlers = {
    "stdout": lambda: logging.StreamHandler(sys.stdout),
    "file": lambda: logging.FileHandler(path),
    "watched": lambda: logging.handlers.WatchedFileHandler(path),  # what Celery's -f uses
    "rotating": lambda: logging.handlers.RotatingFileHandler(path, maxBytes=4000, backupCount=50),
}
handler = handlers[kind]()
handler.setFormatter(logging.Formatter("[%(asctime)s: %(levelname)s/MainProcess] %(message)s"))
logging.basicConfig(level="INFO", handlers=[handler])
start = time.time()
for number in range(int(count)):
    time.sleep(max(0, start + number / 1000 - time.time()))
    logging.info("line %d", number)
    if rotate and number % 200 == 199:
        subprocess.run(rotate, check=True, timeout=180)
if kind == "stdout":
    time.sleep(600)
"""
LINES = 2100  # with a rotation after one or two hundred

logrotate = pytest.mark.skipif(not shutil.which("logrotate"), reason="needs logrotate (apt-get install logrotate)")


class Followed:
    """A running `celeryhost logs -f`, and what it has printed."""

    def __init__(self, daemon, *args, shared=()):
        self.lines: list[str] = []
        self.process = daemon.popen(*shared, "logs", "-f", *args)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text: str, seconds: float = 120):
        wait_for(lambda: any(text in line for line in self.lines), seconds)

    def numbers(self) -> list[int]:
        return [int(line.rpartition(" ")[2]) for line in self.lines if "MainProcess] line " in line]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(10)
        self.reader.join(10)
        return code


@contextlib.contextmanager
def following(daemon, *args, shared=()):
    followed = Followed(daemon, *args, shared=shared)
    try:
        yield followed
    finally:
        if followed.process.poll() is None:
            followed.process.kill()
            followed.process.wait()
        followed.reader.join(10)
        followed.process.stdout.close()
        followed.process.stderr.close()


@pytest.fixture
def writer(tmp_path):
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    return [sys.executable, str(script)]


@pytest.fixture
def logs(daemon):
    """Two programs whose logs the test writes, and one with both streams; the daemon runs."""
    for name in ("mysite-worker", "mysite-beat"):
        daemon.program(name, stdout_logfile_maxbytes=0)
        (daemon.folder / "log" / f"{name}.log").write_text("")
    daemon.program(
        "both", "sh -c 'echo out; echo err >&2; exec sleep 1000'", redirect_stderr="false",
        stderr_logfile=f"{daemon.folder}/log/both.err.log",
    )  # fmt: skip
    return daemon.start()


def log(daemon, name, *lines, mode="a"):
    with open(daemon.folder / "log" / f"{name}.log", mode, errors="surrogateescape") as file:
        file.write("".join(f"{line}\n" for line in lines))


def stamped(second: int, text: str, level: str = "INFO") -> str:
    return f"[2026-11-22 14:00:{second:02},000: {level}/MainProcess] {text}"


# What is shown


def test_merged_by_time_with_aligned_names(logs):
    log(logs, "mysite-worker", stamped(1, "a"), "Traceback", "  more", stamped(5, "b"))
    log(logs, "mysite-beat", stamped(3, "c"), stamped(6, "d"))
    shown = logs.run("logs", "mysite")
    assert shown.stdout.splitlines() == [
        f"mysite-worker | {stamped(1, 'a')}",
        "mysite-worker | Traceback",
        "mysite-worker |   more",
        f"mysite-beat   | {stamped(3, 'c')}",
        f"mysite-worker | {stamped(5, 'b')}",
        f"mysite-beat   | {stamped(6, 'd')}",
    ]
    assert (shown.returncode, shown.stderr) == (0, "")


def test_one_program_has_no_name_in_front(logs):
    log(logs, "mysite-beat", *(stamped(second, "tick") for second in range(30)))
    assert logs.run("logs", "mysite-beat").stdout.splitlines() == [stamped(s, "tick") for s in range(20, 30)]
    assert logs.run("logs", "-n", "2", "mysite-beat").stdout.splitlines() == [stamped(s, "tick") for s in (28, 29)]
    assert logs.run("logs", "-n", "0", "mysite-beat").stdout == ""


def test_times_and_grep_reach_back_into_compressed_files(logs):
    path = logs.folder / "log" / "mysite-beat.log"
    with gzip.open(f"{path}.2.gz", "wt") as packed:
        packed.write("".join(f"{stamped(second, 'tick')}\n" for second in range(20)))
    (path.parent / f"{path.name}.1").write_text("".join(f"{stamped(second, 'tick')}\n" for second in range(20, 40)))
    log(logs, "mysite-beat", *(stamped(second, "tick") for second in range(40, 60)))

    def seconds(*args):
        shown = logs.run("logs", "mysite-beat", *args)
        assert shown.returncode == 0
        return [int(line[18:20]) for line in shown.stdout.splitlines()]

    assert seconds("--since", "2026-11-22 14:00:10") == list(range(10, 60))
    assert seconds("--since", "2026-11-22 14:00:10", "--until", "2026-11-22 14:00:45") == list(range(10, 46))
    assert seconds("--until", "2026-11-22 14:00:45", "-n", "3") == [43, 44, 45]
    assert seconds("--grep", r":\d5,000", "-n", "4") == [25, 35, 45, 55]
    assert seconds("-n", "45") == list(range(15, 60))


def test_json(logs):
    log(logs, "mysite-worker", stamped(1, "caf\udce9 \x1b[2J"))
    shown = logs.run("logs", "--json", "mysite")
    (line,) = map(json.loads, shown.stdout.splitlines())
    seconds = time.mktime((2026, 11, 22, 14, 0, 1, 0, 0, -1))
    text = stamped(1, "caf\ufffd \x1b[2J")
    assert line.keys() == fields("logs") - {"host"}
    assert line == {"time": seconds, "program": "mysite-worker", "stream": "stdout", "text": text}


def test_stderr_alone(logs):
    assert logs.run("logs", "both").stdout.splitlines() in (["out", "err"], ["err", "out"])
    assert logs.run("logs", "--err", "both").stdout == "err\n"
    refused = logs.run("logs", "--err", "mysite-beat")
    assert refused.returncode == errors.FAILED
    assert refused.stderr == "celeryhost: mysite-beat has no log of its own for stderr; leave out --err\n"


def test_supervisord_itself(logs):
    shown = logs.run("logs", "-n", "100", "supervisord")
    assert "success: both entered RUNNING state" in shown.stdout
    assert shown.returncode == 0


def test_while_supervisord_is_down(logs):
    log(logs, "mysite-worker", stamped(1, "last words"))
    logs.end()
    shown = logs.run("logs", "mysite-worker")
    assert (shown.returncode, shown.stdout) == (0, stamped(1, "last words") + "\n")
    assert "received SIGTERM" in logs.run("logs", "supervisord").stdout


# Many hosts


@pytest.fixture
def hosts(logs):
    """Two hosts that are this one, and one that cannot be reached."""
    inventory = logs.folder / "hosts.yml"
    nowhere = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    local = {"ansible_connection": "local"}
    inventory.write_text(json.dumps({"all": {"hosts": {"one": local, "three": local, "two": nowhere}}}))
    return ["-i", str(inventory), "-c", str(logs.config)]


def test_many_hosts_are_merged_and_a_failed_one_hides_none(logs, hosts):
    log(logs, "mysite-worker", stamped(1, "a"), "more", stamped(5, "b"))
    log(logs, "mysite-beat", stamped(3, "c"))
    shown = logs.run(*hosts, "logs", "mysite", "--since", "2026-11-22 14:00", "--grep", "[abcm]")
    assert shown.returncode == errors.UNREACHABLE
    assert shown.stdout.splitlines() == [
        f"{host} {text}"
        for texts in (
            [f"mysite-worker | {stamped(1, 'a')}", "mysite-worker | more"],
            [f"mysite-beat   | {stamped(3, 'c')}"],
            [f"mysite-worker | {stamped(5, 'b')}"],
        )
        for host in ("one  ", "three")
        for text in texts
    ]
    assert shown.stderr.startswith("celeryhost: two: ")
    lines = logs.run(*hosts, "-H", "one", "logs", "mysite-beat", "--json").stdout.splitlines()
    assert [json.loads(line)["host"] for line in lines] == ["one"]


def test_many_hosts_followed(logs, hosts):
    log(logs, "mysite-worker", "ready")
    with following(logs, "mysite-worker", shared=[*hosts, "-H", "one,three"]) as followed:
        wait_for(lambda: len(followed.lines) == 2)
        log(logs, "mysite-worker", "new")
        wait_for(lambda: len(followed.lines) == 4)
        assert followed.end() == 0
        assert followed.process.stderr.read() == ""
    assert sorted(line.split(" | ")[1] for line in followed.lines) == ["new", "new", "ready", "ready"]


# What cannot be shown


@pytest.mark.parametrize(
    "args, code, says",
    [
        (["mysit"], errors.UNKNOWN, "did you mean 'mysite'"),
        (["--since", "soon"], errors.USAGE, "--since 'soon' is no time"),
        (["--since", "10m", "--until", "1h"], errors.USAGE, "not before"),
        (["-f", "--until", "10m"], errors.USAGE, "exclude each other"),
        (["--grep", "("], errors.USAGE, "'(' is no regular expression"),
        (["-n", "-1"], errors.USAGE, "-1"),
    ],
)
def test_bad_input(logs, args, code, says):
    refused = logs.run("logs", *args)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr


def test_programs_without_a_readable_log(daemon):
    daemon.program("none", stdout_logfile="NONE")
    daemon.program("device", stdout_logfile="/dev/stdout", stdout_logfile_maxbytes=0)
    daemon.program("gone")
    daemon.program("some", "echo hello")
    daemon.start()
    os.unlink(daemon.folder / "log" / "gone.log")
    for name, says in (("none", "keeps no log"), ("device", "/dev/stdout is no file"), ("gone", "is not there")):
        refused = daemon.run("logs", name)
        assert (refused.returncode, refused.stdout) == (errors.FAILED, "")
        assert refused.stderr.startswith(f"celeryhost: {name}")
        assert says in refused.stderr
    shown = daemon.run("logs")
    assert shown.returncode == 0, "others have one"
    assert len(shown.stderr.splitlines()) == 3
    assert "some | hello" in shown.stdout


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a file away")
def test_a_log_that_only_a_group_may_read(logs):
    path = logs.folder / "log" / "mysite-beat.log"
    shutil.chown(path, "nobody", "adm")
    os.chmod(path, 0o640)
    log(logs, "mysite-worker", "open to all")
    # Root without its capabilities: another user might not even reach this Python.
    powerless = ["setpriv", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    command = [*powerless, *logs.argv("logs", "mysite")]
    refused = subprocess.run(command, **logs.options(capture_output=True, timeout=180))
    assert refused.returncode == errors.DENIED
    assert f"{path} is not readable for you; join group `adm`" in refused.stderr
    assert "open to all" in refused.stdout, "one log hides no other"


# What a log may hold


def on_terminal(daemon, *args) -> str:
    """What `celeryhost ARGS` writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(daemon.argv(*args), **daemon.options(stdout=theirs, env={"TERM": "xterm"}))
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal tells of its end
        while data := os.read(ours, 65536):
            shown += data
    os.close(ours)
    assert process.wait(10) == 0
    return shown.decode().replace("\r\n", "\n")


NASTY = "caf\udce9 \x1b[2J\x1b]0;title\x07 \x9b5n \x1b[31mred\x1b[0m a\rb \u202eevil\ttab"


def test_control_characters_do_no_harm(logs):
    log(logs, "mysite-worker", NASTY)
    harmless = "caf\ufffd \\x1b[2J\\x1b]0;title\\x07 \\x9b5n {}red{} a\\rb \\u202eevil\ttab"
    assert logs.run("logs", "mysite-worker").stdout == harmless.format("", "") + "\n"
    shown = on_terminal(logs, "logs", "mysite-worker")
    assert shown == harmless.format("\x1b[31m", "\x1b[0m") + "\x1b[0m\n"


def test_colours_on_a_terminal_only(logs):
    log(logs, "mysite-worker", stamped(1, "that is an INFO", "ERROR"))
    log(logs, "mysite-beat", stamped(2, "x", "WARNING"))
    shown = on_terminal(logs, "logs", "mysite")
    assert "\x1b[31mERROR\x1b[0m/MainProcess] that is an INFO" in shown
    assert "\x1b[33mWARNING\x1b[0m" in shown
    assert "\x1b[1;7mthat\x1b[0m" in on_terminal(logs, "logs", "mysite", "--grep", "that")
    assert "\x1b" not in logs.run("logs", "mysite", "--grep", "that").stdout


@pytest.mark.skipif(version("click").startswith("8.0."), reason="Click 8.0 refuses to run in ASCII")
def test_without_utf_8(logs):
    log(logs, "mysite-worker", "caf\u00e9")
    shown = logs.run("logs", "mysite-worker", env={"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert (shown.returncode, shown.stdout) == (0, "caf\\xe9\n")


def test_odd_names(daemon):
    daemon.program("web", "echo hello", process_name="%(program_name)s-%(process_num)d\u00e4'\"$;", numprocs=2,
                   stdout_logfile=f"{daemon.folder}/log/web-%(process_num)d a'\"$.log")  # fmt: skip
    daemon.start()
    wait_for(lambda: all(p.state == "EXITED" for p in daemon.known()))
    shown = daemon.run("logs", "web")
    assert sorted(shown.stdout.splitlines()) == [f"web:web-{n}\u00e4'\"$; | hello" for n in (0, 1)]
    assert daemon.run("logs", "web:web-1\u00e4'\"$;").stdout == "hello\n"


def test_output_cut_off_by_its_reader_ends_quietly(logs):
    log(logs, "mysite-worker", *(f"{number}" for number in range(100_000)))
    command = f"{shlex.join(logs.argv('logs', '-n', '100000', 'mysite-worker'))} | head -n 2"
    shown = subprocess.run(command, shell=True, **logs.options(capture_output=True, timeout=180))
    assert (shown.stdout, shown.stderr) == ("0\n1\n", "")


# Following


def test_ctrl_c_ends_it_with_0(logs):
    log(logs, "mysite-worker", "ready")
    with following(logs, "mysite-worker") as followed:
        followed.wait_for("ready")
        assert followed.end() == 0
        assert followed.process.stderr.read() == ""


def test_it_ends_with_its_reader_though_nothing_is_logged(logs):
    log(logs, "mysite-worker", "ready")
    process = logs.popen("logs", "-f", "mysite-worker")
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    process.wait(10)
    process.stderr.close()


def test_grep_and_names_while_following(logs):
    log(logs, "mysite-worker", "ready")
    with following(logs, "mysite", "--grep", "ready|yes") as followed:
        followed.wait_for("ready")
        log(logs, "mysite-worker", "no", "yes 1")
        log(logs, "mysite-beat", "yes 2", "no")
        followed.wait_for("yes 1")
        followed.wait_for("yes 2")
        assert followed.end() == 0
    assert sorted(followed.lines) == ["mysite-beat   | yes 2", "mysite-worker | ready", "mysite-worker | yes 1"]


def test_a_log_that_is_not_there_yet_a_deleted_and_a_truncated_one(logs):
    path = logs.folder / "log" / "mysite-beat.log"
    path.unlink()
    with following(logs, "mysite-beat") as followed:
        assert "is not there" in followed.process.stderr.readline()
        for text in ("made", "deleted and made again"):
            log(logs, "mysite-beat", text)
            followed.wait_for(text)
            path.unlink()
        log(logs, "mysite-beat", "before")
        followed.wait_for("before")
        path.write_text("")
        log(logs, "mysite-beat", "truncated")
        followed.wait_for("truncated")
        assert followed.end() == 0
    assert followed.lines == ["made", "deleted and made again", "before", "truncated"]


def test_a_program_restarted_and_a_supervisord_gone(daemon):
    daemon.program("web", "sh -c 'echo started as $$; exec sleep 1000'")
    daemon.start()
    with following(daemon, "web") as followed:
        followed.wait_for("started as")
        daemon.rpc.call("stopProcess", "web")
        daemon.rpc.call("startProcess", "web")
        followed.wait_for(f"started as {daemon.pid('web')}")
        daemon.end()
        log(daemon, "web", "still read")
        followed.wait_for("still read")
        assert followed.end() == 0
    assert len(followed.lines) == 3


def shown_of(daemon, write) -> list[int]:
    """The numbers that `logs -f` shows of the lines that `write()` has written."""
    log(daemon, "w", "ready")
    with following(daemon, "-n1", "w") as followed:
        followed.wait_for("ready")
        write()
        followed.wait_for(f"MainProcess] line {LINES - 1}", 180)
        assert followed.end() == 0
    return followed.numbers()


def rotated_files(daemon) -> int:
    return len(list((daemon.folder / "log").glob("w.log?*")))


def test_through_supervisors_own_rotation(daemon, writer):
    command = " ".join([*writer, "stdout", "-", str(LINES)])
    daemon.program("w", command, autostart="false", stdout_logfile_maxbytes=5000, stdout_logfile_backups=50)
    daemon.start()
    shown = shown_of(daemon, lambda: daemon.rpc.call("startProcess", "w"))
    assert shown == list(range(LINES))
    assert rotated_files(daemon) >= 20
    past = daemon.run("logs", "-n", str(LINES), "w").stdout.splitlines()
    assert [int(line.rpartition(" ")[2]) for line in past] == list(range(LINES)), "and all of it is found again"


def test_through_a_rotating_file_handler(daemon, writer):
    daemon.program("w", stdout_logfile_maxbytes=0)
    daemon.start()
    command = [*writer, "rotating", f"{daemon.folder}/log/w.log", str(LINES)]
    shown = shown_of(daemon, lambda: subprocess.run(command, check=True, timeout=180))
    assert shown == list(range(LINES))
    assert rotated_files(daemon) >= 20


@logrotate
@pytest.mark.parametrize("how", ["create", "create compress", "create dateext dateformat-%Y%m%d-%s", "copytruncate"])
def test_through_logrotate(daemon, writer, how):
    path = daemon.folder / "log" / "w.log"
    daemon.program("w", stdout_logfile_maxbytes=0)
    daemon.start()
    config = daemon.folder / "logrotate.conf"
    directives = how.replace(" ", "\n").replace("dateformat", "dateformat ")
    config.write_text(f"{path} {{\nrotate 50\n{directives}\n}}\n")
    config.chmod(0o644)
    rotate = ["logrotate", "-f", "-s", f"{daemon.folder}/state", str(config)]

    def write():
        # What is written between logrotate's copy and its truncation is lost for all: there the writer rotates itself.
        aside = how != "copytruncate"
        command = [*writer, "watched" if aside else "file", str(path), str(LINES), *([] if aside else rotate)]
        with subprocess.Popen(command) as process:
            while aside and process.poll() is None:
                subprocess.run(rotate, capture_output=True, check=False, timeout=180)
                time.sleep(0.08)

    # A writer that notices the rename late adds to the old file after the new one has lines: not always in order.
    assert sorted(shown_of(daemon, write)) == list(range(LINES))
    assert rotated_files(daemon) >= (2 if "dateext" in how else 10)


def test_the_readers_own_output_is_no_log(daemon):
    (daemon.folder / "stream.log").symlink_to("/dev/stdout")
    for name, path in {"out": "/dev/stdout", "fd": "/proc/self/fd/1", "link": daemon.folder / "stream.log"}.items():
        daemon.program(name, "/bin/false", startretries=0, stdout_logfile=path, stdout_logfile_maxbytes=0)
    daemon.program("here", "sh -c 'echo word; exec sleep 1000'")
    daemon.start()
    own = daemon.folder / "log" / "here.log"
    for arguments in (["logs", "out"], ["logs", "fd"], ["logs", "link"], ["logs", "here"], ["status"]):
        with open(own, "a") as output:
            output.write("word\n")
            output.flush()
            process = daemon.popen(*arguments, stdout=output)
            _, said = process.communicate(timeout=180)
        if arguments != ["status"]:
            assert process.returncode == errors.FAILED
            assert f"{arguments[1]}: " in said
    assert own.read_text().splitlines().count("word") == 6

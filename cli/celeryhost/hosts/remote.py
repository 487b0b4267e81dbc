"""The same command on many hosts at once, over the user's own OpenSSH.

Each host runs `celeryhost ARGV --json` and its output, a JSON object a line, is the protocol: there is no other one.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from shlex import join, split
from time import monotonic
from typing import IO, Any, NamedTuple

from .. import isolated
from ..errors import DENIED, FAILED, GRAVITY, TIMEOUT, UNKNOWN, UNREACHABLE, USAGE, Failure
from .inventory import Host, targets
from .target import Target

PROGRAM = "celeryhost"
AT_ONCE = 32  # hosts; more would not be quicker, and sshd on a shared jump host takes 10 at a time (MaxStartups)
CONNECT_SECONDS = 10
FLAGS = (("-p", "port"), ("-l", "user"), ("-i", "private_key_file"))
SSH_NOISE = ("ControlSocket ", "mux_client_")  # two at once wanted to be the master, or it is full: ssh goes on without
ANSWER_BYTES = 64 << 20  # of a command that ends by itself
LINES_HELD = 100  # before an answer: a login says less
LINE_BYTES = 1 << 20  # what is longer than any line of ours is not from celeryhost

DATA, SAID, ENDED, FAILURE = "data", "said", "ended", "failure"


class Answer(NamedTuple):
    """Something from one host, by its name. `kind` and `value`: DATA, a JSON object of its output; SAID, a
    line meant for a person; and to end with, each host once, ENDED, its exit code, or FAILURE, a Failure."""

    host: str
    kind: str
    value: Any


# sudo only where it is needed: root on a small machine may have none. -n: it fails rather than ask for a password.
AS_ROOT = 'test "$(id -u)" = 0 || exec sudo -n "$0" "$@"; exec "$0" "$@"'
MAYBE = "maybe"
MAYBE_AS_ROOT = 'test "$(id -u)" = 0 || ! sudo -n true 2>/dev/null || exec sudo -n "$0" "$@"; exec "$0" "$@"'


def is_remote(target: Target) -> bool:
    """Whether the shared options name hosts rather than this machine's supervisord."""
    return target.inventory is not None or target.hosts is not None


def fan_out(
    target: Target,
    argv: Sequence[str],
    root: bool | str = False,
    timeout: float | None = 60,
    at_once: int | None = AT_ONCE,
    hosts: list[Host] | None = None,
    stop: int | None = None,
) -> Generator[Answer, None, None]:
    """Run `celeryhost ARGV --json` on each host that the target means, and yield Answers as they arrive.

    `root`: the command needs root's rights there, or, MAYBE, does more with them. `timeout`: seconds for each host,
    None for as long as it takes. `at_once`: how many hosts, None for all, as what does not end by itself needs.
    `hosts`: these instead. `stop`: a file descriptor; once it can be read, this ends.
    A host that fails is one of the Answers and hides no other. Closing the generator (Ctrl-C too) ends the ssh
    processes, and with their output gone the remote side. Raises Failure when the inventory or the pattern is wrong.
    """
    hosts = targets(target.inventory, target.hosts) if hosts is None else hosts
    words = [*_shared(target), argv[0], "--json", *argv[1:]]
    return _converse(hosts, words, root, timeout, at_once or len(hosts), stop)


def attended(host: Host, target: Target, argv: list[str], terminal: bool) -> list[str]:
    """The command line that runs `celeryhost ARGV` as root on one host for whoever starts it, on a `terminal` there."""
    return command(host, [*_shared(target), *argv], root=True, terminal=terminal)


def _shared(target: Target) -> list[str]:
    options = [("-c", target.config), ("-s", target.url), ("-u", target.user)]
    return [word for option, value in options if value for word in (option, value)]


def command(host: Host, argv: list[str], root: bool | str = False, terminal: bool = False) -> list[str]:
    """The command line that runs `celeryhost ARGV` on a host. Each word arrives there as it is, whatever is in it."""
    if host.variables.get("ansible_connection") == "local":
        return [*isolated.module("celeryhost"), *argv]
    words = [PROGRAM, *argv]
    if host.variables.get("ansible_become") in (True, "true", "yes"):
        root = True
    if root:
        words = ["sh", "-c", MAYBE_AS_ROOT if root == MAYBE else AS_ROOT, *words]
    return [*ssh(host, terminal=terminal), join(words)]


def ssh(host: Host, *options: str, terminal: bool = False) -> list[str]:
    """ssh up to and including the destination. ssh takes the first value of an option, so the user's win over ours.

    Raises Failure (USAGE) for a connection that is not ssh, and for a variable that is a template.
    """
    values = _connection(host)
    words = ["ssh", *_words(host, values), *options]
    words += [word for flag, key in FLAGS for word in (flag, values[key]) if values[key]]
    words += ["-t" if terminal else "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    words += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"]  # a dead host ends `logs -f` after 45 s
    if folder := _control_folder():
        from hashlib import sha256

        # Named by us: ssh's own %C is the same for two names of one machine, which then race to be the master.
        name = sha256("\0".join([host.name, *words, values["host"]]).encode()).hexdigest()[:16]
        words += ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/{name}", "-o", "ControlPersist=10m"]
    return [*words, "--", values["host"]]


def plain_ssh(host: Host) -> str:
    """What a person types to reach a host as celeryhost does."""
    values = _connection(host)
    words = ["ssh", *_words(host, values)]
    words += [word for flag, key in FLAGS for word in (flag, values[key]) if values[key]]
    return join([*words, values["host"]])


def _words(host: Host, values: dict[str, str]) -> list[str]:
    """The options of ssh that the inventory gives; raises Failure (USAGE) for a quote that is not closed."""
    words = []
    for key in ("common_args", "extra_args"):
        try:
            words += split(values[key])
        except ValueError as error:
            what = f"{host.name}: ansible_ssh_{key} is {values[key]!r}, which is no command line ({error})"
            raise Failure(what, USAGE, "close the quotes") from None
    return words


def _connection(host: Host) -> dict[str, str]:
    given = host.variables
    connection = given.get("ansible_connection", "ssh")
    if connection not in ("ssh", "smart", "ansible.builtin.ssh"):
        raise Failure(f"{host.name}: ansible_connection is {connection}", USAGE, "celeryhost knows ssh and local")
    for key, value in given.items():
        if not str(value).isprintable():
            fix = "write it without control characters"
            raise Failure(f"{host.name}: {key} is {str(value)!r}, which ssh cannot be given", USAGE, fix)
        if "{{" in str(value):
            raise Failure(f"{host.name}: {key} is a template, {value}", USAGE, "give its value in the inventory")

    def first(*names: str) -> str:
        return str(next((given[f"ansible_{name}"] for name in names if given.get(f"ansible_{name}")), ""))

    return {
        "host": first("host", "ssh_host") or host.name,
        "port": first("port", "ssh_port"),
        "user": first("user", "ssh_user"),
        "private_key_file": os.path.expanduser(first("private_key_file", "ssh_private_key_file")),
        "common_args": first("ssh_common_args"),
        "extra_args": first("ssh_extra_args"),
    }


def _control_folder() -> str | None:
    """A folder of this user alone, its name short: a socket's path holds 108 bytes, of which ssh takes 17 at first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = f"{runtime}/celeryhost" if runtime else f"/tmp/celeryhost-{os.getuid()}"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError:
        return None
    private = found.st_mode & 0o170077 == 0o040000 and found.st_uid == os.getuid()
    return folder if private and len(folder) < 60 else None


# The conversation


class _Call:
    """One host's process, and what it has said."""

    def __init__(self, host: Host, words: list[str], timeout: float | None) -> None:
        import subprocess

        self.host, self.words = host, words
        self.deadline = monotonic() + timeout if timeout else float("inf")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        pipes = self.process.stdout, self.process.stderr
        self.unfinished: dict[IO[bytes], bytes | None] = {pipe: b"" for pipe in pipes if pipe}
        self.left = ANSWER_BYTES if timeout else float("inf")
        self.said: list[str] = []  # held back until there is data: without any, it is the reason
        self.answered = False
        for pipe in self.unfinished:
            os.set_blocking(pipe.fileno(), False)

    def read(self, pipe: IO[bytes]) -> Iterator[Answer]:
        """The Answers in what has come through a pipe; nothing more will when it is None afterwards."""
        try:
            data = os.read(pipe.fileno(), 65536)
        except BlockingIOError:
            return
        self.left -= len(data)
        if self.left < 0:
            self.process.kill()
        *lines, rest = ((self.unfinished[pipe] or b"") + data).split(b"\n")
        if not data or len(rest) > LINE_BYTES:
            lines, rest = [*lines, rest], b""
        self.unfinished[pipe] = rest if data else None
        for line in lines:
            text = line.decode(errors="replace").strip()
            if text and not text.startswith(SSH_NOISE):
                yield from self._answers(text, pipe is self.process.stdout)

    def _answers(self, text: str, is_output: bool) -> Iterator[Answer]:
        value = _object(text) if is_output else None
        if value is not None:
            yield from self._told()
            self.answered = True
            yield Answer(self.host.name, DATA, value)
        else:  # a line on stdout that is no JSON comes from the login, an `echo` in .bashrc
            self.said.append(text.removeprefix("celeryhost: "))
            del self.said[:-LINES_HELD]
            if self.answered:
                yield from self._told()

    def _told(self) -> Iterator[Answer]:
        for text in self.said:
            yield Answer(self.host.name, SAID, text)
        self.said.clear()

    def end(self) -> Iterator[Answer]:
        """The last Answers, once stdout is at its end."""
        code = self._exit_code()
        # stderr has no end that could be waited for: ssh's background master may hold it open.
        for pipe in [pipe for pipe, rest in self.unfinished.items() if rest is not None]:
            yield from self.read(pipe)
        failure = self._failure(code)
        yield from self._told()
        yield (
            Answer(self.host.name, FAILURE, failure)
            if failure
            else Answer(self.host.name, ENDED, code if code in GRAVITY else FAILED)
        )

    def _failure(self, code: int) -> Failure | None:
        reason = self.said[-1] if self.said else f"exit code {code}"
        if self.left < 0:
            return Failure(
                f"{self.host.name}: an answer of more than {ANSWER_BYTES >> 20} MB", FAILED, "see what answers"
            )
        name, by_ssh = self.host.name, self.words[0] == "ssh"
        if by_ssh and code == 255:
            self.said.clear()
            if "Permission denied" in reason:
                fix = "load your key with ssh-add, or set ansible_user or ansible_ssh_private_key_file"
                return Failure(f"{name}: {reason}", DENIED, fix)
            return Failure(f"{name}: {reason}", UNREACHABLE, f"try {plain_ssh(self.host)}")
        if self.answered or code == 0:
            return None
        self.said = self.said[:-1]
        if code == 127 or reason.endswith("command not found"):
            fix = "install it: celeryhost provision -i INVENTORY"
            return Failure(f"{name}: celeryhost is not installed there", UNKNOWN, fix)
        if code == 126 or reason.startswith("sudo: "):
            fix = "log in as root (ansible_user), or let this user sudo without a password"
            return Failure(f"{name}: {reason}", DENIED, fix)
        return Failure(f"{name}: {reason}", code if code in GRAVITY else FAILED)

    def _exit_code(self) -> int:
        import subprocess

        try:
            return self.process.wait(5)
        except subprocess.TimeoutExpired:  # it closed its output and lives on
            self.process.kill()
            return self.process.wait()

    def stop(self) -> None:
        import subprocess

        self.process.terminate()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in self.unfinished:
            pipe.close()


def _converse(
    hosts: list[Host], argv: list[str], root: bool | str, timeout: float | None, at_once: int, stop: int | None
) -> Generator[Answer, None, None]:
    from selectors import EVENT_READ, DefaultSelector

    waiting = deque(hosts)
    running: set[_Call] = set()
    with DefaultSelector() as selector:

        def forget(call: _Call) -> None:
            running.remove(call)
            for key in [key for key in selector.get_map().values() if key.data and key.data[0] is call]:
                selector.unregister(key.fileobj)
            call.stop()

        if stop is not None:
            selector.register(stop, EVENT_READ)
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    host = waiting.popleft()
                    try:
                        call = _Call(host, command(host, argv, root), timeout)
                    except Failure as failure:
                        yield Answer(host.name, FAILURE, failure)
                        continue
                    except OSError as error:
                        why = f"{host.name}: {error.filename}: {error.strerror}"
                        fix = "install it: apt-get install openssh-client" if error.filename == "ssh" else ""
                        yield Answer(host.name, FAILURE, Failure(why, FAILED, fix))
                        continue
                    running.add(call)
                    for pipe in call.unfinished:
                        selector.register(pipe, EVENT_READ, (call, pipe))
                next_deadline = min((call.deadline for call in running), default=0)
                wait = None if next_deadline == float("inf") else max(0, next_deadline - monotonic())
                for key, _ in selector.select(wait):
                    if key.fileobj == stop:
                        return
                    call, pipe = key.data
                    if call not in running:
                        continue
                    yield from call.read(pipe)
                    if call.unfinished[pipe] is None:
                        selector.unregister(pipe)
                        if pipe is call.process.stdout:
                            yield from call.end()
                            forget(call)
                for call in [call for call in running if call.deadline <= monotonic()]:
                    forget(call)
                    late = f"{call.host.name}: no end within {timeout:g} s"
                    yield Answer(call.host.name, FAILURE, Failure(late, TIMEOUT, "allow more with --timeout"))
        finally:
            for call in running:
                call.stop()


def _object(text: str) -> dict[str, Any] | None:
    from json import loads

    try:
        value = loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

"""Keeps the locks of one host for one run, as a process beside it: Ansible's own connections end with each task.

It starts hold.py there by the words that Ansible reaches the host with, says something every few seconds, and ends with
the run, however that ends: Ctrl-C, SIGKILL, a machine that goes down. Where the connection breaks while the run goes
on, it takes the lock anew; if another run has it by then, or the person's command is gone, it ends the run.

Request, a JSON object on stdin: `argv`, and `again` for a connection of its own; `hold` (the text of hold.py), its
`silence`, `entry` and `wait`; `run` (Ansible's process); `prompt`, `password` and `success` of sudo; `outcome` (a file
that says how the run went); `client` (a descriptor that is at its end when the command is gone); `report` (one to tell
that a lock was lost); `host`. Answers: a JSON object a line, `waiting`, and at last `held`, `refused` or `failed`; then
stdout is closed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BEATS = 5  # in the time after which hold.py takes a silent connection for lost
AGAIN = 2.0  # seconds between two attempts to have the lock again
PATIENCE = 20.0  # seconds that a run which has lost its lock may take to end
# What runs on the host; its text is the first line that comes in, so that `ps` shows no page of code.
START = "import os; exec(eval(open(0, 'rb', 0, closefd=False).readline()))"


class Over(Exception):
    """The run has ended."""


class Run:
    """The run that the lock is for."""

    def __init__(self, pid: int, client: int | None) -> None:
        self.pid, self.client = pid, client
        self.handle: int | None = None
        self.ending = 0.0  # when it is killed
        with contextlib.suppress(AttributeError, OSError):  # macOS has none, nor an old Linux
            self.handle = os.pidfd_open(pid)

    def wait(self, handles: list[Any], seconds: float) -> list[Any]:
        """Those of `handles` that can be read within so many seconds. Raises Over."""
        until = time.monotonic() + seconds
        mine = [handle for handle in (self.handle, self.client) if handle is not None]
        while True:
            left = max(0.0, min(1.0, until - time.monotonic()))
            ready = select.select([*handles, *mine], [], [], left)[0]
            if self.handle in ready or not self._lives():
                raise Over
            if self.client in ready:
                self.client = None
                self.end()
                mine = mine[:1] if self.handle is not None else []
            if self.ending and time.monotonic() > self.ending:
                with contextlib.suppress(OSError):
                    os.kill(self.pid, signal.SIGKILL)
            ready = [handle for handle in ready if handle in handles]
            if ready or time.monotonic() >= until:
                return ready

    def end(self) -> None:
        """Have it end; what it has begun on hosts goes on there to its own end."""
        self.ending = self.ending or time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGTERM)

    def _lives(self) -> bool:
        if self.handle is not None:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


class Call:
    """A process that runs hold.py on the host, and what it says."""

    def __init__(self, argv: list[str], request: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self.request = request
        self.password = request.get("password")
        self.pipes: list[Any] = [self.process.stdout, self.process.stderr]
        self.said = dict.fromkeys(self.pipes, b"")
        self.heard = time.monotonic()
        self.begun = False
        if not self.password:
            self._begin()

    def _begin(self) -> None:
        self.begun = True
        asked = {"wait": self.request["wait"], "entry": self.request["entry"]}
        self.send(f"{self.request['hold']!r}\n{json.dumps(asked)}\n")

    def send(self, text: str) -> None:
        with contextlib.suppress(OSError):
            assert self.process.stdin
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()

    def answers(self, run: Run, seconds: float) -> list[dict[str, Any]] | None:
        """What has come within so many seconds; None once the process is at its end. Raises Over."""
        found: list[dict[str, Any]] = []
        for pipe in run.wait(self.pipes, seconds):
            data = os.read(pipe.fileno(), 65536)
            if not data:
                self.pipes.remove(pipe)
                if pipe is self.process.stdout:
                    return None
                continue
            self.said[pipe] = (self.said[pipe] + data)[-65536:]
            if not self.begun:
                self._asked()
            if pipe is self.process.stdout:
                found += self._objects()
        return found

    def _asked(self) -> None:
        """Whether sudo goes on, or asks for the password; one that asks twice got a wrong one."""
        everything = b"".join(self.said.values()).decode(errors="replace")
        if self.request["success"] in everything:
            self._begin()
        elif self.request["prompt"] in everything:
            for pipe in self.said:
                self.said[pipe] = b""
            if self.password:
                self.send(f"{self.password}\n")
                self.password = ""
            else:
                self.process.kill()

    def _objects(self) -> list[dict[str, Any]]:
        pipe = self.process.stdout
        *lines, self.said[pipe] = self.said[pipe].split(b"\n")
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):  # a line that a login says
                value = json.loads(line)
                if isinstance(value, dict):
                    self.heard = time.monotonic()
                    found.append(value)
        return found

    def reason(self) -> str:
        """What it has said at last; ssh's background master may hold stderr open."""
        pipe = self.process.stderr
        assert pipe
        os.set_blocking(pipe.fileno(), False)
        with contextlib.suppress(OSError):
            self.said[pipe] += os.read(pipe.fileno(), 65536)
        text = b"".join(self.said.values()).decode(errors="replace")
        return "\n".join(text.strip().splitlines()[-5:])

    def end(self) -> int:
        """Its exit code, once it has been made to end."""
        with contextlib.suppress(OSError):
            assert self.process.stdin
            self.process.stdin.close()
        try:
            return self.process.wait(1)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()


def main() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    request = json.load(sys.stdin)
    run = Run(request["run"], request["client"])
    call = None
    try:
        call = _first(request, run)
        while call:
            _hold(call, run, request["silence"])
            broken, call = call, None
            broken.end()
            call = _again(request, run)
    except Over:
        pass
    if call:
        told = _outcome(request["outcome"])
        call.send(json.dumps(told or {"outcome": "interrupted", "exit_code": 130}) + "\n")
        call.end()


def _first(request: dict[str, Any], run: Run) -> Call | None:
    """A call that holds the lock; None when it was refused or failed, which is told. Raises Over."""
    call, beat = Call(request["argv"], request), request["silence"] / BEATS
    try:
        beaten = time.monotonic()
        while True:
            found = call.answers(run, beat)
            if found is None:
                break
            for answer in found:
                for word in ("held", "refused", "waiting"):
                    if word in answer:
                        _tell({word: answer[word] if isinstance(answer[word], (bool, dict)) else {}})
                if "held" in answer:
                    os.close(1)
                    return call
                if "refused" in answer:
                    return None
            if call.begun and time.monotonic() - beaten >= beat:
                call.send("\n")
                beaten = time.monotonic()
    except BaseException:
        call.end()
        raise
    code = call.end()
    _tell({"failed": call.reason(), "code": code})
    return None


def _tell(answer: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(answer).encode() + b"\n")


def _hold(call: Call, run: Run, silence: float) -> None:
    """Until the connection breaks. Raises Over."""
    call.heard = time.monotonic()
    while time.monotonic() - call.heard < silence:
        call.send("\n")
        until = time.monotonic() + silence / BEATS
        while (left := until - time.monotonic()) > 0:
            if call.answers(run, left) is None:
                return


def _again(request: dict[str, Any], run: Run) -> Call | None:
    """A new call that holds the lock; None when another run has it, and this one is ended. Raises Over."""
    alone = request | {"wait": False}
    while True:
        call = Call(request["again"], alone)
        until = time.monotonic() + request["silence"]
        try:
            while time.monotonic() < until:
                found = call.answers(run, 1.0)
                if found is None:
                    break
                for answer in found:
                    if "held" in answer:
                        return call
                    if "refused" in answer:
                        _lost(request, run)
                        return None
        except BaseException:
            call.end()
            raise
        call.end()
        run.wait([], AGAIN)


def _lost(request: dict[str, Any], run: Run) -> None:
    if request["report"] is not None:
        with contextlib.suppress(OSError):
            os.write(request["report"], f"lost {request['host']}\n".encode())
    run.end()
    while True:
        run.wait([], AGAIN)


def _outcome(path: str) -> dict[str, Any]:
    """What the run has noted of its end on this host; nothing when it was cut off before."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        os.unlink(path)
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


if __name__ == "__main__":
    main()

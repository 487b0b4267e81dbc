"""What comes from the hosts of a view, all in one queue: samples, lines of a log, events of what was asked for.

One thread for each host or request, which waits for the other process and holds no lock meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

from ..errors import FAILED, OK, Failure
from ..hosts.inventory import Host, targets
from ..hosts.remote import DATA, FAILURE, MAYBE, SAID, fan_out, is_remote
from ..hosts.target import Target

SAMPLE, GONE = "sample", "gone"
LINE, END = "line", "end"
EVENT, DONE = "event", "done"
RETRY = 15  # seconds until a host that is gone is tried again


def hosts_of(target: Target) -> list[Host]:
    """The hosts that the target means; this machine is one that needs no ssh. Raises Failure."""
    if is_remote(target):
        return targets(target.inventory, target.hosts)
    return [Host(os.uname().nodename, {"ansible_connection": "local"})]


class Feed:
    """A queue of (kind, host's name, what has come), and who fills it.

    SAMPLE, LINE and EVENT hold a JSON object of `top`, of `logs -f`, and of `start`, `stop` or `restart`. GONE, END and
    DONE hold the Failure that ended them, DONE None if there was none.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.hosts = {host.name: host for host in hosts_of(target)}
        self.queue: SimpleQueue[tuple[str, str, Any]] = SimpleQueue()
        self.under_way: set[str] = set()  # what was asked for and has not ended
        self._open: list[Stop] = []

    def watch(self, argv: list[str]) -> None:
        """SAMPLEs of all hosts until `close`; one that is gone is tried again."""
        stop = self._stop()
        for host in self.hosts.values():
            stop.start(self._talk, host, argv, (SAMPLE, GONE), RETRY)

    def follow(self, host: str, argv: list[str]) -> Stop:
        """LINEs of one host until the result is closed."""
        stop = self._stop()
        stop.start(self._talk, self.hosts[host], argv, (LINE, END), None)
        return stop

    def ask(self, host: str, argv: list[str], what: str) -> None:
        """EVENTs of a command on one host. It is not ended by `close`: what was begun is brought to its end."""
        self.under_way.add(what)
        threading.Thread(target=self._ask, args=(self.hosts[host], argv, what), daemon=True).start()

    def news(self) -> Iterator[tuple[str, str, Any]]:
        """Yield what has come since the last call."""
        while True:
            try:
                yield self.queue.get_nowait()
            except Empty:
                return

    def close(self) -> None:
        """End the conversations, and wait until their processes have ended."""
        for stop in self._open:
            stop.close()

    def _stop(self) -> Stop:
        self._open.append(Stop())
        return self._open[-1]

    def _talk(self, stop: Stop, host: Host, argv: list[str], kinds: tuple[Any, ...], retry: float | None) -> None:
        while True:
            for told, value in self._answers(argv, host, root=MAYBE, stop=stop.reading):
                if retry is not None and value is None:  # it should have gone on
                    fix = f"see celeryhost -H {host.name} top --json"
                    value = Failure(f"{host.name}: its celeryhost has ended and said nothing", FAILED, fix)
                self.queue.put((kinds[not told], host.name, value))
            if retry is None or stop.closed.wait(retry):
                return

    def _ask(self, host: Host, argv: list[str], what: str) -> None:
        for told, value in self._answers(argv, host):
            self.queue.put((EVENT if told else DONE, host.name, value))
        self.under_way.discard(what)

    def _answers(self, argv: list[str], host: Host, **how: Any) -> Iterator[tuple[bool, Any]]:
        """(True, an object that came), and at the end (False, a Failure or None)."""
        said = "it ended"
        for _, kind, value in fan_out(self.target, argv, timeout=None, hosts=[host], **how):
            if kind == DATA:
                yield True, value
            elif kind == SAID:
                said = value
            elif kind == FAILURE:
                yield False, value
            else:
                yield False, Failure(f"{host.name}: {said}", value) if value != OK else None


class Stop:
    """Threads, and the pipe that tells their conversations to end."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        self.closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, function: Callable[..., object], *args: object) -> None:
        self._threads.append(threading.Thread(target=function, args=(self, *args), daemon=True))
        self._threads[-1].start()

    def close(self) -> None:
        """End them; a second time does nothing."""
        if self.closed.is_set():
            return
        self.closed.set()
        os.close(self._writing)
        for thread in self._threads:
            thread.join()
        os.close(self.reading)

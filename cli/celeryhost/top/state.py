"""What the view of `top` knows of its hosts, with a history, and which of it is shown in what order. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .. import errors
from ..supervisor.status import Row

HISTORY = 60  # samples
LOG = 500  # lines
# A host that tells nothing, in the column of the states.
AWAY = {errors.UNREACHABLE: "UNREACHABLE", errors.DOWN: "DOWN", errors.DENIED: "DENIED"}
CONNECTING = "CONNECTING"
SORTS = ("name", "state", "cpu", "memory", "uptime")  # host and name; what does not run first; the largest first

NUMBERS = ("waiting", "done", "failed")  # of an app


History = deque[float | None]


class Item(NamedTuple):
    """A line of the table: a status.Row and the history of its CPU and memory. A host that tells nothing is
    one too, with the row of a program without a name."""

    host: str
    row: Row
    cpu: Sequence[float | None]
    memory: Sequence[float | None]


class App(NamedTuple):
    """An app on a host: what its last sample says (docs/json.md) and when, by the host's own clock, and the
    history of its NUMBERS."""

    host: str
    time: float
    data: dict[str, Any]
    waiting: History
    done: History
    failed: History


class Counts(NamedTuple):
    hosts: int
    away: int
    programs: int
    running: int


class State:
    """All hosts by name: their last samples or why there is none, and their histories."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self.samples: dict[str, dict[str, Any]] = {}
        self.away: dict[str, errors.Failure | None] = dict.fromkeys(hosts)  # None: not known yet
        self.met = False  # some host has told something
        self.log: deque[Any] = deque(maxlen=LOG)  # (host, object of docs/json.md, logs)
        self._histories: dict[tuple[Any, ...], deque[Any]] = {}

    def take(self, host: str, sample: dict[str, Any]) -> None:
        """A sample of a host has come."""
        self.met = True
        self.away.pop(host, None)
        self.samples[host] = sample
        for program in sample["programs"]:
            for number in ("cpu", "memory"):
                self._history(host, program["name"], number).append(program[number])
        for app in sample["apps"]:
            for number, value in zip(NUMBERS, (waiting(app), app["done"], app["failed"]), strict=True):
                self._history(host, app["app"], number).append(value)
        if sample["left_out"]:
            remark = {"time": sample["time"], "program": "", "text": f"({sample['left_out']} lines left out)"}
            self.log.append((host, remark))
        self.log.extend((host, line) for line in sample["log"])

    def lose(self, host: str, failure: errors.Failure) -> None:
        """A host tells nothing any more, or never did."""
        self.samples.pop(host, None)
        self.away[host] = failure

    def hopeless(self) -> errors.Failure | None:
        """The Failure to end with when no host has ever told anything and each has failed."""
        failures = [failure for failure in self.away.values() if failure]
        if self.met or not failures or len(failures) < len(self.away):
            return None
        first, *others = failures
        if not others:
            return first
        code = errors.worst(failure.code for failure in failures)
        return errors.Failure(f"none of {len(self.away)} hosts answers: {first.message}", code, first.fix)

    def counts(self) -> Counts:
        """Of everything, whatever the filter."""
        states = [program["state"] for sample in self.samples.values() for program in sample["programs"]]
        away = sum(failure is not None for failure in self.away.values())
        return Counts(len(self.samples) + len(self.away), away, len(states), states.count("RUNNING"))

    def items(self, sort: str, text: str) -> list[Item]:
        """The lines of the table whose host, program or state holds `text`; `sort` is one of SORTS.

        Hosts that tell nothing come first in any order.
        """
        found = [item for item in self._all() if _holds(text, item.host, item.row.name, item.row.state)]
        found.sort(key=lambda item: (item.host, item.row.name))
        if sort == "state":
            found.sort(key=lambda item: item.row.state == "RUNNING")
        elif sort != "name":
            found.sort(key=lambda item: getattr(item.row, sort) or 0, reverse=True)
        return sorted(found, key=lambda item: item.row.name != "")

    def apps(self, items: list[Item]) -> list[App]:
        """The apps that the items have a program of."""
        shown = {(item.host, item.row.name) for item in items}
        return [
            App(host, sample["time"], data, *(self._history(host, data["app"], number) for number in NUMBERS))
            for host, sample in sorted(self.samples.items())
            for data in sample["apps"]
            if any((host, program) in shown for program in data["programs"])
        ]

    def lines(self, text: str, count: int) -> list[tuple[Any, ...]]:
        """The last `count` (host, line) whose host or program holds `text`, oldest first."""
        found = [(host, line) for host, line in self.log if _holds(text, host, line["program"])]
        return sorted(found[-2 * count :], key=lambda pair: pair[1]["time"])[-count:]

    def _all(self) -> Iterator[Item]:
        for host, failure in self.away.items():
            state = CONNECTING if failure is None else AWAY.get(failure.code, "FAILED")
            said = "no answer yet" if failure is None else str(failure).removeprefix(f"{host}: ")
            yield Item(host, _row(name="", state=state, error=said), (), ())
        for host, sample in self.samples.items():
            for program in sample["programs"]:
                histories = (self._history(host, program["name"], number) for number in ("cpu", "memory"))
                yield Item(host, _row(**program), *histories)

    def _history(self, *of: str) -> History:
        return self._histories.setdefault(of, deque(maxlen=HISTORY))


def waiting(app: dict[str, Any]) -> int | None:
    """How many tasks wait for an app, in all its queues."""
    return None if app["queues"] is None else sum(app["queues"].values())


def _row(**fields: Any) -> Row:
    return Row(*map(fields.get, Row._fields))


def _holds(text: str, *words: str) -> bool:
    return any(text.casefold() in word.casefold() for word in words)

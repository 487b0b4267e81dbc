"""CPU time and memory of process trees, read from /proc (proc(5)); nothing is known on a system without it."""

from __future__ import annotations

import os
import time
from collections import namedtuple

from .paths import ETC

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Iterable


Usage = namedtuple("Usage", "seconds age memory measure")
Usage.__doc__ = """What a process and its descendants use: CPU `seconds` since the tree began, `age` seconds ago, and
`memory` in bytes. `measure` is `pss` for a forked tree, whose processes share pages that a sum of their RSS would count
many times, and `rss` for a single process or where PSS may not be read (another user's process, Linux before 4.14)."""

# Fields of /proc/PID/stat after the parenthesised name, which may hold anything.
PARENT, TIMES, START, RSS = 1, slice(11, 15), 19, 21


def usage(pids: Iterable[int], parent: int | None = None) -> dict[int, Usage]:
    """The Usage of each pid's tree, keyed by pid; without those not visible.

    Given `parent`, only its own children count: so pids of a supervisord on another machine match nothing here.
    """
    known = _stats()
    children: dict[int, list[int]] = {}
    for pid, fields in known.items():
        children.setdefault(int(fields[PARENT]), []).append(pid)
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    now = since_boot()
    found = {}
    for pid in pids:
        if pid not in known or parent not in (None, int(known[pid][PARENT])):
            continue
        tree = [pid]
        for member in tree:
            tree += children.get(member, ())
        seconds = sum(int(value) for member in tree for value in known[member][TIMES]) / ticks
        memory = _pss(tree) if len(tree) > 1 else None
        measure = "rss" if memory is None else "pss"
        if memory is None:
            memory = sum(int(known[member][RSS]) for member in tree) * page
        found[pid] = Usage(seconds, now - int(known[pid][START]) / ticks, memory, measure)
    return found


def age(pid: int) -> float | None:
    """Seconds since a process was forked, None when there is none or it is not visible."""
    text = read(f"/proc/{pid}/stat")
    if not text:
        return None
    ticks = int(text[text.rindex(b")") + 2 :].split()[START])
    return since_boot() - ticks / os.sysconf("SC_CLK_TCK")


def words(pid: int | str) -> list[str]:
    """The command line of a process, without an emulator's own words; empty where it is not visible or has none.

    A process that has set its title, as Redis does, has one text with spaces, which is split.
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            text = os.fsdecode(file.read()).rstrip("\0 ")
    except OSError:
        return []
    found = text.split("\0") if "\0" in text else text.split()
    return found[2:] if found and _is_emulator(found[0]) else found


def _is_emulator(word: str) -> bool:
    """Whether it is what the kernel puts, with the program's path, before the words of one that qemu-user runs by
    binfmt_misc, as armhf in Docker on another machine."""
    _, slash, name = word.rpartition("/")
    return name.endswith("-binfmt-P") or bool(slash and name.startswith("qemu-") and "." not in name)


def code_moments() -> dict[str, float]:
    """{app: since when its code is what it is, in seconds since the boot}: negative since an earlier boot, inf while it
    is being changed, or was when a run was killed. states/changing.py writes it, and everybody may read it."""
    try:
        names = [name for name in os.listdir(ETC) if name.endswith(".code")]
    except OSError:
        return {}
    boot = boot_id() if names else b""
    found = {}
    for name in names:
        known, _, moment = read(f"{ETC}/{name}").strip().partition(b" ")
        if moment:
            found[name[:-5]] = float(moment) if known in (boot, b"any") else -1.0
    return found


def is_older(program: str, born: float, moments: dict[str, float]) -> bool:
    """Whether a program that was started `born` seconds after the boot may run other code than is on disk."""
    parts = program.split("-")
    names = ("-".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return born < next((moments[name] for name in names if name in moments), -1.0)


def boot_id() -> bytes:
    return read("/proc/sys/kernel/random/boot_id").strip()


def since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _stats() -> dict[int, list[bytes]]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return {}
    found = {}
    for name in names:
        if name.isdigit() and (text := read(f"/proc/{name}/stat")):
            found[int(name)] = text[text.rindex(b")") + 2 :].split()
    return found


def _pss(pids: list[int]) -> int | None:
    total = 0
    for pid in pids:
        _, found, rest = read(f"/proc/{pid}/smaps_rollup").partition(b"\nPss:")
        if not found:
            return None
        total += int(rest.split(maxsplit=1)[0]) * 1024
    return total


def read(path: str) -> bytes:
    """The beginning of a file of /proc; empty where there is none to see."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            return os.read(handle, 4096)
        finally:
            os.close(handle)
    except OSError:
        return b""

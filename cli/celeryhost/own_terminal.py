"""Running another account's command from root's terminal, without giving it that terminal.

What has the terminal itself can push characters into it, which root's shell then reads as typed, and can go on reading
what root types. So each of input and output that is a terminal becomes another one, and what passes is copied.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import pwd
import select
import signal
import subprocess
import termios
import tty
from collections.abc import Iterator, Sequence
from typing import Any

from . import account

CHUNK = 4096  # bytes that are written at a time
TYPED = 1 << 16  # bytes of what is typed, or pasted, that wait for a program which takes none
KEYS = {b"\x03": signal.SIGINT, b"\x1c": signal.SIGKILL}  # Ctrl-C, Ctrl-\\
LOOK_SECONDS = 0.2  # what a program has left behind may keep the terminal open


def relayed(words: Sequence[str], owner: pwd.struct_passwd, **options: Any) -> int:
    """Run `words` as the account `owner`, `options` being subprocess.Popen's, and return what that returns."""
    options |= account.become(owner)
    terminals = [number for number in (0, 1, 2) if os.isatty(number)]
    if not terminals:
        process = subprocess.Popen(words, **options)
        with _signals_passed_on(process):
            return process.wait()
    master, slave = pty.openpty()
    termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(terminals[0]))
    _fit(terminals[0], master)
    os.fchown(slave, owner.pw_uid, -1)  # it may open /dev/tty, to ask for a password
    options |= {name: slave for number, name in enumerate(("stdin", "stdout", "stderr")) if number in terminals}

    def take() -> None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    try:
        process = subprocess.Popen(words, preexec_fn=take, **options)
    finally:
        os.close(slave)
    with _signals_passed_on(process), _resizing(terminals[0], master), _raw(terminals):
        _copy(process, master, terminals)
        return process.wait()


def _copy(process: subprocess.Popen[bytes], master: int, terminals: list[int]) -> None:
    """Until the program ends. Neither side can hold the other up for good: what one does not take waits here."""
    os.set_blocking(master, False)
    shown = next((number for number in (1, 2) if number in terminals), None)
    typing, typed, said = 0 in terminals, b"", b""
    with _not_waiting(shown) as screen:
        while True:
            sources = [*([] if said else [master]), *([0] if typing else [])]
            sinks = [*([master] if typed else []), *([screen] if said and screen is not None else [])]
            ready, free, _ = select.select(sources, sinks, [], LOOK_SECONDS)
            if not ready and not free and process.poll() is not None and not said:
                return
            if 0 in ready:
                keys = os.read(0, 4096)
                typing = bool(keys)
                if typed or (said and process.poll() is not None):  # else the program's terminal makes signals of keys
                    _interrupt(process, keys)
                    if said and process.poll() is not None and keys[-1:] in KEYS:
                        return
                typed = (typed + keys)[:TYPED]
            if screen is not None and screen in free:
                said = said[_written(screen, said) :]
            if master in free:
                typed = typed[_written(master, typed) :]
            if master in ready:
                try:
                    said = os.read(master, 65536)
                except BlockingIOError:
                    continue
                except OSError:  # EIO: nobody has the other side open any more
                    return
                if shown is None:
                    said = b""


def _interrupt(process: subprocess.Popen[bytes], keys: bytes) -> None:
    """What keys ask for of a program that does not take them."""
    for key, number in KEYS.items():
        if key in keys:
            process.send_signal(number)


@contextlib.contextmanager
def _not_waiting(terminal: int | None) -> Iterator[int | None]:
    """The terminal, opened anew where that is possible: one that takes nothing for now makes nobody wait."""
    try:
        if terminal is None:
            raise OSError("no terminal")
        own = os.open(os.ttyname(terminal), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield terminal
        return
    try:
        yield own
    finally:
        os.close(own)


@contextlib.contextmanager
def _signals_passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _resizing(terminal: int, master: int) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: _fit(terminal, master))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def _raw(terminals: list[int]) -> Iterator[None]:
    """What is typed reaches the other terminal key by key, Ctrl-C too."""
    before = termios.tcgetattr(0) if 0 in terminals else None
    try:
        if before:
            tty.setraw(0)
        yield
    finally:
        if before:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _fit(terminal: int, master: int) -> None:
    with contextlib.suppress(OSError):  # it has no size
        fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(terminal, termios.TIOCGWINSZ, b"\0" * 8))


def _written(number: int, data: bytes) -> int:
    try:
        return os.write(number, data[:CHUNK])
    except BlockingIOError:
        return 0
    except OSError:  # it is gone: what is for it goes nowhere
        return len(data)

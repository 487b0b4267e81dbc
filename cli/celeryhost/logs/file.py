"""One log file and what rotation makes of it: its past, newest file first, and its future, line by line.

Rotators rename (logrotate, Supervisor, Python's handlers), or copy and truncate (logrotate's copytruncate). Either way
what was there before is known again by its inode or by its first bytes, and read to its end.
"""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from heapq import merge
from itertools import chain
from time import monotonic, time
from types import ModuleType
from typing import IO, NamedTuple

from .. import others
from .times import stamp, zone_shift

BLOCK = 1 << 16
LONGEST = 1 << 16  # bytes; a longer line comes in pieces, so that no log can fill the memory
UNPACKED = 1 << 30  # bytes that are unpacked of a log's rotated files, of which a few may hold any number
GLIMPSE = 1 << 20  # bytes of each that still are when those are used up
COPIED = 1 << 28  # bytes of a rotated file that are unpacked to the disk, to follow it
HOLD = 1.0  # seconds for which a line without its end is waited for
LATE = 10.0  # seconds for which a rotated file is still read: its writer may not have noticed
LATE_FILES = 4
SLACK = 0.05  # seconds by which a file's mtime may lag the clock (the kernel stamps with its coarse clock)
CONTEXT = 100  # lines before the last N in which to look for the time of the first of them
DISORDER = 60  # seconds by which lines of several processes in one file may be out of order


class Rotated(NamedTuple):
    """A rotated file: `identity` is (device, inode), `written` its mtime in seconds."""

    path: str
    identity: tuple[int, int]
    written: float


Dated = tuple[float, bytes]  # a line and its time

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}


def rotated(path: str) -> list[Rotated]:
    """The rotated files of a log, newest first: `.1`, `.2.gz`, and dated as logrotate and Python's handlers do.

    Each way of naming tells its own order; where several were used, by one rotator after another, mtimes join them.
    """
    folder, name = os.path.split(path)
    name, stem, ext = map(re.escape, (name, *os.path.splitext(name)))
    # A date of eight digits tells worker-20261122.log from the log of a worker called 2. A .backup is what logrotate's
    # `create` makes of a file that the writer has made anew before it could.
    named = re.compile(
        rf"(?:{name}\.|{name}-(?=\d{{8}})|{stem}\.(?=\d+{ext}\b)|{stem}-(?=\d{{8}}))"
        rf"(\d[\d_:T-]*)(?:{ext})?(\.backup)?(\.gz|\.bz2|\.xz)?"
    )
    ways: dict[str, dict[tuple[int, ...], dict[str, Rotated]]] = {}
    try:
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                if (match := named.fullmatch(entry.name)) and (file := _rotated(entry)):
                    when, backup, packed = match.groups(default="")
                    numbered = when.isdigit() and len(when) < 6
                    order = (int(when),) if numbered else tuple(-int(part) for part in re.findall(r"\d+", when))
                    way = "numbered" if numbered else re.sub(r"\d", "0", when) + backup
                    # While it is being compressed both are there, and the compressed one is not whole.
                    ways.setdefault(way, {}).setdefault(order, {})[packed] = file
    except OSError:
        return []
    sorted_ways = [[min(forms.items())[1] for _, forms in sorted(files.items())] for _, files in sorted(ways.items())]
    return list(merge(*sorted_ways, key=lambda file: -file.written))


def _rotated(entry: os.DirEntry[str]) -> Rotated | None:
    try:
        state = entry.stat()
    except OSError:
        return None
    return Rotated(entry.path, _identity(state), state.st_mtime) if stat.S_ISREG(state.st_mode) else None


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _codec(path: str) -> ModuleType:
    from importlib import import_module

    return import_module(COMPRESSED[os.path.splitext(path)[1]])


def _is_compressed(path: str) -> bool:
    return os.path.splitext(path)[1] in COMPRESSED


class LogFile:
    """A log at `path`, opened where it is now.

    `history` reads what was written until then, `poll` what has been written since. With `following`, a last line that
    has no end yet is left to `poll`. `warn(text)` is told of what cannot be read. Raises OSError if `path` is there
    and may not be read; a missing file is an empty one.
    """

    def __init__(self, path: str, following: bool = False, warn: Callable[[str], object] = lambda text: None) -> None:
        self.path = path
        self.warn = warn
        self.seen = time()  # when `path` last was what `tail` reads
        self.late: list[_Tail] = []
        self.past: deque[_Tail] = deque(maxlen=2 * LATE_FILES)  # to know them again when they are compressed
        self.known = {file[1:] for file in rotated(path)}  # what is no news: (identity, written)
        self.clock: float | None = None
        self.refused: int | None = None  # the errno, told once
        self.room = UNPACKED
        self._state: tuple[int, int] | None = None
        try:
            fd = others.opened(path)
        except FileNotFoundError:
            self.tail, self.end, self.written = None, 0, self.seen
        else:
            state = os.fstat(fd)
            self.written = state.st_mtime
            self.end = _after_last_line(fd, state.st_size) if following else state.st_size
            self.tail = _Tail(fd, self.end)
        self.shift = self._zone_shift()

    # The past

    def history(
        self,
        since: float | None = None,
        until: float | None = None,
        last: int | None = None,
        keep: Callable[[bytes], object] | None = None,
    ) -> Iterator[Dated]:
        """Yield `(time, line)`, oldest first: those between two times (seconds since the epoch), the `last` so many,
        those for which `keep(line)` is true.

        The time is that of the line, or of the nearest one before it that has one, or else of the file's last change.
        """
        files = self._files()
        neighbours = [None, *files, None]
        parts = []
        for newer, file, older in zip(neighbours, files, neighbours[2:], strict=False):
            if last == 0 or (since is not None and file.written < since):
                break
            lines: Iterable[Dated] = self._between(file, newer, older, since, until, None if keep or until else last)
            if keep:
                lines = (line for line in lines if keep(line[1]))
            if last is not None:
                lines = ends = deque(lines, maxlen=last)
                last -= len(ends)
            parts.append(lines)
        for when, line in chain.from_iterable(reversed(parts)):
            self.clock = when
            yield when, line

    def _files(self) -> list[Rotated]:
        """All of the log, newest file first."""
        if not self.tail:
            return rotated(self.path)
        current = Rotated(self.path, self.tail.identity, self.written)
        return [current, *(file for file in rotated(self.path) if file.identity != self.tail.identity)]

    def _between(
        self,
        file: Rotated,
        newer: Rotated | None,
        older: Rotated | None,
        since: float | None,
        until: float | None,
        last: int | None,
    ) -> Iterator[Dated]:
        for when, line in self._timed(file, newer, older, since, last):
            if since is not None and when < since:
                continue
            if until is not None and when > until:
                if when > until + DISORDER:
                    return
                continue
            yield when, line

    def _timed(
        self, file: Rotated, newer: Rotated | None, older: Rotated | None, since: float | None, last: int | None
    ) -> Iterator[Dated]:
        stream = self._stream(file)
        if stream is None:
            return
        with stream:
            start, end, left = 0, float("inf"), max(self.room, GLIMPSE)
            if not _is_compressed(file.path):
                end = self.end if newer is None and self.tail else os.fstat(stream.fileno()).st_size
                if last is not None:
                    start = _last_lines(stream.fileno(), end, last + CONTEXT)
                elif since is not None:
                    start = self._first_at(stream, since, end)
            clock = self._first_time(stream, start) or file.written
            pieces = _pieces(stream, start, end)
            if not start and older and _is_cut(older) and stamp(self._first_line(stream)) is None:
                next(pieces, None)  # the rest of the older file's last line, shown there
            try:
                for piece in pieces:
                    if _is_compressed(file.path):
                        left, self.room = left - len(piece), self.room - len(piece)
                        if left < 0:
                            self.warn(f"{file.path}: shown is only the beginning, for it unpacks to too much")
                            return
                    if newer and not piece.endswith(b"\n") and len(piece) < LONGEST:
                        piece += self._rest(file, newer)
                    clock = stamp(piece, self.shift) or clock
                    yield clock, _bare(piece)
            except Exception as error:  # zlib.error, lzma.LZMAError, EOFError, OSError: the file is damaged
                self.warn(f"{file.path} cannot be read to its end: {error}")

    def _stream(self, file: Rotated) -> IO[bytes] | None:
        """The file opened, wherever rotation has moved it meanwhile; None when it is gone or not for this user."""
        if self.tail and file.identity == self.tail.identity:
            return os.fdopen(os.dup(self.tail.fd), "rb")
        for candidate in (file, *(moved for moved in rotated(self.path) if moved.identity == file.identity)):
            try:
                stream = open(others.opened(candidate.path), "rb")  # noqa: SIM115 - the caller closes it
            except FileNotFoundError:
                continue
            except OSError as error:
                self.warn(f"{candidate.path}: {error.strerror}")
                return None
            if _identity(os.fstat(stream.fileno())) == file.identity:
                return _codec(candidate.path).open(stream) if _is_compressed(candidate.path) else stream
            stream.close()
        return None

    def _first_time(self, stream: IO[bytes], start: int) -> float | None:
        try:
            stream.seek(start)
            lines = stream.read(BLOCK).split(b"\n")
        except Exception:  # a damaged file, as in _timed, which says so
            return None
        return next(filter(None, (stamp(line, self.shift) for line in lines)), None)

    def _first_at(self, stream: IO[bytes], since: float, end: int) -> int:
        """An offset before which every line is older than `since`, found by halving."""
        low, high = 0, end
        while high - low > BLOCK:
            middle = (low + high) // 2
            when = self._first_time(stream, middle)
            if when is not None and when < since:
                low = middle
            else:
                high = middle
        return low

    def _first_line(self, stream: IO[bytes]) -> bytes:
        stream.seek(0)
        return stream.readline(LONGEST)

    def _rest(self, file: Rotated, newer: Rotated) -> bytes:
        """What `newer` begins with if that ends a line begun in `file`: Supervisor rotates in mid-line."""
        if _is_compressed(file.path) or _is_compressed(newer.path) or (stream := self._stream(newer)) is None:
            return b""
        with stream:
            line = self._first_line(stream)
        return line if stamp(line) is None else b""

    def _zone_shift(self) -> float:
        """See zone_shift; told by the newest file that has a line with a time: a traceback has none."""
        for file in self._files():
            if not _is_compressed(file.path) and (stream := self._stream(file)):
                with stream:
                    if line := _last_dated(stream.fileno()):
                        return zone_shift(line, file.written)
        return 0

    # The future

    def poll(self) -> Iterator[Dated]:
        """Yield `(time, line)` of what has been written since the last call, through any number of rotations."""
        for tail in list(self.late):
            try:
                yield from self._dated(tail.lines())
            except _Truncated:
                self._close(tail)
        now = time()
        try:
            state = os.stat(self.path)
        except OSError:
            state = None  # between the rename and the new file, or deleted: the old one is read on
        moved = state is not None and (self.tail is None or _identity(state) != self.tail.identity)
        known = (state.st_size, state.st_mtime_ns) if state else None
        try:
            if self.tail and (moved or known is None or known != self._state):
                if not moved:
                    self._expect_content(self.tail)
                yield from self._dated(self.tail.lines())
            self._state = known
        except _Truncated:
            self._state = None
            yield from self._go_on(truncated=True)
        else:
            if moved:
                yield from self._go_on()
            elif state:
                self.seen = now
        yield from self._dated(chain.from_iterable(tail.overdue() for tail in (*self.late, self.tail) if tail))
        self._forget_late()

    def _dated(self, lines: Iterable[bytes]) -> Iterator[Dated]:
        for line in lines:
            self.clock = stamp(line, self.shift) or self.clock or time()
            yield self.clock, line

    def _expect_content(self, tail: _Tail) -> None:
        """Raises _Truncated if the file was empty, was written, copied and is truncated again: only a copy can tell."""
        if tail.offset or tail.head:
            return
        tail.look()
        missed, *_ = self._missed(rotated(self.path), tail.fd, True)
        for fd, _ in missed:
            os.close(fd)
        if missed:
            raise _Truncated

    def _go_on(self, truncated: bool = False) -> Iterator[Dated]:
        """Read every file that came after the one read so far, and stay with the newest."""
        now = time()
        try:
            files = self._successors(truncated)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != self.refused:
                self.warn(f"{self.path}: {error.strerror}")
            self.refused = error.errno
            return
        self.refused = None
        if not files:
            return
        self.seen = now
        for fd, offset in files:
            if self.tail:
                self.late.append(self.tail)
                self.past.append(self.tail)
            self.tail = _Tail(fd, offset, self.tail)
            with suppress(_Truncated):  # once more: the next poll finds out
                yield from self._dated(self.tail.lines())
        self._state = None
        # Nobody writes to copies any more.
        for tail in self.late[-len(files) :] if truncated else self.late[:-LATE_FILES]:
            self._close(tail)

    def _successors(self, truncated: bool) -> list[tuple[int, int]]:
        """`(descriptor, offset)` of what is to be read after `tail`, oldest first, the current file last.

        Nothing while the files change too fast to be sure of: what is open stays open, and the next look will tell.
        """
        for _ in range(50):  # until no rotation came in between
            current = others.opened(self.path)
            before = rotated(self.path)
            missed, copies, count = self._missed(before, current, truncated)
            identity = _identity(os.fstat(current))
            if rotated(self.path)[:count] == before[:count] and all(file.identity != identity for file in before):
                self.known = {file[1:] for file in before if file not in copies}
                return [*missed, (current, 0)]
            for fd, _ in [*missed, (current, 0)]:
                os.close(fd)
        return []

    def _missed(
        self, files: list[Rotated], current: int, truncated: bool
    ) -> tuple[list[tuple[int, int]], list[Rotated], int]:
        """Rotated files with something unread: written after `path` was last seen to be what `tail` reads, and newer
        than what it was before. Returns their `(descriptor, offset)`, oldest first; which of `files` are the beginnings
        of copies of the current one, its next truncation to come; and how many of `files` tell so.
        """
        found: list[tuple[int, int]] = []
        copies: list[Rotated] = []
        count = 0
        late = [tail.identity for tail in self.late]
        own = self.tail and self.tail.identity
        for count, file in enumerate(files, 1):  # noqa: B007 - used after the loop
            written = file.written + (file.written == int(file.written))  # some file systems keep whole seconds
            if written < self.seen - SLACK or file[1:] in self.known or file.identity in late:
                break
            if file.identity == own and not truncated:
                break
            if (fd := _descriptor(file)) is None:
                continue
            if _is_compressed(file.path) and any(tail.place_in(fd) is not None for tail in self.past):
                os.close(fd)
                break
            offset = 0 if file.identity == own else self.tail.place_in(fd) if self.tail else None
            if offset is None and own == _identity(os.fstat(current)) and _is_beginning(fd, current):
                os.close(fd)
                copies.append(file)
                continue
            found.insert(0, (fd, offset or 0))
            if offset is not None:
                break
        return found, copies, count

    def _forget_late(self) -> None:
        """Drop rotated files that nobody writes to any more: the current one has lines, and theirs are old."""
        if self.late and self.tail and self.tail.offset:
            for tail in [tail for tail in self.late if monotonic() - tail.grown > LATE]:
                self._close(tail)

    def _close(self, tail: _Tail) -> None:
        os.close(tail.fd)
        self.late.remove(tail)


class _Truncated(Exception):
    """What had been read is no longer in the file."""


class _Tail:
    """An open file, read on from `offset`. `before` is the file it takes over from, maybe in the middle of a line."""

    HEAD = 256
    MARK = 64

    def __init__(self, fd: int, offset: int, before: _Tail | None = None) -> None:
        self.fd = fd
        self.offset = offset
        self.before = before
        self.identity = _identity(os.fstat(fd))
        self.look()
        self.mark = os.pread(fd, min(self.MARK, offset), max(0, offset - self.MARK))
        self.pending = b""
        self.grown = monotonic()

    def look(self) -> None:
        """Remember what the file begins with: a copy of it is known by that."""
        self.head = os.pread(self.fd, self.HEAD, 0)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that have become complete; raises _Truncated."""
        while True:
            # The bytes before the new ones prove that this is still the file that was read: it may have been truncated
            # and have grown past `offset` again.
            data = os.pread(self.fd, len(self.mark) + BLOCK, self.offset - len(self.mark))
            if not data.startswith(self.mark if self.offset else self.head):
                raise _Truncated
            data = data[len(self.mark) :]
            if not data:
                return
            yield from self._cut(data)
            if len(data) < BLOCK:
                return

    def _cut(self, data: bytes) -> Iterator[bytes]:
        if self.before:
            begun, self.before.pending = self.before.pending, b""
            if begun and not self.offset and stamp(data) is not None:
                yield begun
            else:
                self.pending = begun
            self.before = None
        if self.offset <= len(self.head) < self.HEAD:
            self.head = (self.head[: self.offset] + data)[: self.HEAD]
        self.offset += len(data)
        self.mark = (self.mark + data)[-self.MARK :]
        self.grown = monotonic()
        *lines, self.pending = (self.pending + data if self.pending else data.lstrip(b"\0")).split(b"\n")
        if len(self.pending) > LONGEST:
            lines.append(self.pending)
            self.pending = b""
        yield from map(_bare, lines)

    def overdue(self) -> Iterator[bytes]:
        """Yield a line whose end has not come in time."""
        if self.pending and monotonic() - self.grown > HOLD:
            line, self.pending = self.pending, b""
            yield _bare(line)

    def place_in(self, fd: int) -> int | None:
        """Where to read on in a copy of this file; None if it is none."""
        if not self.head or os.pread(fd, len(self.head), 0) != self.head:
            return None
        mark = os.pread(fd, len(self.mark), self.offset - len(self.mark))
        return self.offset if mark == self.mark or len(mark) < len(self.mark) else None


def _descriptor(file: Rotated) -> int | None:
    """The file's descriptor, of a decompressed copy if need be; None if it is no longer there."""
    try:
        with open(others.opened(file.path), "rb") as stream:
            if _identity(os.fstat(stream.fileno())) != file.identity:
                return None
            if not _is_compressed(file.path):
                return os.dup(stream.fileno())
            from tempfile import TemporaryFile

            with TemporaryFile() as plain, _codec(file.path).open(stream) as unpacked:
                while block := unpacked.read(BLOCK):
                    if plain.tell() > COPIED:
                        return None
                    plain.write(block)
                plain.flush()
                return os.dup(plain.fileno())
    except (OSError, EOFError):
        return None


def _bare(line: bytes) -> bytes:
    """Without its end, and without the hole that a writer leaves at the start of a file truncated under it."""
    return line.rstrip(b"\r\n").lstrip(b"\0")


def _is_beginning(fd: int, other: int) -> bool:
    """Whether all of one file is what another begins with."""
    place = 0
    while block := os.pread(fd, BLOCK, place):
        if os.pread(other, len(block), place) != block:
            return False
        place += len(block)
    return True


def _pieces(stream: IO[bytes], start: int, end: float) -> Iterator[bytes]:
    stream.seek(max(0, start - 1))
    if start:
        start += len(stream.readline()) - 1  # the rest of a line, or the end of the one before
    while start < end:
        piece = stream.readline(LONGEST if end - start > LONGEST else int(end - start))
        if not piece:
            return
        start += len(piece)
        yield piece


def _last_lines(fd: int, end: int, count: int) -> int:
    """An offset after which there are at least `count` lines, if there are so many; reads backwards.

    No further than so many of the LONGEST: a hole may be larger than all that can be read.
    """
    start, furthest = end, end - count * LONGEST
    while start > max(0, furthest) and count > 0:
        size = min(BLOCK, start)
        start -= size
        count -= os.pread(fd, size, start).count(b"\n")
    return start


def _last_dated(fd: int) -> bytes:
    """The last complete line with a time, among those that are looked at."""
    end = os.fstat(fd).st_size
    text = os.pread(fd, min(LONGEST, end), max(0, end - LONGEST))
    lines = text[: text.rfind(b"\n") + 1].split(b"\n")
    return next((line for line in reversed(lines) if line and stamp(line) is not None), b"")


def _after_last_line(fd: int, end: int) -> int:
    """Where the last line that has no end begins; `end` when it is too long to be waited for."""
    text = os.pread(fd, min(LONGEST, end), max(0, end - LONGEST))
    found = text.rfind(b"\n")
    if found < 0:
        return 0 if end <= LONGEST else end
    return end - len(text) + found + 1


def _is_cut(file: Rotated) -> bool:
    """Whether a rotated file ends within a line."""
    if _is_compressed(file.path):
        return False
    try:
        with open(others.opened(file.path), "rb") as stream:
            end = os.fstat(stream.fileno()).st_size
            return end > 0 and os.pread(stream.fileno(), 1, end - 1) != b"\n"
    except OSError:
        return False

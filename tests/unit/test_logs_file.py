"""One log file: its past through rotated files, and its future through rotations, looked at when the test wants."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from datetime import datetime

import pytest
from celeryhost.logs import file as logs_file
from celeryhost.logs.file import LogFile, rotated

START = datetime(2026, 11, 22, 14).timestamp()


def line(number: int) -> bytes:
    moment = datetime.fromtimestamp(START + number)
    return moment.strftime("[%Y-%m-%d %H:%M:%S,000: INFO/MainProcess] ").encode() + b"line %d" % number


def write(path, numbers, mode="ab"):
    with open(path, mode) as log:
        log.write(b"".join(line(number) + b"\n" for number in numbers))
    if len(numbers):
        os.utime(path, (START + numbers[-1],) * 2)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "worker.log")


def texts(lines):
    return [text for _, text in lines]


def expected(numbers):
    return [line(number) for number in numbers]


def rename(path, backups=9):
    """As Supervisor and Python's handler rotate."""
    for number in range(backups - 1, 0, -1):
        if os.path.exists(f"{path}.{number}"):
            os.replace(f"{path}.{number}", f"{path}.{number + 1}")
    os.replace(path, f"{path}.1")


def compress(path):
    with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    shutil.copystat(path, f"{path}.gz")
    os.unlink(path)


def add(path, numbers):
    """Append now: the file's mtime stays the real one, which following goes by."""
    with open(path, "ab") as log:
        log.write(b"".join(line(number) + b"\n" for number in numbers))


# The names of rotated files


def test_rotated_files_newest_first(tmp_path):
    groups = {
        "worker.log": ["worker.log.1", "worker.log.2.gz", "worker.log.10"],
        "web.log": ["web.log-20261122", "web.log-20261121.gz", "web.log-20260101.xz"],
        "app.log": ["app-20261122.log", "app-20261121.log.gz"],
        "py.log": ["py.log.2026-11-22", "py.log.2026-11-21"],
        "ext.log": ["ext.1.log", "ext.2.log.gz"],
        "plain": ["plain.1", "plain-20261122"],
    }
    others = ["worker-2.log", "worker.log.bak", "worker.log.1~", "workerxlog.1", "web.log-2", "worker.log.3.zip"]
    for name in [*groups, *(name for names in groups.values() for name in names), *others]:
        (tmp_path / name).write_text("x\n")
    (tmp_path / "worker.log.4").mkdir()
    for name, names in groups.items():
        found = [os.path.basename(file.path) for file in rotated(str(tmp_path / name))]
        assert sorted(found) == sorted(names)
        if name != "plain":
            assert found == names


def test_ways_of_naming_are_joined_by_their_times(path):
    for second, name in enumerate((".2", ".1", "-20261121", "-20261122", "-2026112218.backup")):
        write(path + name, [second])
    assert [file.path.removeprefix(path) for file in rotated(path)] == [
        "-2026112218.backup", "-20261122", "-20261121", ".1", ".2",
    ]  # fmt: skip


def test_a_file_that_is_being_compressed_counts_once(tmp_path):
    (tmp_path / "w.log.1").write_text("whole\n")
    (tmp_path / "w.log.1.gz").write_text("half")
    assert [os.path.basename(file.path) for file in rotated(str(tmp_path / "w.log"))] == ["w.log.1"]


# The past


@pytest.fixture
def history(path):
    """Lines 0 to 399 in a compressed file, two plain ones and the current one."""
    write(f"{path}.3", range(100))
    compress(f"{path}.3")
    write(f"{path}.2", range(100, 200))
    write(f"{path}.1", range(200, 300))
    write(path, range(300, 400))
    return path


@pytest.mark.parametrize(
    "limits, numbers",
    [
        ({}, range(400)),
        ({"last": 10}, range(390, 400)),
        ({"last": 150}, range(250, 400)),
        ({"last": 350}, range(50, 400)),
        ({"last": 0}, []),
        ({"since": START + 250}, range(250, 400)),
        ({"since": START + 50.5}, range(51, 400)),
        ({"until": START + 20}, range(21)),
        ({"since": START + 95, "until": START + 105}, range(95, 106)),
        ({"since": START + 95, "until": START + 305, "last": 3}, range(303, 306)),
        ({"since": START + 500}, []),
        ({"keep": lambda text: text.endswith(b"7")}, range(7, 400, 10)),
        ({"keep": lambda text: text.endswith(b"7"), "last": 12}, range(287, 400, 10)),
        ({"keep": lambda text: b"line 1 " in text + b" ", "last": 12}, [1]),
    ],
)
def test_history(history, limits, numbers):
    assert texts(LogFile(history).history(**limits)) == expected(numbers)


def test_since_is_found_in_a_big_file_without_reading_all_of_it(path, monkeypatch):
    write(path, range(50000))
    seen = []
    pieces = logs_file._pieces
    monkeypatch.setattr(
        logs_file, "_pieces", lambda stream, start, end: seen.append(start) or pieces(stream, start, end)
    )
    for wanted in (0, 1, 1234, 25000, 49990, 49999):
        assert texts(LogFile(path).history(since=START + wanted)) == expected(range(wanted, 50000))
    assert seen[-1] > os.path.getsize(path) - 2 * logs_file.BLOCK


def test_a_traceback_stays_with_its_line(path):
    write(path, [1])
    with open(path, "ab") as log:
        log.write(b"Traceback (most recent call last):\n  File x\nValueError\n")
    write(path, [9])
    found = list(LogFile(path).history())
    assert [when - START for when, _ in found] == [1, 1, 1, 1, 9]


def test_lines_without_any_time_count_as_written_when_the_file_was(path):
    with open(path, "wb") as log:
        log.write(b"a\nb\n")
    os.utime(path, (START, START))
    assert list(LogFile(path).history()) == [(START, b"a"), (START, b"b")]
    assert texts(LogFile(path).history(since=START - 1)) == [b"a", b"b"]
    assert texts(LogFile(path).history(since=START + 1)) == []


def test_a_program_in_another_time_zone_is_told_by_its_file(path):
    """Django sets a worker's time zone to its TIME_ZONE."""
    write(path, [1, 2])
    os.utime(path, (START + 2 + 7200.3,) * 2)
    assert [when - START for when, _ in LogFile(path).history()] == [7201, 7202]


def test_a_program_in_another_time_zone_whose_last_line_is_a_tracebacks(path):
    write(path, [1])
    with open(path, "ab") as log:
        log.write(b"Traceback (most recent call last):\nKeyError: 'x'\n")
    os.utime(path, (START + 1 + 7200.3,) * 2)
    assert [when - START for when, _ in LogFile(path).history()] == [7201] * 3


def test_lines_before_the_first_time_go_with_it(path):
    with open(path, "wb") as log:
        log.write(b"  end of a traceback\n")
    write(path, [5])
    assert [when - START for when, _ in LogFile(path).history()] == [5, 5]


def test_a_line_that_rotation_cut_in_two_is_one(path):
    """Supervisor rotates after whatever piece it read of a program's output."""
    with open(f"{path}.1", "wb") as log:
        log.write(line(1) + b"\n" + line(2)[:30])
    with open(path, "wb") as log:
        log.write(line(2)[30:] + b"\n" + line(3) + b"\n")
    assert texts(LogFile(path).history()) == expected([1, 2, 3])
    assert texts(LogFile(path).history(last=2)) == expected([2, 3])
    assert texts(LogFile(path).history(last=1)) == expected([3])


def test_an_unfinished_line_of_its_own_stays_one(path):
    with open(f"{path}.1", "wb") as log:
        log.write(line(1) + b"\nkilled in mid-li")
    write(path, [3])
    assert texts(LogFile(path).history()) == [line(1), b"killed in mid-li", line(3)]


def test_long_lines_come_in_pieces(path):
    with open(path, "wb") as log:
        log.write(b"x" * 200_000 + b"\nend\n")
    found = texts(LogFile(path).history())
    assert b"".join(found) == b"x" * 200_000 + b"end"
    assert max(map(len, found)) <= logs_file.LONGEST
    assert texts(LogFile(path).history(last=1)) == [b"end"]


def test_a_damaged_file_is_told_of_and_hides_nothing_else(history):
    packed = f"{history}.3.gz"
    with open(packed, "r+b") as file:
        file.truncate(os.path.getsize(packed) - 20)
    said = []
    found = texts(LogFile(history, warn=said.append).history())
    assert found[-300:] == expected(range(100, 400))
    assert len(said) == 1
    assert packed in said[0]


def test_missing_and_empty_files(path):
    assert list(LogFile(path).history()) == []
    write(path, [])
    assert list(LogFile(path).history(last=5)) == []
    write(f"{path}.1", range(3))
    assert texts(LogFile(path).history(last=5)) == expected(range(3))


def test_rotation_while_the_past_is_read(history):
    log = LogFile(history)
    lines = log.history()
    found = [next(lines)[1]]
    rename(history)
    write(history, [999])
    assert found + texts(lines) == expected(range(400))


# The future. `opened` is where a follower starts: after the past that was read.


@pytest.fixture
def opened(path):
    add(path, range(5))
    log = LogFile(path, following=True)
    assert texts(log.history()) == expected(range(5))
    assert list(log.poll()) == []
    return log


@pytest.mark.parametrize("times", [1, 2, 5])
def test_renamed_any_number_of_times_between_two_looks(path, opened, times):
    for turn in range(times):
        add(path, range(10 * turn + 10, 10 * turn + 15))
        rename(path)
    add(path, range(900, 905))
    wanted = [number for turn in range(times) for number in range(10 * turn + 10, 10 * turn + 15)]
    assert texts(opened.poll()) == expected([*wanted, *range(900, 905)])
    add(path, [950])
    assert texts(opened.poll()) == expected([950])


def test_more_rotations_than_backups(path, opened):
    """What is deleted before it could be seen is lost; the rest comes once."""
    add(path, [10])
    for turn in range(4):
        rename(path, backups=2)
        add(path, [20 + turn])
    assert texts(opened.poll()) == expected([10, 21, 22, 23])


def test_a_file_system_that_keeps_whole_seconds(path, opened):
    add(path, [10])
    rename(path)
    add(path, [20])
    os.utime(path, (int(time.time()),) * 2)
    rename(path)
    add(path, [30])
    assert texts(opened.poll()) == expected([10, 20, 30])


def test_renamed_and_compressed_at_once(path, opened):
    for turn in range(3):
        add(path, [10 + turn])
        for number in range(8, 0, -1):
            if os.path.exists(f"{path}.{number}.gz"):
                os.replace(f"{path}.{number}.gz", f"{path}.{number + 1}.gz")
        os.replace(path, f"{path}.1")
        compress(f"{path}.1")
    add(path, [20])
    assert texts(opened.poll()) == expected([10, 11, 12, 20])


def test_a_writer_quicker_than_logrotates_create(path, opened):
    """It finds no file and makes one; logrotate puts that aside and makes another."""
    write(f"{path}-20200101", [1])
    add(path, [10])
    rename(path)
    add(path, [20])
    os.rename(path, f"{path}-2026112218.backup")
    add(path, [30])
    assert texts(opened.poll()) == expected([10, 20, 30])
    rename(path)
    add(path, [40])
    rename(path)
    add(path, [50])
    assert texts(opened.poll()) == expected([40, 50]), "the one put aside is no news any more, and hides none"


@pytest.mark.parametrize("times", [1, 3])
def test_copied_and_truncated(path, opened, times):
    for turn in range(times):
        add(path, range(10 * turn + 10, 10 * turn + 15))
        copy_and_truncate(path)
    wanted = [number for turn in range(times) for number in range(10 * turn + 10, 10 * turn + 15)]
    add(path, [900])
    assert texts(opened.poll()) == expected([*wanted, 900])
    add(path, [901])
    assert texts(opened.poll()) == expected([901])


def copy_and_truncate(path):
    for number in range(8, 0, -1):
        if os.path.exists(f"{path}.{number}"):
            os.replace(f"{path}.{number}", f"{path}.{number + 1}")
    shutil.copyfile(path, f"{path}.1")
    os.truncate(path, 0)


def test_written_copied_and_truncated_while_it_was_seen_empty(path, opened):
    copy_and_truncate(path)
    assert texts(opened.poll()) == []
    for number in (10, 20, 30):
        add(path, [number])
        copy_and_truncate(path)
        assert texts(opened.poll()) == expected([number])
    add(path, [40])
    copy_and_truncate(path)
    add(path, [50])
    assert texts(opened.poll()) == expected([40, 50])


def test_seen_between_the_copy_and_its_truncation(path, opened):
    add(path, [10])
    copy_and_truncate(path)
    add(path, [20])
    os.replace(f"{path}.1", f"{path}.2")
    shutil.copyfile(path, f"{path}.1")
    assert texts(opened.poll()) == expected([10, 20])
    os.truncate(path, 0)
    add(path, [30])
    assert texts(opened.poll()) == expected([30])


def test_a_late_writer_while_the_new_file_is_empty(path, opened):
    with open(path, "ab", buffering=0) as log:
        rename(path)
        add(path, [])
        assert texts(opened.poll()) == []
        log.write(line(10) + b"\n")
        assert texts(opened.poll()) == expected([10])
        add(path, [20])
        assert texts(opened.poll()) == expected([20])


def test_no_descriptor_of_a_copy_is_left_open(path, opened):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        add(path, [10 * number, 10 * number + 1])
        copy_and_truncate(path)
        assert texts(opened.poll()) == expected([10 * number, 10 * number + 1])
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("rotate", [rename, copy_and_truncate])
def test_compressed_while_the_new_file_is_empty(path, opened, rotate):
    """A compressed file is a new one, with the time of the old."""
    add(path, [10])
    rotate(path)
    add(path, [])
    assert texts(opened.poll()) == expected([10])
    compress(f"{path}.1")
    add(path, [20])
    assert texts(opened.poll()) == expected([20])


def test_truncated_after_all_was_read(path, opened):
    """The copy holds nothing new then, although it was written just now."""
    shutil.copyfile(path, f"{path}.1")
    os.truncate(path, 0)
    assert texts(opened.poll()) == []
    add(path, [9])
    assert texts(opened.poll()) == expected([9])


def test_truncated_and_grown_past_the_old_end_between_two_looks(path, opened):
    os.truncate(path, 0)
    add(path, range(100, 150))
    assert texts(opened.poll()) == expected(range(100, 150))


def test_truncated_under_a_writer_that_does_not_append(path, opened):
    with open(path, "r+b") as log:
        log.seek(0, os.SEEK_END)
        os.truncate(path, 0)
        opened.poll()
        log.write(line(7) + b"\n")
    assert texts(opened.poll()) == expected([7])


def test_deleted_and_made_again(path, opened):
    write(f"{path}.1", range(3))
    add(path, [10])
    os.unlink(path)
    assert texts(opened.poll()) == expected([10])
    assert texts(opened.poll()) == []
    add(path, [11])
    assert texts(opened.poll()) == expected([11]), "the old rotated file is no news"


def test_a_writer_that_keeps_the_renamed_file_is_heard(path, opened):
    with open(path, "ab", buffering=0) as log:
        rename(path)
        add(path, [])
        assert texts(opened.poll()) == []
        log.write(line(10) + b"\n")
        assert texts(opened.poll()) == expected([10])
        add(path, [11])
        log.write(line(12) + b"\n")
        assert texts(opened.poll()) == expected([12, 11])


def test_a_line_is_held_until_it_is_whole(path, opened):
    with open(path, "ab", buffering=0) as log:
        log.write(line(10)[:20])
        assert texts(opened.poll()) == []
        log.write(line(10)[20:] + b"\n")
        assert texts(opened.poll()) == expected([10])


def test_a_line_without_an_end_is_shown_after_a_while(path, opened, monkeypatch):
    with open(path, "ab") as log:
        log.write(b"Password: ")
    assert texts(opened.poll()) == []
    now = time.monotonic()
    monkeypatch.setattr(logs_file, "monotonic", lambda: now + 2)
    assert texts(opened.poll()) == [b"Password: "]
    assert texts(opened.poll()) == []


def test_a_line_cut_by_rotation_is_one(path, opened):
    with open(path, "ab") as log:
        log.write(b"no time, first half")
    assert texts(opened.poll()) == []
    rename(path)
    assert texts(opened.poll()) == []
    with open(path, "ab") as log:
        log.write(b" and second\n")
    assert texts(opened.poll()) == [b"no time, first half and second"]


def test_an_unfinished_line_at_the_end_belongs_to_the_future(path):
    with open(path, "wb") as log:
        log.write(line(1) + b"\n" + line(2)[:10])
    log = LogFile(path, following=True)
    assert texts(log.history()) == expected([1])
    with open(path, "ab") as file:
        file.write(line(2)[10:] + b"\n")
    assert texts(log.poll()) == expected([2])


def test_a_file_that_appears_later(path):
    log = LogFile(path, following=True)
    assert texts(log.poll()) == []
    add(path, [1])
    assert texts(log.poll()) == expected([1])


def test_an_unreadable_new_file_is_told_of_once(path, opened, monkeypatch):
    said = []
    opened.warn = said.append
    rename(path)
    real = os.open

    def refusing(name, *args, **kwargs):
        if name == path:
            raise PermissionError(13, "Permission denied")
        return real(name, *args, **kwargs)

    add(path, [10])
    monkeypatch.setattr(os, "open", refusing)
    assert texts(opened.poll()) + texts(opened.poll()) == []
    assert said == [f"{path}: Permission denied"]
    monkeypatch.setattr(os, "open", real)
    assert texts(opened.poll()) == expected([10])


def test_no_descriptor_is_left_open(path, opened, monkeypatch):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    for turn in range(30):
        rename(path)
        add(path, [10 + turn])
        assert texts(opened.poll()) == expected([10 + turn])
    assert len(opened.late) == logs_file.LATE_FILES
    before = descriptors()
    now = time.monotonic()
    monkeypatch.setattr(logs_file, "monotonic", lambda: now + 2 * logs_file.LATE)
    opened.tail.grown = now
    list(opened.poll())
    assert opened.late == []
    assert descriptors() == before - logs_file.LATE_FILES


def test_a_rotated_file_without_end_is_read_as_far_as_its_limit(path, monkeypatch):
    monkeypatch.setattr(logs_file, "UNPACKED", 1 << 20)
    monkeypatch.setattr(logs_file, "COPIED", 1 << 20)
    write(path, range(10, 12))
    with gzip.open(f"{path}.1.gz", "wb") as packed:
        packed.write(line(1) + b"\n" + bytes(64 << 20))
    os.utime(f"{path}.1.gz", (START + 9,) * 2)
    told = []
    found = texts(LogFile(path, warn=told.append).history())
    assert (found[0], found[-2:], sum(map(len, found)) < 2 << 20) == (line(1), expected(range(10, 12)), True)
    assert len(told) == 1
    assert "worker.log.1.gz" in told[0]
    assert logs_file._descriptor(rotated(path)[0]) is None, "to follow it, it is unpacked to the disk"


def test_many_rotated_files_are_unpacked_no_further_than_one(path, monkeypatch):
    """Each would take seconds, and an app may put thousands there."""
    monkeypatch.setattr(logs_file, "UNPACKED", 1 << 20)
    monkeypatch.setattr(logs_file, "GLIMPSE", 1 << 12)
    write(path, range(10, 12))
    for number in range(1, 9):
        with gzip.open(f"{path}.{number}.gz", "wb", compresslevel=1) as rotated_file:
            rotated_file.write(b"[2026-01-01 00:00:00] x\n" * 100_000)
    told = []
    found = texts(LogFile(path, warn=told.append).history(last=10_000_000))
    assert found[-2:] == expected(range(10, 12))
    assert sum(map(len, found)) < (1 << 20) + 8 * (1 << 16)
    assert len(told) == 8


def test_a_hole_is_not_read_for_the_last_lines(path, monkeypatch):
    write(path, range(3))
    os.truncate(path, 1 << 36)
    read = []
    pread = os.pread
    monkeypatch.setattr(logs_file.os, "pread", lambda fd, size, at: read.append(size) or pread(fd, size, at))
    found = texts(LogFile(path).history(last=2))
    assert len(found) <= 2
    assert sum(read) < 32 << 20

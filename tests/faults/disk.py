"""A disk that can lose power: a block device that keeps its writes in a cache until it is told to flush them.

A loop device over a file of FUSE, served here: the block layer's flushes, and its writes with FUA, arrive as fsync.
That is all that ext4 may rely on, and less than most disks keep. Protocol: include/uapi/linux/fuse.h, 7.31.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from pathlib import Path

GETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT = 3, 14, 15, 16, 18, 20, 25, 26
UNANSWERED = {2, 36, 38, 42}  # FORGET, INTERRUPT, DESTROY, BATCH_FORGET
HEADER, MOST = 40, 1 << 20  # bytes of a request's header, and of one write
DIRECT_IO = 1  # FOPEN_DIRECT_IO: no cache of the kernel's in between
AT_ONCE = 3  # MNT_FORCE | MNT_DETACH: whoever still has it open
INTERRUPTED = (errno.EINTR, errno.EAGAIN, errno.ENOENT)  # a request, not the connection
HOUR, BLOCK = 3600, 4096


class Disk:
    """A disk of `size` bytes: `file` is what a loop device can be made of. Leaving `with` removes it."""

    def __init__(self, file: Path, size: int):
        self.file, self.size = file, size
        self.written, self.flushed = bytearray(size), bytearray(size)
        self.cached: list[tuple[int, int]] = []  # begin and end of what is written and not flushed
        self.lock = threading.Lock()

    def __enter__(self) -> Disk:
        self.file.touch()
        self.device = os.open("/dev/fuse", os.O_RDWR)
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self.device},rootmode=100000,user_id=0,group_id=0"  # its root is a file
        if libc.mount(b"disk", os.fsencode(self.file), b"fuse", 0, options.encode()):
            os.close(self.device)
            raise OSError(ctypes.get_errno(), f"mount of {self.file}")
        self.server = threading.Thread(target=self._serve, daemon=True)
        self.server.start()
        return self

    def __exit__(self, *_):
        ctypes.CDLL(None).umount2(os.fsencode(self.file), AT_ONCE)
        self.server.join(60)
        os.close(self.device)

    def cut(self, image: Path):
        """Write down what the disk holds when power is lost now."""
        with self.lock:
            held = bytes(self.flushed)
        image.write_bytes(held)

    def _serve(self):
        while True:
            try:
                request = os.read(self.device, MOST + BLOCK)
                _, operation, unique = struct.unpack_from("IIQ", request)
                if operation in UNANSWERED:
                    continue
                with self.lock:
                    answer = self._answer(operation, memoryview(request)[HEADER:])
                fault = -errno.ENOSYS if answer is None else 0
                answer = answer or b""
                os.write(self.device, struct.pack("IiQ", 16 + len(answer), fault, unique) + answer)
            except OSError as error:
                if error.errno not in INTERRUPTED:
                    return  # unmounted

    def _answer(self, operation: int, body: memoryview) -> bytes | None:
        if operation == INIT:
            return struct.pack("IIIIHHIIHHI28x", 7, 31, 0, 0, 16, 12, MOST, 1, 0, 0, 0)
        if operation == GETATTR:
            return struct.pack("Q8x3Q36x2I12xI4x", HOUR, 1, self.size, self.size >> 9, 0o100600, 1, BLOCK)
        if operation == OPEN:
            return struct.pack("QIi", 0, DIRECT_IO, 0)
        if operation == READ:
            begin, length = struct.unpack_from("QI", body, 8)
            return bytes(self.written[begin : begin + length])
        if operation == WRITE:
            begin, length = struct.unpack_from("QI", body, 8)
            self.written[begin : begin + length] = body[40 : 40 + length]
            self.cached.append((begin, begin + length))
            return struct.pack("II", length, 0)
        if operation == FSYNC:
            for begin, end in self.cached:
                self.flushed[begin:end] = self.written[begin:end]
            self.cached.clear()
        return b"" if operation in (FSYNC, FLUSH, RELEASE) else None

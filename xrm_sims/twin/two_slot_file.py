"""A small record on disk, replaced as a whole and often.

Two slots of one preallocated file are overwritten in turn, each with its serial number, length and checksum: the newest
whole one counts, so a write cut short leaves the one before. Nothing but data blocks change, so that a write costs one
flush of the disk; a rename costs three.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from xrm_sims.atomic_write import sync

SLOT_BYTES = 1 << 16


class TwoSlotFile:
    """The record in ``path``, made when it is not there."""

    def __init__(self, path: Path):
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        if os.fstat(self._file).st_size != 2 * SLOT_BYTES:
            self.clear()
        self._serial = max(serial for serial, _ in self._slots())

    def read(self) -> bytes | None:
        """What was written last; None when nothing was. ValueError when there is something, but nothing whole."""
        serial, content = max(self._slots())
        if serial == 0 and any(os.pread(self._file, 2 * SLOT_BYTES, 0)):
            raise ValueError(f"state file {self.path}: damaged; move it away to start afresh")
        return content if serial else None

    def write(self, content: bytes) -> None:
        """Returns when the content is on disk; ValueError when it does not fit."""
        serial = self._serial + 1
        entry = b"%d %d %d\n" % (serial, len(content), zlib.crc32(content, serial)) + content
        if len(entry) > SLOT_BYTES:
            raise ValueError(f"state file {self.path}: {len(entry)} bytes do not fit its {SLOT_BYTES}")
        os.pwrite(self._file, entry, serial % 2 * SLOT_BYTES)
        os.fdatasync(self._file)
        self._serial = serial

    def clear(self) -> None:
        """Forget everything written."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, bytes(2 * SLOT_BYTES), 0)
        os.fsync(self._file)
        sync(self.path.parent)
        self._serial = 0

    def close(self) -> None:
        os.close(self._file)

    def _slots(self) -> list[tuple[int, bytes]]:
        return [_entry(os.pread(self._file, SLOT_BYTES, slot * SLOT_BYTES)) for slot in (0, 1)]


def _entry(slot: bytes) -> tuple[int, bytes]:
    """Serial number and content of a slot; (0, nothing) when it holds nothing whole."""
    head, _, body = slot.partition(b"\n")
    try:
        serial, length, checksum = (int(number) for number in head.split())
    except ValueError:
        return 0, b""
    content = body[:length]
    return (serial, content) if zlib.crc32(content, serial) == checksum else (0, b"")

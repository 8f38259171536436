"""A small file whose content is replaced atomically and often.

Two slots of one preallocated file are overwritten in turn, each with serial number, length and checksum. The newest
intact slot counts, so an interrupted write leaves the previous content. Only data blocks change, so a write needs one
flush of the disk; a rename needs three.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from xrm_sims.atomic_write import sync

SLOT_BYTES = 1 << 16


class TwoSlotFile:
    """The file ``path``, created when it does not exist."""

    def __init__(self, path: Path):
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        if os.fstat(self._file).st_size != 2 * SLOT_BYTES:
            self.clear()
        self._serial = max(serial for serial, _ in self._slots())

    def read(self) -> bytes | None:
        """Return the last content, None when nothing was written; ValueError when both slots are damaged."""
        serial, content = max(self._slots())
        if serial == 0 and any(os.pread(self._file, 2 * SLOT_BYTES, 0)):
            raise ValueError(f"state file {self.path}: damaged; move it away to start afresh")
        return content if serial else None

    def write(self, content: bytes) -> None:
        """Write ``content`` and return when it is on disk; ValueError when it does not fit."""
        serial = self._serial + 1
        entry = b"%d %d %d\n" % (serial, len(content), zlib.crc32(content, serial)) + content
        if len(entry) > SLOT_BYTES:
            raise ValueError(f"state file {self.path}: {len(entry)} bytes do not fit its {SLOT_BYTES}")
        os.pwrite(self._file, entry, serial % 2 * SLOT_BYTES)
        os.fdatasync(self._file)
        self._serial = serial

    def clear(self) -> None:
        """Erase the content."""
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
    """Return serial number and content of a slot; (0, b"") when it is empty or damaged."""
    head, _, body = slot.partition(b"\n")
    try:
        serial, length, checksum = (int(number) for number in head.split())
    except ValueError:
        return 0, b""
    content = body[:length]
    return (serial, content) if zlib.crc32(content, serial) == checksum else (0, b"")

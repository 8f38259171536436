"""Frame files: one HDF5 dataset per stream of a run, appended frame by frame and readable while it grows.

A frame is one chunk, ``(1, *frame_shape)``. The file is in single-writer-multiple-reader mode from the start, so other
processes and threads can read appended frames without disturbing the writer.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

MIMETYPE = "application/x-hdf5"
_HEADROOM_BYTES = 1 << 20  # space beside the frames for the index of HDF5 and for closing the file
_STRIDE_BYTES = 1 << 21  # allocated at a time: a file of constant length is synchronised in half the time
_SUPERBLOCK_BYTES = 64
_END_AT = {0: 40, 1: 44}  # offset of the end-of-file address in old superblock versions; 28 in newer ones


class FrameWriter:
    """A new HDF5 file with one growing dataset ``(frame, *frame_shape)``.

    Parameters
    ----------
    path : file to create; it must not exist yet.
    dataset : name of the dataset in the file, e.g. ``"/entry/data/data"``.
    frame_shape : shape of one frame, e.g. (rows, columns).
    dtype : machine type of the counts.
    attributes : attributes of the dataset, e.g. ``{"units": "counts"}``.

    Raises
    ------
    RuntimeError naming the file when it cannot be created.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dataset: str,
        frame_shape: tuple[int, ...],
        dtype: DTypeLike,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path).resolve()
        self.dataset = dataset
        self.frame_shape = tuple(int(n) for n in frame_shape)
        self.dtype = np.dtype(dtype)
        self.count = 0
        self._failed = False
        chunk = (1, *self.frame_shape)
        try:
            self._file = h5py.File(self.path, "x", libver="latest")
            self._data = self._file.create_dataset(
                dataset, (0, *self.frame_shape), self.dtype, maxshape=(None, *self.frame_shape), chunks=chunk
            )
            self._data.attrs.update(attributes or {})
            self._file.swmr_mode = True
        except OSError as error:
            raise RuntimeError(f"frames file {self.path}: cannot be made ({_reason(error)})") from error

    @property
    def uri(self) -> str:
        """URI of the file, not percent-encoded because Tiled does not decode the path of a file URI."""
        return "file://localhost" + self.path.as_posix()

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of a stream resource for this file."""
        return {"dataset": self.dataset, "chunk_shape": [1, *self.frame_shape], "swmr": True}

    def append(self, frame: NDArray[Any]) -> int:
        """Append a frame, synchronise it to the disk and return its index.

        Raises ValueError for a frame of another shape, and RuntimeError naming file and frame when the disk is full
        or fails; earlier frames stay readable, and further frames are refused.
        """
        if np.shape(frame) != self.frame_shape:
            raise ValueError(
                f"frames file {self.path}: needs frames of shape {self.frame_shape}, got {np.shape(frame)}"
            )
        if self._failed:
            raise RuntimeError(f"frames file {self.path}: an earlier frame failed; start a new run")
        index = self.count
        self._reserve(index)
        try:
            self._data.resize(index + 1, axis=0)
            self._data[index] = frame
            self._data.flush()
            os.fdatasync(self._file.id.get_vfd_handle())
        except (OSError, RuntimeError) as error:
            self._failed = True
            raise RuntimeError(
                f"frames file {self.path}: frame {index} could not be written ({_reason(error)})"
            ) from error
        self.count = index + 1
        return index

    def close(self) -> None:
        """Close the file and release unused space; closing twice is harmless."""
        if not self._file.id:
            return
        with contextlib.suppress(OSError, RuntimeError) if self._failed else contextlib.nullcontext():
            self._file.close()
            trim(self.path)

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reserve(self, index: int) -> None:
        """Allocate the space of a frame before HDF5 writes it, because HDF5 cannot recover from a write that fails
        half-way, on a full disk or at a quota."""
        descriptor = self._file.id.get_vfd_handle()
        frame_bytes = self.dtype.itemsize * int(np.prod(self.frame_shape))
        end = os.fstat(descriptor).st_size
        needed = self._file.id.get_filesize() + frame_bytes + _HEADROOM_BYTES
        wanted = needed + _STRIDE_BYTES if end < needed else end
        try:
            while end < wanted:
                end += os.pwrite(descriptor, bytes(wanted - end), end)
        except OSError as error:
            if end < needed:
                raise RuntimeError(
                    f"frames file {self.path}: no room for frame {index} ({_reason(error)}); free space on the disk"
                ) from error
            os.ftruncate(descriptor, needed)  # leave the rest of the disk to other programs


def trim(path: str | os.PathLike[str]) -> None:
    """Release the space allocated beyond the end of a closed HDF5 file."""
    with open(path, "rb+") as file:
        file.truncate(_recorded_end(file.read(_SUPERBLOCK_BYTES)))


def resource_path(resource: Mapping[str, Any]) -> Path:
    """Return the local file of a stream resource. Raises ValueError for anything but a file URI."""
    uri = urlparse(resource["uri"])
    if uri.scheme != "file":
        raise ValueError(f"stream resource {resource['uri']}: needs a file:// URI")
    return Path(uri.path)


def read_block(resource: Mapping[str, Any], start: int, stop: int) -> NDArray[Any]:
    """Return frames ``start`` to ``stop - 1`` of a stream resource, ``(stop - start, *frame_shape)``.

    Raises ValueError naming the file and the frames that are missing or cannot be read.
    """
    path = resource_path(resource)
    wanted = _span(start, stop)
    if not path.exists():
        raise ValueError(f"frames file {path} is missing: {wanted} cannot be read")
    if cut := cut_short(path):
        raise ValueError(f"frames file {path} is truncated ({cut}): {wanted} cannot be read")
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            data = file[resource["parameters"]["dataset"]]
            _check_links(path, data)
            if stop > len(data):
                missing = _span(max(start, len(data)), stop)
                raise ValueError(f"frames file {path} ends after {len(data)} frames: {missing} missing")
            return data[start:stop]
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"frames file {path}: {wanted} cannot be read ({_reason(error)})") from error


def count_frames(resource: Mapping[str, Any]) -> int:
    """Return the number of whole frames in the file of a stream resource; 0 when the file is missing or unreadable."""
    path = resource_path(resource)
    try:
        if cut_short(path):
            return 0
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            return len(file[resource["parameters"]["dataset"]])
    except (OSError, RuntimeError, KeyError):
        return 0


def read_frames(
    resource: Mapping[str, Any], datums: Iterable[Mapping[str, Any]], block: int = 32
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Yield ``(seq_nums, frames)`` of stream datums, at most ``block`` frames at a time.

    ``seq_nums`` (n,) counts from 1 as in the events, ``frames`` is (n, *frame_shape). No file stays open between steps.

    Raises ValueError naming the file and the frames that are missing or cannot be read.
    """
    for datum in datums:
        start, stop = datum["indices"]["start"], datum["indices"]["stop"]
        first_seq_num = datum["seq_nums"]["start"]
        for low in range(start, stop, block):
            high = min(low + block, stop)
            yield np.arange(low, high) - start + first_seq_num, read_block(resource, low, high)


def cut_short(path: Path) -> str:
    """Return "n of m bytes" when a file is shorter than its superblock records, else "".

    A reader in SWMR mode would wait for the missing bytes for ever. The writer updates the recorded end and the real
    end one after the other, so the check is repeated for a file that is being written.
    """
    for _ in range(100):
        with open(path, "rb") as file:
            head = file.read(_SUPERBLOCK_BYTES)
            if len(head) < _SUPERBLOCK_BYTES:
                return f"{len(head)} bytes"
            end = _recorded_end(head)
            size = os.fstat(file.fileno()).st_size
        if size >= end or not head.startswith(b"\x89HDF"):
            return ""
    return f"{size} of {end} bytes"


def _check_links(path: Path, data: h5py.Dataset) -> None:
    """Raise ValueError when a linked file is missing or truncated, where HDF5 itself would return zeros."""
    for linked in {Path(source.file_name) for source in data.virtual_sources()} if data.is_virtual else ():
        if not linked.is_file():
            raise ValueError(f"frames file {path} links to {linked}, which is missing; bring it back or import it anew")
        if cut := cut_short(linked):
            raise ValueError(f"frames file {path} links to {linked}, which is truncated ({cut})")


def _recorded_end(head: bytes) -> int:
    """Return the length of the file that its superblock records."""
    at = _END_AT.get(head[8], 28)
    return int.from_bytes(head[at : at + 8], "little")


def _span(start: int, stop: int) -> str:
    return f"frame {start}" if stop - start == 1 else f"frames {start} to {stop - 1}"


def _reason(error: Exception) -> str:
    """Return the message of the operating system, or else that of HDF5."""
    number = error_number(error)
    return str(error).strip("'\"") if number is None else os.strerror(number)


def error_number(error: Exception) -> int | None:
    """Return the errno of an error, also from the report of several lines that HDF5 makes of it; None without one."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    wrapped = re.search(r"errno = (\d+)", str(error))
    return int(wrapped[1]) if wrapped else None

"""Frames of a foreign file in the data root: copied, or linked by HDF5's virtual datasets.

In both cases a stream gets its own file with one dataset, like the files of our detectors.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xrm_sims.data.frames import FrameWriter
from xrm_sims.data.layout import Layout
from xrm_sims.exchange.foreign import ForeignScan
from xrm_sims.exchange.writing import Progress

DATASET = "/entry/data/data"
BLOCK = 32


@dataclass(frozen=True)
class LinkedFrames:
    """A file of links to frames, with the attributes of :class:`FrameWriter` that documents need."""

    uri: str
    parameters: dict[str, Any]
    count: int
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]


FrameFile = FrameWriter | LinkedFrames


class FrameFiles:
    """Frame files of one import; without :meth:`keep` they are removed at the end of the block."""

    def __init__(self, layout: Layout) -> None:
        self._stem = layout.frames / time.strftime("%Y-%m-%d") / f"{uuid.uuid4().hex[:12]}-imported"
        self._paths: list[Path] = []

    def keep(self) -> None:
        """Keep the files, which now belong to a run."""
        self._paths.clear()

    def __enter__(self) -> FrameFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)

    def write(self, stream: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> FrameWriter:
        """Return a new file for appending frames."""
        return FrameWriter(self._path(stream), DATASET, shape, dtype, {"units": "counts"})

    def copy(self, scan: ForeignScan, stream: str, progress: Progress) -> FrameWriter:
        """Copy the frames of a stream from the foreign file block by block.

        Raises ValueError naming the file when frames cannot be read, RuntimeError when they cannot be written.
        """
        frames = scan.frames[stream]
        count = len(frames.indices)
        with h5py.File(scan.path, "r") as source:
            data = source[frames.dataset]
            with self.write(stream, scan.shape, _native(data.dtype)) as writer:
                for start in range(0, count, BLOCK):
                    for frame in _read(scan.path, data, frames.indices[start : start + BLOCK]):
                        writer.append(frame)
                    progress(f"copying {stream}", min(start + BLOCK, count) / count)
        return writer

    def link(self, scan: ForeignScan, stream: str) -> LinkedFrames:
        """Create a file with links to the frames of the foreign file.

        Raises ValueError when the foreign file is truncated.
        """
        frames = scan.frames[stream]
        path = self._path(stream)
        with h5py.File(scan.path, "r") as source:
            data = source[frames.dataset]
            _read(scan.path, data, frames.indices[-1:])
            shape, dtype = data.shape, _native(data.dtype)
            if data.is_virtual:
                raise ValueError(f"{scan.path}: {frames.dataset} consists of links; import it with --copy")
        layout = h5py.VirtualLayout((len(frames.indices), *scan.shape), dtype)
        origin = h5py.VirtualSource(str(scan.path), frames.dataset, shape, dtype)
        for begin, end in _runs(frames.indices):
            first = int(frames.indices[begin])
            layout[begin:end] = origin[first : first + end - begin]
        with h5py.File(path, "x", libver="latest") as file:
            file.create_virtual_dataset(DATASET, layout).attrs["units"] = "counts"
        parameters = {"dataset": DATASET, "chunk_shape": [1, *scan.shape], "swmr": True}
        return LinkedFrames(f"file://localhost{path.as_posix()}", parameters, len(frames.indices), scan.shape, dtype)

    def _path(self, stream: str) -> Path:
        path = self._stem.with_name(f"{self._stem.name}-{stream}.h5")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RuntimeError(f"{path.parent}: cannot be created ({error.strerror})") from error
        self._paths.append(path)
        return path


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in native byte order. Raises ValueError for types that are not numbers."""
    if dtype.kind not in "uif":
        raise ValueError(f"frames: needs numbers, got {dtype}")
    return dtype.newbyteorder("=")


def _read(path: Path, data: h5py.Dataset, indices: NDArray[np.int64]) -> NDArray[Any]:
    try:
        return data[indices]
    except (OSError, RuntimeError) as error:
        which = f"{indices[0]} to {indices[-1]}" if len(indices) > 1 else f"{indices[0]}"
        raise ValueError(f"{path}: frames {which} of {data.name} cannot be read; is the file whole?") from error


def _runs(indices: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the (begin, end) positions of runs of consecutive indices."""
    begins = [0, *(np.flatnonzero(np.diff(indices) != 1) + 1).tolist(), len(indices)]
    return list(pairwise(begins))

"""Server-side file plugin like areaDetector's HDF5 plugin: the client reads only the path and index of a frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.data.frames import FrameWriter
from xrm_sims.epics.names import DATASET

DTYPE = np.dtype(np.uint32)


class FilePlugin:
    """Holds the last frame until it is written to one of the open files.

    Several files may be open at once, one per stream of a run; capturing into an open file continues it.
    ``frame_shape`` returns the shape of frames at the detector's present settings.
    """

    def __init__(self, frame_shape: Callable[[], tuple[int, ...]]) -> None:
        self._frame_shape = frame_shape
        self.path = ""
        self.name = ""
        self._held: NDArray[Any] | None = None
        self._files: dict[Path, FrameWriter] = {}

    @property
    def full_name(self) -> str:
        return str(Path(self.path) / self.name)

    @property
    def captured(self) -> int:
        """Number of frames in the file that is named now."""
        file = self._files.get(Path(self.full_name))
        return file.count if file else 0

    def hold(self, frame: NDArray[Any]) -> None:
        """Keep a frame until the next one."""
        self._held = frame

    def capture(self, on: bool) -> None:
        """Open the named file for frames of the detector's present shape, or close it.

        Raises ValueError without an absolute path, RuntimeError when the file cannot be created.
        """
        full = Path(self.full_name)
        if not on:
            file = self._files.pop(full, None)
            if file is not None:
                file.close()
        elif full not in self._files:
            if not full.is_absolute() or not self.name:
                raise ValueError(f"FilePath, FileName: need an absolute path and a name, got {self.full_name!r}")
            self._files[full] = FrameWriter(full, DATASET, self._frame_shape(), DTYPE, {"units": "counts"})

    def write(self) -> None:
        """Append the held frame to the named file and synchronise it to the disk."""
        file = self._files.get(Path(self.full_name))
        if file is None:
            raise ValueError(f"WriteFile: {self.full_name!r} is not being captured; put 1 to Capture first")
        if self._held is None:
            raise ValueError("WriteFile: no frame is held; put 1 to Acquire first")
        file.append(self._held)
        self._held = None

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

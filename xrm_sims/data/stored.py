"""Lazy arrays of the frames of one run, or of all parts of a raster."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.data.catalog import documents, find_run, parts_of, tiled_parts_of
from xrm_sims.data.frames import read_block

RASTER_KEY = "sector_counts"
DOSE_KEY = "fib_scan_dose_nc"
Place = tuple[dict[str, Any], int, int]  # stream resource, first index, one past the last


@dataclass(frozen=True)
class StoredFrames:
    """Frames (frame, then the axes of a frame) in the order of ``places``; ``frames[start:stop]`` reads the files."""

    places: list[Place]

    def __len__(self) -> int:
        return sum(stop - first for _, first, stop in self.places)

    def __getitem__(self, wanted: slice) -> NDArray[Any]:
        """Raises ValueError naming file and frame when one cannot be read."""
        begin, end, _ = wanted.indices(len(self))
        pieces, before = [], 0
        for resource, first, stop in self.places:
            low, high = max(begin - before, 0), min(end - before, stop - first)
            if low < high:
                pieces.append(read_block(resource, first + low, first + high))
            before += stop - first
        return np.concatenate(pieces)

    @cached_property
    def _one(self) -> NDArray[Any]:
        return self[:1]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), *self._one.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._one.dtype


def stored_frames(uid: str, key: str, data: Any = None, stream: str = "primary") -> tuple[StoredFrames, dict[str, Any]]:
    """Return the frames of an external key of a run, and the run's start document.

    Raises ValueError for an unknown uid and a run without this key.
    """
    from xrm_sims.data.run_summary import RunSummary  # event_model costs the command line 0.3 s

    run = RunSummary(documents(uid, data))
    places = [(file, datum["indices"]["start"], datum["indices"]["stop"]) for datum, file in run.datums_of(stream, key)]
    if not places:
        kind = run.start_doc.get("scan_type", "no scan type")
        raise ValueError(f"run {uid} ({kind}) has no {key} in its stream {stream!r}")
    return StoredFrames(places), dict(run.start_doc)


def stored_raster(uid: str, data: Any = None) -> tuple[StoredFrames, dict[str, Any]]:
    """Return the frames of all parts of a SIMS raster, and the start document of the first part.

    ``uid`` is the uid of any part. Frames are counts (frame, channel, row, column), from the original surface down.
    ``frame_indices`` of the start document lists the frames that exist.

    Raises ValueError as :func:`stored_frames` does.
    """
    frames: dict[int, Place] = {}
    starts: list[dict[str, Any]] = []
    empty: ValueError | None = None
    for part in parts_of(find_run(uid, data)):
        starts.append(dict(part.start))
        try:
            stored, _ = stored_frames(part.start["uid"], RASTER_KEY, data)
        except ValueError as error:
            if part.stop.get("num_events", {}).get("primary"):
                raise
            empty = error  # it was interrupted before its first frame
            continue
        each = [(resource, n, n + 1) for resource, first, stop in stored.places for n in range(first, stop)]
        frames |= dict(zip(part.start.get("frame_indices", range(len(each))), each, strict=False))
    if not frames:
        raise empty or ValueError(f"run {uid}: has no frames")
    order = sorted(frames)
    return StoredFrames([frames[index] for index in order]), starts[0] | {"frame_indices": order}


def stored_configuration(uid: str, data: Any = None, stream: str = "primary") -> dict[str, Any]:
    """Return the configuration of the devices of a stream, by key; empty when the run has none.

    Raises ValueError for an unknown uid.
    """
    run = find_run(uid, data)
    told = run[stream].metadata.get("configuration", {}) if stream in run else {}
    return {key: value for device in told.values() for key, value in device["data"].items()}


def raster_doses_nc(uid: str, data: Any = None) -> dict[int, float]:
    """Return the dose in nC on a raster's field at the middle of each frame, by frame number.

    The dose counts from the start of the raster over all parts, including frames that were drawn and lost.
    ``uid`` is the uid of any part. Raises ValueError for an unknown uid, and for a run without doses.
    """
    doses: dict[int, float] = {}
    before_nc = 0.0
    for part in tiled_parts_of(find_run(uid, data)):
        start = part.metadata["start"]
        notes = {stream: _doses_noted(part, stream) for stream in ("baseline", "dose")}
        if not notes["baseline"] or "frame_dose_nc" not in start:
            raise ValueError(f"run {start['uid']}: holds no dose of its frames ({DOSE_KEY})")
        first_nc, end_nc = notes["baseline"][0], max(notes["baseline"] + notes["dose"])
        for n, index in enumerate(start["frame_indices"]):
            # the plan may have ended between the last frame and its dose event
            after_nc = notes["dose"][n] if n < len(notes["dose"]) else end_nc
            doses[index] = before_nc + after_nc - first_nc - 0.5 * start["frame_dose_nc"]
        before_nc += end_nc - first_nc
    return doses


def _doses_noted(part: Any, stream: str) -> list[float]:
    """Return the cumulated scan doses of a stream by seq_num; the last event of each counts."""
    if stream not in part or DOSE_KEY not in part[stream]:
        return []
    told = dict(zip(part[stream]["seq_num"].read().tolist(), part[stream][DOSE_KEY].read().tolist(), strict=True))
    return [float(told[number]) for number in sorted(told)]


def read_counts(uid: str, key: str, data: Any = None, stream: str = "primary") -> tuple[NDArray[Any], dict[str, Any]]:
    """Read all of :func:`stored_frames` into memory; for images and rasters, not for projections.

    Raises ValueError as that does, and naming file and frame when one cannot be read.
    """
    frames, start = stored_frames(uid, key, data, stream)
    return frames[:], start


def read_raster(uid: str, data: Any = None) -> tuple[NDArray[Any], dict[str, Any]]:
    """Read all of :func:`stored_raster` into memory; raises as :func:`read_counts` does."""
    frames, start = stored_raster(uid, data)
    return frames[:], start

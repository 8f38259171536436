"""The raw frames of a tomography with their readings, for scan formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.frames.documents import FrameSet, TomographyConsumer
from xrm_sims.data.catalog import find_run, parts_of
from xrm_sims.data.frames import read_block
from xrm_sims.exchange.provenance import Provenance, provenance_of_runs
from xrm_sims.geometry import Geometry, geometry_from_dict
from xrm_sims.scan_type import ScanType

STREAMS = ("dark", "flat", "reference", "primary")


@dataclass(frozen=True, eq=False)
class RawScan:
    """All frames of all parts of a tomography, in the order of acquisition.

    streams : (n,) name of the stream of each frame, one of ``STREAMS``.
    frames : places, angles, currents and times of the n frames.
    starts : start document of each part.
    configuration : configuration in the descriptor of ``primary``.
    """

    starts: tuple[dict[str, Any], ...]
    geometry: Geometry
    streams: NDArray[np.str_]
    frames: FrameSet
    configuration: dict[str, Any]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    provenance: Provenance

    def of(self, stream: str) -> FrameSet:
        """Return the frames of one stream."""
        return self.frames.chosen(np.flatnonzero(self.streams == stream))

    @property
    def nbytes(self) -> int:
        return len(self.frames) * self.dtype.itemsize * int(np.prod(self.shape))

    @property
    def exposure_s(self) -> float | None:
        exposure_s = self.starts[0].get("exposure_s")
        return None if exposure_s is None else float(exposure_s)


def read_scan(uid: str, data: Any = None, licence: str | None = None) -> RawScan:
    """Return the frames of all parts of a tomography, reading only documents and one frame.

    Raises ValueError when there is no such run, when it is not a tomography or holds no projections.
    """
    starts, names, sets, configuration = [], [], [], {}
    for part in parts_of(find_run(uid, data)):
        consumer = TomographyConsumer()
        for name, doc in part.documents():
            consumer(name, doc)
            if name == "descriptor" and doc["name"] == "primary":
                configuration = doc["configuration"]
        start = dict(consumer.start_doc)
        if start.get("scan_type") != ScanType.TOMOGRAPHY or "geometry" not in start:
            raise ValueError(
                f"run {start.get('uid', uid)}: is a {start.get('scan_type', 'run of unknown type')}, this format "
                "needs a tomography; choose a format for images"
            )
        starts.append(start)
        for stream in STREAMS:
            sets.append(consumer.frames(stream))
            names.append(np.full(len(sets[-1]), stream))
    streams, frames = np.concatenate(names), sum(sets, FrameSet())
    if not (streams == "primary").any():
        raise ValueError(f"run {starts[0]['uid']}: has no projections to export")
    if np.isfinite(frames.time_s).all():
        order = np.argsort(frames.time_s, kind="stable")
        streams, frames = streams[order], frames.chosen(order)
    first = read_block(frames.places[0][0], frames.places[0][1], frames.places[0][1] + 1)
    geometry = geometry_from_dict(starts[0]["geometry"])
    provenance = provenance_of_runs(starts, "tomography", licence)
    return RawScan(tuple(starts), geometry, streams, frames, configuration, first.shape[1:], first.dtype, provenance)

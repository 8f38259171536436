"""Frames, geometry and settings of a tomography run from its documents.

The documents may come from a catalogue or directly from a RunEngine, in any order between start and stop: events singly
or in pages, stream datums one by one or merged into ranges.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.frames.data_warnings import format_list, warn
from xrm_sims.data.frames import read_block
from xrm_sims.data.run_summary import RunSummary
from xrm_sims.geometry import Geometry, geometry_from_dict
from xrm_sims.scan_type import ScanType

IMAGE_KEY = "widepix_image"
STREAMS = ("dark", "flat", "primary", "reference")
SAME_ANGLE_DEG = 1e-3
BLOCK = 32
PARTLY_FULL = 0.9


@dataclass
class FrameSet:
    """The frames of one stream in the order of their events: file and index of each, and its readings."""

    places: list[tuple[dict[str, Any], int]] = field(default_factory=list)
    angle_deg: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    current_na: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    time_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.places)

    def __add__(self, later: FrameSet) -> FrameSet:
        columns = ((getattr(self, name), getattr(later, name)) for name in ("angle_deg", "current_na", "time_s"))
        return FrameSet(self.places + later.places, *map(np.concatenate, columns))

    def chosen(self, keep: NDArray[np.int64]) -> FrameSet:
        return FrameSet([self.places[n] for n in keep], self.angle_deg[keep], self.current_na[keep], self.time_s[keep])

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield a range of the set and its frames (n, row, column), a few at a time.

        Raises ValueError naming file and frame when one is missing or cut off.
        """
        begin = 0
        while begin < len(self.places):
            resource, index = self.places[begin]
            end = begin + 1
            while end < min(len(self.places), begin + BLOCK) and self.places[end] == (resource, index + end - begin):
                end += 1
            yield slice(begin, end), read_block(resource, index, index + end - begin)
            begin = end

    def read(self) -> NDArray[Any]:
        """Return all frames (n, row, column); for flats, darks and references."""
        return np.concatenate([frames for _, frames in self.blocks()])


@dataclass(frozen=True)
class TomographyScan:
    """One run: nominal geometry, projections with one frame per angle, flats, darks and drift references.

    counter_end : counts from which a pixel of the frames is saturated.
    """

    start: dict[str, Any]
    geometry: Geometry
    flats: FrameSet
    darks: FrameSet
    bad_pixels: NDArray[np.bool_]
    counter_end: float = math.inf
    references: FrameSet = field(default_factory=FrameSet)
    projections: FrameSet = field(default_factory=FrameSet)
    missing_deg: tuple[float, ...] = ()
    angle_tolerance_deg: float = SAME_ANGLE_DEG

    @property
    def uid(self) -> str:
        return str(self.start["uid"])


class TomographyConsumer(RunSummary):
    """Collect the documents of one tomography run: call it with (name, document), then :meth:`scan`.

    After pause and resume the last event of each ``seq_num`` counts. ``finished`` is true after the stop document.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bad_pixels: list[int] = []
        self.counter_end = math.inf

    @property
    def finished(self) -> bool:
        return bool(self.stop_doc)

    @property
    def has_projections(self) -> bool:
        """Whether the run has projections; True for a run that is no tomography, which :meth:`scan` refuses."""
        return self.start_doc.get("scan_type") != ScanType.TOMOGRAPHY or bool(self.events_of("primary"))

    def start(self, doc: Any) -> None:
        if self.start_doc and self.start_doc["uid"] != doc["uid"]:
            raise ValueError(f"run {doc['uid']}: the consumer already gathers run {self.start_doc['uid']}")
        super().start(doc)

    def descriptor(self, doc: Any) -> None:
        super().descriptor(doc)
        for device in doc.get("configuration", {}).values():
            for key, value in device.get("data", {}).items():
                if key.endswith("bad_pixels"):
                    self._bad_pixels = np.asarray(value, int).ravel().tolist()
            self.counter_end = min(self.counter_end, _counter_end(device.get("data", {})))

    def scan(self) -> TomographyScan:
        """Return the scan, with a warning that names missing and doubled frames.

        Raises ValueError for a run that is no tomography, or has no flats, no projections or no geometry.
        """
        start = self.start_doc
        if not start:
            raise ValueError("documents: no start document among them, needs a tomography run")
        uid = start["uid"]
        if start.get("scan_type") != ScanType.TOMOGRAPHY:
            raise ValueError(f"run {uid}: is a {start.get('scan_type', 'run of unknown type')}, needs a tomography")
        if "geometry" not in start:
            raise ValueError(f"run {uid}: its start document has no geometry, needs what ConeGeometry holds")
        try:
            geometry = geometry_from_dict(start["geometry"])
        except ValueError as error:
            raise ValueError(f"run {uid}: {error}") from error
        sets = {name: self.frames(name) for name in STREAMS}
        if not len(sets["primary"]):
            raise ValueError(f"run {uid}: no projections, needs at least one frame with its event")
        if not len(sets["flat"]):
            raise ValueError(f"run {uid}: no flats, needs at least one image of the open beam")
        spacing = np.diff(np.sort(geometry.angles_deg))
        tolerance = max(0.25 * float(np.median(spacing)) if spacing.size else 0.0, SAME_ANGLE_DEG)
        projections, missing = _by_angle(uid, sets["primary"], self._planned(geometry.angles_deg), tolerance)
        bad, darks, references = self.bad_pixels(geometry.detector_shape), sets["dark"], sets["reference"]
        return TomographyScan(
            start, geometry, sets["flat"], darks, bad, self.counter_end, references, projections, missing, tolerance
        )

    def bad_pixels(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return a mask (row, column) of the pixels that the newest descriptor names as bad."""
        bad = np.zeros(shape, bool)
        bad.ravel()[[n for n in self._bad_pixels if n < bad.size]] = True
        return bad

    def _planned(self, angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the planned angles; those taken, where a run ended successfully with fewer."""
        taken = self.stop_doc.get("num_events", {}).get("primary", 0)
        return angles_deg[:taken] if taken and self.stop_doc.get("exit_status") == "success" else angles_deg

    def frames(self, stream: str) -> FrameSet:
        """Return the frames of a stream that have an event, by seq_num; the newest datum of a seq_num counts.

        Warns of events without a frame and frames without an event.
        """
        events, places = self._by_number(stream)
        for what, numbers in (("frame", set(events) - set(places)), ("event", set(places) - set(events))):
            if numbers:
                warn(f"run {self.start_doc['uid']}, stream {stream}: no {what} for {format_list(sorted(numbers))}")
        return frame_set(events, places, sorted(set(events) & set(places)))

    def _by_number(self, stream: str) -> tuple[dict[int, dict[str, Any]], dict[int, tuple[dict[str, Any], int]]]:
        """Return events' data and frames' places of a stream by seq_num; the last of each counts."""
        events = {int(event["seq_num"]): event["data"] for event in self.events_of(stream)}
        return events, {number: (file, n) for number, file, n in self.frame_places(stream, IMAGE_KEY)}


def frame_set(
    events: dict[int, dict[str, Any]], places: dict[int, tuple[dict[str, Any], int]], numbers: list[int]
) -> FrameSet:
    """Return the frames with these seq_nums, in this order."""
    keys = ("rotation_angle_deg", "beam_current_na", "instrument_time_s")
    columns = (np.array([float(events[n].get(key, np.nan)) for n in numbers]) for key in keys)
    return FrameSet([places[n] for n in numbers], *columns)


def _by_angle(
    uid: str, frames: FrameSet, nominal_deg: NDArray[np.float64], tolerance_deg: float
) -> tuple[FrameSet, tuple[float, ...]]:
    """Return the last frame of each angle, and the nominal angles without one; warns of angles with several."""
    if not np.isfinite(frames.angle_deg).all():
        raise ValueError(f"run {uid}: events without rotation_angle_deg, every projection needs its angle")
    keys = np.round(frames.angle_deg / SAME_ANGLE_DEG).astype(int)
    last = {key: n for n, key in enumerate(keys)}
    doubled = [key * SAME_ANGLE_DEG for key, times in Counter(keys.tolist()).items() if times > 1]
    if doubled:
        warn(f"run {uid}: more than one frame at {format_list(doubled, ' deg')}; the last of each is used")
    gap = np.abs(nominal_deg[:, None] - frames.angle_deg[None, :]).min(axis=1)
    missing = tuple(nominal_deg[gap > tolerance_deg].tolist())
    return frames.chosen(np.array(sorted(last.values()))), missing


def _counter_end(configuration: dict[str, Any]) -> float:
    """Return the counts of a full pixel from counter depth and binning in a detector's configuration.

    A binned pixel counts as full at nine tenths of its sum, where some of its counters are full.
    """
    table = {key.rpartition("widepix_")[2]: value for key, value in configuration.items()}
    if "counter_depth_bits" not in table:
        return math.inf
    binning = int(table.get("binning", 1))
    share = 1.0 if binning == 1 else PARTLY_FULL
    return share * binning**2 * (2.0 ** int(table["counter_depth_bits"]) - 1)


Documents = Iterable[tuple[str, dict[str, Any]]]


def documents_of(run: Any) -> Documents:
    """Return (name, document) pairs of a databroker or Tiled run, or of an iterable of such pairs."""
    source: Callable[[], Documents] | None = getattr(run, "documents", None)
    return source() if callable(source) else run


def merge_scans(parts: list[TomographyScan]) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    """Return the angles (n,) of all parts, ascending, with the (part, projection) to use: that of the latest part.

    Warns of angles that no part has.
    """
    chosen: dict[int, tuple[float, int, int]] = {}
    for part, scan in enumerate(parts):
        for n, angle in enumerate(scan.projections.angle_deg):
            chosen[round(angle / SAME_ANGLE_DEG)] = (float(angle), part, n)
    taken = np.array([angle for angle, _, _ in chosen.values()])
    candidates = sorted({angle for scan in parts for angle in scan.missing_deg})
    missing = [angle for angle in candidates if np.abs(taken - angle).min() > parts[0].angle_tolerance_deg]
    if missing:
        warn(f"run {parts[0].uid}: no projection at {format_list(missing, ' deg')}; reconstructed without")
    order = sorted(chosen)
    return np.array([chosen[key][0] for key in order]), [chosen[key][1:] for key in order]

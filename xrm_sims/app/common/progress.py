"""Progress with time left: of a run, from its documents; of a computation, from its callback."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from plans.preflight import duration
from xrm_sims.scan_type import ScanType

_UNITS: dict[str, str] = {
    ScanType.TOMOGRAPHY: "view",
    ScanType.SIMS_RASTER: "frame",
    ScanType.MILLING: "pass",
    ScanType.DEPOSITION: "pass",
    ScanType.SE_IMAGE: "image",
    ScanType.EDS_MAP: "map",
}


def _bar(total: int, label: str, unit: str) -> tqdm:
    # a log file gets a line every few seconds, a terminal a moving bar
    quiet = not sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=f"{label:<22}",
        unit=unit,
        file=sys.stderr,
        mininterval=5.0 if quiet else 0.2,
        ncols=100,
        leave=True,
    )


class Tally:
    """How far a run is, from its documents as they come: what was taken, and how long the rest will take at the pace
    so far, on the wall and on the instrument's own clock."""

    def __init__(self, documents: Iterable[tuple[str, Mapping[str, Any]]] = ()) -> None:
        self.start: Mapping[str, Any] = {}
        self.stop: Mapping[str, Any] | None = None
        self.taken = 0
        self._streams: dict[str, str] = {}
        self._marks: list[tuple[int, float, float]] = []  # taken, wall and instrument seconds: the first and the last
        for name, doc in documents:
            self(name, doc)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self.start = doc
        elif name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        elif name == "stop":
            self.stop = doc
        elif name in ("event", "event_page", "stream_datum"):
            self._count(name, doc)

    def _count(self, name: str, doc: Mapping[str, Any]) -> None:
        stream = self._streams.get(doc["descriptor"])
        if stream == "primary":
            # a point taken again after a pause carries the number it had
            numbers = doc["seq_nums"]["stop"] - 1 if name == "stream_datum" else doc["seq_num"]
            self.taken = max(self.taken, numbers if isinstance(numbers, int) else max(numbers))
        if name == "event" and stream in ("primary", "dose") and "instrument_time_s" in doc["data"]:
            self._marks[1:] = [(self.taken, doc["time"], doc["data"]["instrument_time_s"])]

    @property
    def kind(self) -> str:
        return str(self.start.get("scan_type", self.start.get("plan_name", "run")))

    @property
    def total(self) -> int:
        return int(self.start.get("num_points") or 1)

    @property
    def unit(self) -> str:
        return _UNITS.get(self.kind, "point")

    @property
    def left_s(self) -> tuple[float, float] | None:
        """Seconds left on the wall and on the instrument's clock; None before there are two points to go by."""
        if len(self._marks) < 2 or self.stop is not None:
            return None
        (first, wall, own), (last, wall_now, own_now) = self._marks
        if last <= first:
            return None
        rest = (self.total - self.taken) / (last - first)
        return (wall_now - wall) * rest, (own_now - own) * rest


class RunProgress:
    """A callback for the RunEngine: one bar per run, one step per projection, frame or milling pass, with the time
    left on the wall and, after it, on the instrument's clock.

    Runs of other plans than this project's have no bar.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._tally = Tally()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        try:
            self._show(name, doc)
        except OSError:  # a terminal or pipe that is gone must not end a scan
            self._bar = None

    def _show(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self._tally = Tally()
        self._tally(name, doc)
        if name == "start" and "scan_type" in doc:
            self._bar = _bar(self._tally.total, self._tally.kind.replace("_", " "), self._tally.unit)
        elif self._bar is not None and name == "stop":
            self._bar.close()
            self._bar = None
        elif self._bar is not None:
            if (left := self._tally.left_s) is not None:
                self._bar.set_postfix_str(f"instrument {duration(left[1])}", refresh=False)
            self._bar.update(max(0, self._tally.taken - self._bar.n))


@contextmanager
def stages() -> Iterator[Callable[[str, float], None]]:
    """``with stages() as progress: compute(progress=progress)``, called with a stage's name and its finished share."""
    bars: dict[str, tqdm] = {}

    def report(name: str, share: float) -> None:
        if name not in bars:
            bars[name] = _bar(100, name, "%")
        bars[name].update(round(100 * share) - bars[name].n)

    try:
        yield report
    finally:
        for bar in bars.values():
            bar.close()


@contextmanager
def timed(label: str, seconds: dict[str, float]) -> Iterator[None]:
    """Record how many seconds a stage took on the wall."""
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[label] = round(seconds.get(label, 0.0) + time.perf_counter() - began, 2)

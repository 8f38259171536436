"""Progress bars with the time left, for runs and for computations."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from plans.preflight import duration
from xrm_sims.data.run_summary import Document, RunSummary
from xrm_sims.scan_type import ScanType

if TYPE_CHECKING:
    from recon.kernels.progress import Progress  # recon imports numba, which sessions do not need

_UNITS: dict[str, str] = {
    ScanType.TOMOGRAPHY: "view",
    ScanType.SIMS_RASTER: "frame",
    ScanType.MILLING: "pass",
    ScanType.DEPOSITION: "pass",
    ScanType.SE_IMAGE: "image",
    ScanType.EDS_MAP: "map",
}


def _bar(total: int, label: str, unit: str) -> tqdm:
    return tqdm(
        total=total,
        desc=f"{label:<22}",
        unit=unit,
        file=sys.stderr,
        mininterval=0.2 if sys.stderr.isatty() else 5.0,  # a log file gets a line every few seconds
        ncols=100,
        leave=True,
    )


class Tally(RunSummary):
    """Counts what a run has taken, and estimates how long the rest takes at the pace so far, on the wall and on the
    instrument's own clock."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self._marks: list[tuple[int, float, float]] = []  # taken, wall and instrument seconds: the first and the last
        super().__init__(documents, keep_events=False)

    def event(self, doc: Any) -> Any:
        super().event(doc)
        if self.stream_of(doc) in ("primary", "dose") and "instrument_time_s" in doc["data"]:
            self._marks[1:] = [(self.taken, doc["time"], doc["data"]["instrument_time_s"])]
        return doc

    @property
    def taken(self) -> int:
        """Number of the last point; a point taken again after a pause carries the number it had."""
        return self.counts["primary"]

    @property
    def total(self) -> int:
        return int(self.start_doc.get("num_points") or 1)

    @property
    def unit(self) -> str:
        return _UNITS.get(self.kind, "point")

    @property
    def left_s(self) -> tuple[float, float] | None:
        """Seconds left in real time and on the instrument's clock; None before the second point."""
        if len(self._marks) < 2 or self.stop_doc:
            return None
        (first, wall, own), (last, wall_now, own_now) = self._marks
        if last <= first:
            return None
        rest = (self.total - self.taken) / (last - first)
        return (wall_now - wall) * rest, (own_now - own) * rest


class RunProgress:
    """Callback of the RunEngine: a bar for each run, with the time left in real time and on the instrument's clock.

    Runs of other plans than this project's have no bar.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._tally = Tally()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        try:
            self._show(name, doc)
        except OSError:  # a closed terminal or pipe must not end a scan
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
def stages() -> Iterator[Progress]:
    """Show a bar for each stage of a computation: ``with stages() as progress: compute(progress=progress)``."""
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
    """Add the real time of a stage to ``seconds``."""
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[label] = round(seconds.get(label, 0.0) + time.perf_counter() - began, 2)

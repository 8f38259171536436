"""Progress with time left: of a run, from its documents; of a computation, from its callback."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_UNITS = {
    "tomography": "view",
    "sims_raster": "frame",
    "milling": "pass",
    "deposition": "pass",
    "se_image": "image",
    "eds_map": "map",
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


class RunProgress:
    """A callback for the RunEngine: one bar per run, one step per projection, frame or pass of a pattern.

    Runs of other plans than this project's have no bar.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._primary: set[str] = set()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        try:
            self._show(name, doc)
        except OSError:  # a terminal or pipe that is gone must not end a scan
            self._bar = None

    def _show(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start" and "scan_type" in doc:
            kind = doc["scan_type"]
            total = doc.get("num_points") or 1
            self._primary.clear()
            self._bar = _bar(int(total), str(kind).replace("_", " "), _UNITS.get(kind, "point"))
        elif name == "descriptor" and doc.get("name") == "primary":
            self._primary.add(doc["uid"])
        elif self._bar is not None and name == "event" and doc["descriptor"] in self._primary:
            self._step(doc["seq_num"])
        elif self._bar is not None and name == "event_page" and doc["descriptor"] in self._primary:
            self._step(max(doc["seq_num"]))
        elif self._bar is not None and name == "stream_datum" and doc["descriptor"] in self._primary:
            self._step(doc["seq_nums"]["stop"] - 1)
        elif name == "stop" and self._bar is not None:
            self._bar.close()
            self._bar = None

    def _step(self, seq_num: int) -> None:
        # a point taken again after a pause carries the number it had
        assert self._bar is not None
        self._bar.update(max(0, seq_num - self._bar.n))


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

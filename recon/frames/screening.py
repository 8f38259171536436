"""Views that are not what they should be: seen while frames are read, named in warnings, left out."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from recon.frames.reports import listed, report

SAMPLE_PIXELS = 20_000
BEAM_OFF = 0.05  # of the median brightness of all views
SUDDEN = 1.5  # factor of brightness between a view and those around it
SUDDEN_SPREADS = 6.0  # in units of the usual step from view to view
AROUND = 5  # views on each side
LEAST_VIEWS = 2


class Screening:
    """Gathers what the frames of a scan look like and says which views to leave out.

    A view is left out when half its pixels are no numbers, when the beam was off or suddenly much darker or brighter
    than in the views around it (a round specimen changes little from view to view), or when its frame is a copy of an
    earlier one, which counting cannot produce.
    """

    def __init__(self, angles_deg: NDArray[np.float64]) -> None:
        self.angles_deg = angles_deg
        self._brightness = np.zeros(len(angles_deg))
        self._full = np.zeros(len(angles_deg), int)
        self._missing = np.zeros(len(angles_deg))
        self._first_seen: dict[int, int] = {}
        self._copies: dict[int, int] = {}

    def look(
        self,
        views: NDArray[np.int64],
        counts: NDArray[np.generic],
        beam: NDArray[np.float64],
        useless: NDArray[np.bool_],
        counter_end: float,
    ) -> None:
        """Frames (n, row, column) in the order they were taken, and the beam current of each (or ones)."""
        good = np.flatnonzero(~useless)
        good = good[:: 1 + len(good) // SAMPLE_PIXELS]
        for view, frame, current in zip(views.tolist(), counts, beam, strict=True):
            finite = np.isfinite(frame) if frame.dtype.kind == "f" else np.True_
            self._missing[view] = 1 - float(np.mean(finite))
            sample = frame.ravel()[good]
            read = sample < counter_end  # no NaN either
            self._brightness[view] = sample.sum(where=read, dtype=float) / max(np.count_nonzero(read), 1) / current
            if np.isfinite(counter_end):
                self._full[view] = np.count_nonzero((frame >= counter_end) & ~useless)
            earlier = self._first_seen.setdefault(zlib.crc32(frame.tobytes()), view)
            if earlier != view:
                self._copies[view] = earlier

    def keep(self, uid: str) -> NDArray[np.int64]:
        """Views to keep, by angle. Warns of all others and of saturated pixels; ValueError when hardly any is left."""
        typical = float(np.median(self._brightness))
        if not typical > 0:
            raise ValueError(f"run {uid}: most projections hold no counts; was the beam on?")
        broken = self._missing > 0.5
        dark = ~broken & (self._brightness < BEAM_OFF * typical)
        odd = _sudden(np.where(broken | dark, np.nan, self._brightness))
        copy = np.zeros(len(odd), bool)
        copy[list(self._copies)] = True
        copy &= ~(broken | dark)
        for which, why in (
            (broken, "no numbers in most pixels"),
            (dark, "hardly any counts, was the beam off?"),
            (odd & ~copy, "much darker or brighter than the views beside them"),
            (copy, "the same frame as an earlier view, counted once"),
        ):
            if which.any():
                report(f"run {uid}: {self._at(which)} left out: {why}")
        kept = np.flatnonzero(~(broken | dark | odd | copy))
        if len(kept) < LEAST_VIEWS:
            raise ValueError(f"run {uid}: {len(kept)} of {len(odd)} projections are usable, needs more")
        for which, what in (
            (self._full > 0, f"{self._full[kept].sum()} readings at the end of the counter"),
            (self._missing > 0, "readings that are no numbers"),
        ):
            if which[kept].any():
                report(f"run {uid}: {what} in the {self._at(which & ~broken)}; these are not trusted")
        return kept

    def _at(self, which: NDArray[np.bool_]) -> str:
        angles = self.angles_deg[which]
        return f"projection{'s' if len(angles) > 1 else ''} at {listed(angles, ' deg')}"


def _sudden(brightness: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Views that differ from the median of those around them by a factor and by more than views usually do."""
    level = np.log(np.maximum(brightness, 1e-9))
    usual = np.array([np.nanmedian(level[max(n - AROUND, 0) : n + AROUND + 1]) for n in range(len(level))])
    off = np.abs(level - usual)
    spread = 1.4826 * np.nanmedian(off)
    with np.errstate(invalid="ignore"):
        return np.asarray(off > max(np.log(SUDDEN), SUDDEN_SPREADS * spread))

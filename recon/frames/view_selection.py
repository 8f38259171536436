"""Views that show no usable image of the specimen: recorded while frames are read, named in warnings, left out."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from recon.frames.data_warnings import format_list, warn

SAMPLE_PIXELS = 20_000
BEAM_OFF = 0.05  # of the median brightness of all views
JUMP = 1.5  # factor of brightness between a view and its neighbours
JUMP_SPREADS = 6.0  # in units of the usual step from view to view
NEIGHBOURS = 5  # views on each side
LEAST_VIEWS = 2


class ViewSelection:
    """Record brightness and defects of the frames of a scan, and decide which views to leave out.

    A view is left out when half its pixels are no numbers, when the beam was off, when it is much darker or brighter
    than its neighbours (a round specimen changes little from view to view), or when its frame is a copy of an earlier
    one, which counting cannot produce.
    """

    def __init__(self, angles_deg: NDArray[np.float64]) -> None:
        self.angles_deg = angles_deg
        self._brightness = np.zeros(len(angles_deg))
        self._full = np.zeros(len(angles_deg), int)
        self._missing = np.zeros(len(angles_deg))
        self._first_with: dict[int, int] = {}  # checksum of a frame: first view that had it
        self._copies = np.zeros(len(angles_deg), bool)

    def record(
        self,
        views: NDArray[np.int64],
        counts: NDArray[np.generic],
        beam: NDArray[np.float64],
        useless: NDArray[np.bool_],
        counter_end: float,
    ) -> None:
        """Record frames (n, row, column) in the order they were taken, with the beam current of each, or ones."""
        good = np.flatnonzero(~useless)
        good = good[:: 1 + len(good) // SAMPLE_PIXELS]
        for view, frame, current in zip(views.tolist(), counts, beam, strict=True):
            finite = np.isfinite(frame) if frame.dtype.kind == "f" else np.True_
            self._missing[view] = 1 - float(np.mean(finite))
            sample = frame.ravel()[good]
            read = sample < counter_end  # False for NaN too
            self._brightness[view] = sample.sum(where=read, dtype=float) / max(np.count_nonzero(read), 1) / current
            if np.isfinite(counter_end):
                self._full[view] = np.count_nonzero((frame >= counter_end) & ~useless)
            self._copies[view] |= self._first_with.setdefault(zlib.crc32(frame.tobytes()), view) != view

    def select(self, uid: str, views: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the views to keep of these (default all, ascending by angle); warn of the others and of full pixels.

        Raises ValueError when fewer than two are left.
        """
        views = np.arange(len(self.angles_deg)) if views is None else views
        brightness, full, missing = self._brightness[views], self._full[views], self._missing[views]
        typical = float(np.median(brightness))
        if not typical > 0:
            raise ValueError(f"run {uid}: most projections hold no counts; was the beam on?")

        def named(which: NDArray[np.bool_]) -> str:
            return f"projection{'s' if which.sum() > 1 else ''} at {format_list(self.angles_deg[views][which], ' deg')}"

        broken = missing > 0.5
        dark = ~broken & (brightness < BEAM_OFF * typical)
        odd = _jumps(np.where(broken | dark, np.nan, brightness))
        copy = self._copies[views] & ~(broken | dark)
        for which, why in (
            (broken, "no numbers in most pixels"),
            (dark, "hardly any counts, was the beam off?"),
            (odd & ~copy, "much darker or brighter than the views beside them"),
            (copy, "the same frame as an earlier view, counted once"),
        ):
            if which.any():
                warn(f"run {uid}: {named(which)} left out: {why}")
        kept = np.flatnonzero(~(broken | dark | odd | copy))
        if len(kept) < LEAST_VIEWS:
            raise ValueError(f"run {uid}: {len(kept)} of {len(odd)} projections are usable, needs more")
        for which, what in (
            (full > 0, f"{full[kept].sum()} readings at the end of the counter"),
            (missing > 0, "readings that are no numbers"),
        ):
            if which[kept].any():
                warn(f"run {uid}: {what} in the {named(which & ~broken)}; these are not trusted")
        return views[kept]


def _jumps(brightness: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which views differ from the median of their neighbours by a factor and by more than views usually do."""
    level = np.log(np.maximum(brightness, 1e-9))
    usual = np.array([np.nanmedian(level[max(n - NEIGHBOURS, 0) : n + NEIGHBOURS + 1]) for n in range(len(level))])
    off = np.abs(level - usual)
    spread = 1.4826 * np.nanmedian(off)
    with np.errstate(invalid="ignore"):
        return np.asarray(off > max(np.log(JUMP), JUMP_SPREADS * spread))

"""From raw counts to line integrals: darks, flats, beam current, bad pixels, and how far each ray can be trusted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_COUNTS = 0.5  # stands for zero counts in the logarithm: the median of a posterior after counting nothing
DEAD_FRACTION = 0.1  # a pixel whose flat is below this share of the median flat is dead
AIR_LEVEL = 0.03  # columns whose mean integral stays below this share of the largest are open air
LEAST_AIR_COLUMNS = 4


class FlatField:
    """Open beam and dark level of every pixel, and which pixels are of no use.

    Parameters
    ----------
    flats : (n, row, column) counts of the open beam.
    darks : (n, row, column) counts without beam at the same exposure, or None.
    current_na : (n,) beam current of each flat, or None when nobody knows.
    bad_pixels : (row, column) True where a pixel is of no use, or None; dead pixels are found from the flats as well.

    Raises
    ------
    ValueError naming the argument: shapes that do not fit, NaN, flats without counts.
    """

    def __init__(
        self,
        flats: ArrayLike,
        darks: ArrayLike | None = None,
        *,
        current_na: ArrayLike | None = None,
        bad_pixels: ArrayLike | None = None,
    ) -> None:
        stack = _stack("flats", flats)
        self.shape: tuple[int, int] = stack.shape[1:]
        self.dark = np.zeros(self.shape) if darks is None else _stack("darks", darks, self.shape).mean(axis=0)
        self.reference_na: float | None = None
        if current_na is not None:
            self.reference_na = float(_per_frame("flat_current_na", current_na, len(stack)).mean())
        signal = stack.sum(axis=0) - len(stack) * self.dark
        self.open_beam = signal / len(stack)  # at the mean current
        self.flat_counts = np.maximum(signal, 1.0)
        typical = float(np.median(self.open_beam))
        if not typical > 0:
            zero = np.count_nonzero(self.open_beam <= 0)
            raise ValueError(
                f"flats: {zero} of {self.open_beam.size} pixels counted nothing above the darks; needs an open beam"
            )
        self.bad = self.open_beam < DEAD_FRACTION * typical
        if bad_pixels is not None:
            given = np.asarray(bad_pixels, bool)
            if given.shape != self.shape:
                raise ValueError(f"bad_pixels: got shape {given.shape}, the flats are {self.shape}")
            self.bad |= given
        if self.bad.all():
            raise ValueError("bad_pixels: every pixel is bad, needs some that work")
        self._neighbours = [(r, c, *_good_neighbours(self.bad, r, c)) for r, c in np.argwhere(self.bad)]

    def integrals(
        self, counts: ArrayLike, current_na: ArrayLike | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Line integrals and inverse variances of projections.

        Parameters
        ----------
        counts : (n, row, column).
        current_na : (n,) beam current of each projection; scales the open beam. Needed when the flats' is known.

        Returns
        -------
        p : (n, row, column) float32, ln(open beam / max(counts - dark, 0.5)); bad pixels filled from their neighbours.
        weights : (n, row, column) float32, 1 / variance of p = 1 / (1 / counts + 1 / flat counts); bad pixels 0.
        """
        raw = _stack("counts", counts, self.shape)
        beam = np.ones(len(raw), np.float32)
        if (current_na is None) != (self.reference_na is None):
            raise ValueError("current_na: known for either flats or projections only, needs both or none")
        if current_na is not None and self.reference_na is not None:
            beam = (_per_frame("current_na", current_na, len(raw)) / self.reference_na).astype(np.float32)
        signal = np.maximum(raw - self.dark.astype(np.float32), np.float32(LEAST_COUNTS))
        full = np.where(self.bad, 1.0, np.maximum(self.open_beam, LEAST_COUNTS)).astype(np.float32)
        p = np.log(full * beam[:, None, None] / signal)
        weights = signal * self.flat_counts.astype(np.float32) / (signal + self.flat_counts.astype(np.float32))
        for r, c, rows, columns in self._neighbours:
            p[:, r, c] = p[:, rows, columns].mean(axis=1)
        weights[:, self.bad] = 0
        return p, weights


def line_integrals(
    projections: ArrayLike,
    flats: ArrayLike,
    darks: ArrayLike | None = None,
    *,
    current_na: ArrayLike | None = None,
    flat_current_na: ArrayLike | None = None,
    bad_pixels: ArrayLike | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Line integrals (angle, row, column) and trust in them (0 to 1) from raw counts.

    Flats are averaged and scaled by the beam current; where open air is left beside the specimen it fixes the beam of
    each view. See :class:`FlatField` for arguments and errors.
    """
    field = FlatField(flats, darks, current_na=flat_current_na, bad_pixels=bad_pixels)
    p, variance = field.integrals(projections, current_na)
    level_air(p, variance)
    return p, trust(variance)


def level_air(p: NDArray[np.float32], weights: NDArray[np.float32]) -> bool:
    """Shift each view so that the open air at its left and right is zero; False when there is no air to see."""
    columns = np.median(p, axis=(0, 1)) if len(p) < 64 else np.median(p[:: len(p) // 64], axis=(0, 1))
    top = float(columns.max())
    air = columns < AIR_LEVEL * top if top > 10 * np.abs(columns[:2]).max() else np.zeros(len(columns), bool)
    left = len(air) if air.all() else int(np.argmin(air))
    right = len(air) if air.all() else int(np.argmin(air[::-1]))
    if min(left, right) < LEAST_AIR_COLUMNS or air.all():
        return False
    left, right = max(left // 2, 2), max(right // 2, 2)  # the specimen wanders, so keep away from it
    margin = np.r_[0:left, p.shape[2] - right : p.shape[2]]
    for view, trusted in zip(p, weights, strict=True):
        w = trusted[:, margin]
        total = float(w.sum())
        if total > 0:
            view -= np.float32((w * view[:, margin]).sum() / total)
    return True


def trust(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse variances as trust from 0 to 1: a typical ray of the specimen and all better ones have 1."""
    sample = weights[:: max(1, len(weights) // 64)]
    typical = float(np.median(sample[sample > 0])) if (sample > 0).any() else 1.0
    return np.minimum(weights / np.float32(typical), np.float32(1.0))


def _stack(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    array = np.asarray(value, np.float32)
    if array.ndim != 3 or not len(array) or (shape is not None and array.shape[1:] != shape):
        needs = "(n, row, column)" if shape is None else f"(n, {shape[0]}, {shape[1]})"
        raise ValueError(f"{name}: got shape {array.shape}, needs {needs} with at least one frame")
    bad = [n for n, frame in enumerate(array) if not math.isfinite(float(frame.sum(dtype=np.float64)))]
    if bad:
        raise ValueError(f"{name}: frame {bad[0]} holds numbers that are not finite, needs counts")
    return array


def _per_frame(name: str, value: ArrayLike, n: int) -> NDArray[np.float64]:
    array = np.asarray(value, float)
    if array.shape != (n,) or not np.isfinite(array).all() or (array <= 0).any():
        raise ValueError(f"{name}: needs {n} positive numbers, one per frame, got shape {array.shape}")
    return array


def _good_neighbours(bad: NDArray[np.bool_], r: int, c: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    reach = 1
    while True:
        top, left = max(r - reach, 0), max(c - reach, 0)
        rows, columns = np.nonzero(~bad[top : r + reach + 1, left : c + reach + 1])
        if len(rows):
            return rows + top, columns + left
        reach += 1

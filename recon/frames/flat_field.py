"""Line integrals and their weights from raw counts, with darks, flats, beam current and bad pixels."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numba import float32, njit, prange
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, median_filter

from recon.frames.data_warnings import format_list, warn
from recon.frames.outliers import fill_unweighted, remove_outliers
from recon.frames.rings import remove_rings

Float = TypeVar("Float", bound=np.floating[Any])

LEAST_COUNTS = 0.5  # in place of zero counts in the logarithm; about the median of the posterior after zero counts
DEAD_FRACTION = 0.1  # a pixel whose flat is below this share of the median flat is dead
HOT_FRACTION = 0.1  # a pixel whose dark is above this share of the median flat is hot
OFF_LEVEL = 0.3  # a flat whose brightness differs more from the median does not show the open beam
OUTLIER_SIGMAS = 6.0  # of a reading about the median of its pixel
NOISY_SIGMAS = 5.0
NOISY_SHARE = 0.75  # a pixel with a smaller share of usable flats is noisy
SEAM_SIGMAS, SEAM_CHANGE = 6.0, 0.02  # the larger of both is the least departure of a seam from its neighbours
SEAM_TRUST = 0.5  # a pixel beside a chip seam collects over a wider, lopsided area
ROUND_PAUSE = 5.0  # a pause longer by this factor than the median one begins a new round of flats
SMOOTH_PX = 4.0  # of the change of the beam's profile from round to round
CHANGED_SIGMAS = 2.0  # rms; rounds of flats that differ less are one
AIR_LEVEL = 0.03  # columns whose mean integral stays below this share of the largest are open air
LEAST_AIR_COLUMNS = 4


class FlatField:
    """Open beam and dark level of every pixel, and which pixels are unusable.

    Flats are summed at their own brightness, without readings that counting statistics exclude. Where rounds of flats
    differ by more than counting explains, the open beam is interpolated in time. Unusable are dead pixels, hot ones
    (from the darks), saturated ones, and noisy ones, whose flats scatter more than counting does.

    Parameters
    ----------
    flats : (n, row, column) counts of the open beam.
    darks : (n, row, column) counts without beam at the same exposure, or None.
    current_na : (n,) beam current of each flat, or None where unknown.
    bad_pixels : (row, column) True where a pixel is unusable, or None; more are found from flats and darks.
    times_s : (n,) time of each flat; None for a single round.
    counter_end : counts of a full counter; None to find it from readings that accumulate there.

    Attributes
    ----------
    open_beam : (row, column) mean counts above the dark at ``reference_na``.
    bad : (row, column) pixels that are filled and have no weight.
    seams : (column,) columns beside a chip seam, which have half the weight.
    variance_per_count : from the scatter of the flats; 1 for a counting detector.

    Warns of flats that are left out. Raises ValueError naming the argument for shapes that do not fit, NaN, and flats
    without counts.
    """

    def __init__(
        self,
        flats: ArrayLike,
        darks: ArrayLike | None = None,
        *,
        current_na: ArrayLike | None = None,
        bad_pixels: ArrayLike | None = None,
        times_s: ArrayLike | None = None,
        counter_end: float | None = None,
    ) -> None:
        stack = stack_of("flats", flats)
        self.shape: tuple[int, int] = stack.shape[1:]
        self.counter_end = full_counter(stack) if counter_end is None else float(counter_end)
        full = (stack >= self.counter_end).any(axis=0)
        if 2 * np.count_nonzero(full) > full.size:
            raise ValueError(
                f"flats: {np.count_nonzero(full)} of {full.size} pixels are at the counter's end of "
                f"{self.counter_end:g} counts; needs a shorter exposure or a deeper counter"
            )
        self.dark = np.zeros(self.shape, np.float32)
        if darks is not None:
            self.dark = _dark_level(stack_of("darks", darks, self.shape))
        stack = stack - self.dark
        mean = stack.mean(axis=0)
        if not np.median(mean) > 0:
            raise ValueError(
                f"flats: {np.count_nonzero(mean <= 0)} of {mean.size} pixels counted nothing above the darks; "
                "needs an open beam"
            )
        current = None if current_na is None else _per_frame("flat_current_na", current_na, len(stack))
        when = np.zeros(len(stack)) if times_s is None else _per_frame("flat_times_s", times_s, len(stack), least=None)
        brightness, kept = _brightness(stack, current)
        stack, brightness, when = stack[kept], brightness[kept], when[kept]
        self.reference_na = None if current is None else float(current[kept].mean())
        rounds = _rounds(when)
        used, scatter, self.variance_per_count = _scatter(stack, brightness, rounds)
        stack *= used
        exposure = np.tensordot(brightness, used, 1)
        self.open_beam = (stack.sum(axis=0) / np.maximum(exposure, 1e-6)).astype(np.float32)
        self.flat_counts = np.maximum(stack.sum(axis=0), 1.0)
        typical = float(np.median(self.open_beam))
        self.bad = (self.open_beam < DEAD_FRACTION * typical) | (self.dark > HOT_FRACTION * typical) | full
        self.bad |= scatter > NOISY_SIGMAS
        if bad_pixels is not None:
            given = np.asarray(bad_pixels, bool)
            if given.shape != self.shape:
                raise ValueError(f"bad_pixels: got shape {given.shape}, the flats are {self.shape}")
            self.bad |= given
        if self.bad.all():
            raise ValueError("bad_pixels: every pixel is bad, needs some that work")
        self.seams = _seams(self.open_beam, self.bad)
        self._trust = np.where(self.bad, 0.0, np.where(self.seams, SEAM_TRUST, 1.0)).astype(np.float32)
        self._round_s = np.array([when[members].mean() for members in rounds])
        got = np.stack([stack[members].sum(axis=0) for members in rounds])
        due = np.stack([np.tensordot(brightness[members], used[members], 1) for members in rounds]) * self.open_beam
        self._change = _change(got * ~self.bad, due * ~self.bad, self.variance_per_count)

    def integrals(
        self, counts: ArrayLike, current_na: ArrayLike | None = None, times_s: ArrayLike | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute line integrals and inverse variances of projections.

        Parameters
        ----------
        counts : (n, row, column); readings that are not finite or at the counter's end get no weight.
        current_na : (n,) beam current of each projection, which scales the open beam; needed if the flats have one.
        times_s : (n,) time of each projection; without it the mean of all rounds of flats is used.

        Returns
        -------
        p : (n, row, column) float32, ln(open beam / max(counts - dark, 0.5)); rays without weight are filled from
            their neighbours.
        weights : (n, row, column) float32, 1 / variance of p = 1 / (1 / counts + 1 / flat counts), half of it beside
            chip seams; 0 for unusable pixels and readings.
        """
        raw = np.asarray(counts, np.float32)
        if raw.ndim != 3 or raw.shape[1:] != self.shape:
            raise ValueError(f"counts: got shape {raw.shape}, needs (n, {self.shape[0]}, {self.shape[1]})")
        beam = np.ones(len(raw))
        if (current_na is None) != (self.reference_na is None):
            raise ValueError("current_na: known for either flats or projections only, needs both or none")
        if current_na is not None and self.reference_na is not None:
            beam = _per_frame("current_na", current_na, len(raw)) / self.reference_na
        change, at = np.ones((1, *self.shape), np.float32), np.zeros(len(raw))
        if times_s is not None and self._change is not None:
            when = _per_frame("times_s", times_s, len(raw), least=None)
            change, at = self._change, np.interp(when, self._round_s, np.arange(len(self._change)))
        p, weights = np.empty_like(raw), np.empty_like(raw)
        _logarithm(
            raw,
            self.dark,
            self.open_beam,
            change,
            at,
            self.flat_counts,
            self._trust,
            np.log(beam).astype(np.float32),
            np.float32(self.counter_end),
            np.float32(1.0 / self.variance_per_count),
            p,
            weights,
        )
        fill_unweighted(p, weights)
        return p, weights


def line_integrals(
    projections: ArrayLike,
    flats: ArrayLike,
    darks: ArrayLike | None = None,
    *,
    current_na: ArrayLike | None = None,
    flat_current_na: ArrayLike | None = None,
    bad_pixels: ArrayLike | None = None,
    counter_end: float | None = None,
    outliers: bool = True,
    rings: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute line integrals (angle, row, column) and weights (0 to 1) from raw counts of views ordered by angle.

    Flats are averaged and scaled by the beam current; open air beside the specimen fixes the beam of each view.
    ``outliers`` are replaced and get no weight (:func:`recon.frames.outliers.remove_outliers`); constant errors of
    pixels, which would make ``rings``, are removed (:func:`recon.frames.rings.remove_rings`). See :class:`FlatField`
    for arguments and errors.
    """
    counts = stack_of("counts", projections)
    end = full_counter(counts) if counter_end is None else counter_end
    field = FlatField(
        flats, darks, current_na=flat_current_na, bad_pixels=bad_pixels, counter_end=end if math.isfinite(end) else None
    )
    full = [n for n, frame in enumerate(counts) if (frame >= field.counter_end).any()]
    if full:
        share = np.mean(counts[full] >= field.counter_end)
        warn(
            f"projections: {share:.2%} of the pixels in frames {format_list(full)} are at the counter's end of "
            f"{field.counter_end:g} counts; these are not trusted"
        )
    p, variance = field.integrals(counts, current_na)
    clean(p, variance, [np.arange(len(p))], outliers=outliers, rings=rings)
    return p, relative_weights(variance)


def clean(
    p: NDArray[np.float32],
    weights: NDArray[np.floating],
    parts: list[NDArray[np.int64]],
    *,
    variance: float = 1.0,
    outliers: bool = True,
    rings: bool = True,
) -> NDArray[np.float32]:
    """Replace outliers, level the air and remove rings in place; return the sum of the ring errors (row, column).

    Parameters
    ----------
    p, weights : (angle, row, column) line integrals by angle and their inverse variances in units of 1 / ``variance``.
    parts : views that share their flats.
    """
    if outliers:
        remove_outliers(p, weights, variance=variance)
    level_air(p, weights)
    return sum((remove_rings(p, weights, part) for part in parts if rings), np.zeros(p.shape[1:], np.float32))


def full_counter(counts: NDArray[np.float32]) -> float:
    """Return the end of a counter, 2^n - 1, if readings accumulate there, else infinity."""
    top = float(counts.max())
    if top < 255 or math.log2(top + 1) % 1:
        return math.inf
    here, below = np.count_nonzero(counts >= top), np.count_nonzero((counts >= top - 1) & (counts < top))
    return top if here > 10 + 3 * below else math.inf


def level_air(p: NDArray[np.float32], weights: NDArray[np.floating]) -> None:
    """Shift each view in place so that the open air at its left and right is zero, where there is air."""
    columns = np.median(p, axis=(0, 1)) if len(p) < 64 else np.median(p[:: len(p) // 64], axis=(0, 1))
    top = float(columns.max())
    air = columns < AIR_LEVEL * top if top > 10 * np.abs(columns[:2]).max() else np.zeros(len(columns), bool)
    left = len(air) if air.all() else int(np.argmin(air))
    right = len(air) if air.all() else int(np.argmin(air[::-1]))
    if min(left, right) < LEAST_AIR_COLUMNS or air.all():
        return
    left, right = max(left // 2, 2), max(right // 2, 2)  # keeps a distance, because the specimen may move
    margin = np.r_[0:left, p.shape[2] - right : p.shape[2]]
    for view, trusted in zip(p, weights, strict=True):
        w = trusted[:, margin].astype(np.float32)
        total = float(w.sum())
        if total > 0:
            view -= np.float32((w * view[:, margin]).sum() / total)


def relative_weights(weights: NDArray[Float]) -> NDArray[Float]:
    """Scale inverse variances in place to weights from 0 to 1: the median ray and all better ones have 1."""
    weights /= weights.dtype.type(typical_weight(weights))
    np.minimum(weights, 1, out=weights)
    return weights


def typical_weight(weights: NDArray[np.floating]) -> float:
    """Return the median of the positive weights of a sample of views."""
    sample = weights[:: max(1, len(weights) // 64)].astype(np.float32)
    return float(np.median(sample[sample > 0])) if (sample > 0).any() else 1.0


def stack_of(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    """Return frames (n, row, column) as float32; ValueError naming those that hold NaN."""
    array = np.asarray(value, np.float32)
    if array.ndim != 3 or not len(array) or (shape is not None and array.shape[1:] != shape):
        needs = "(n, row, column)" if shape is None else f"(n, {shape[0]}, {shape[1]})"
        raise ValueError(f"{name}: got shape {array.shape}, needs {needs} with at least one frame")
    bad = [n for n, frame in enumerate(array) if not math.isfinite(float(frame.sum(dtype=np.float64)))]
    if bad:
        raise ValueError(f"{name}: numbers that are not finite in frames {format_list(bad)}; needs counts")
    return array


def _per_frame(name: str, value: ArrayLike, n: int, least: float | None = 0.0) -> NDArray[np.float64]:
    array = np.asarray(value, float)
    if array.shape != (n,) or not np.isfinite(array).all() or (least is not None and (array <= least).any()):
        kind = "numbers" if least is None else "positive numbers"
        raise ValueError(f"{name}: needs {n} {kind}, one per frame, got shape {array.shape}")
    return array


def _dark_level(darks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of each pixel without readings beyond six standard deviations of counting about its median."""
    middle = np.median(darks, axis=0)
    used = np.abs(darks - middle) <= OUTLIER_SIGMAS * np.sqrt(middle + 1)
    return ((darks * used).sum(axis=0) / np.maximum(used.sum(axis=0), 1)).astype(np.float32)


def _brightness(
    flats: NDArray[np.float32], current: NDArray[np.float64] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the brightness of each flat relative to their mean, and which show the open beam; warns of the others."""
    level = np.median(flats.reshape(len(flats), -1), axis=1)
    expected = np.ones(len(flats)) if current is None else current / current.mean()
    relative = level / expected
    lit = np.sort(relative[relative > DEAD_FRACTION * relative.max()])
    relative /= lit[len(lit) // 2]
    kept = np.abs(relative - 1) <= OFF_LEVEL
    if not kept.all():
        warn(
            f"flats: frames {format_list(np.flatnonzero(~kept))} of {len(flats)} are not as bright as the others "
            f"({format_list(relative[~kept].round(2))} of the median); left out"
        )
    brightness = level if current is None else current
    return (brightness / brightness[kept].mean()).astype(np.float32), kept


def _rounds(when: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Return groups of flats that were taken right after each other."""
    order = np.argsort(when, kind="stable")
    pause = np.diff(when[order])
    begins = np.flatnonzero(pause > ROUND_PAUSE * np.median(pause)) + 1 if len(pause) > 1 else np.zeros(0, int)
    return np.split(order, begins)


def _scatter(
    flats: NDArray[np.float32], brightness: NDArray[np.float32], rounds: list[NDArray[np.int64]]
) -> tuple[NDArray[np.bool_], NDArray[np.float64], float]:
    """Return usable readings (n, row, column), excess scatter of each pixel in sigmas, median variance per count.

    Square roots of counts have a standard deviation of 1/2 for any counts; the cube root of their mean square over the
    flats of a round is nearly normal (E. B. Wilson, M. M. Hilferty, PNAS 17 (1931) 684).
    """
    used = np.ones(flats.shape, bool)
    degrees = len(flats) - len(rounds)
    if degrees < 1:
        return used, np.zeros(flats.shape[1:]), 1.0
    root = 2 * np.sqrt(np.maximum(flats / brightness[:, None, None], 0))
    normal = 1 - 2 / (9 * degrees)

    def squares() -> NDArray[np.float64]:
        total = np.zeros(flats.shape[1:])
        for members in rounds:
            kept = used[members]
            mean = (root[members] * kept).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
            total += (np.square(root[members] - mean) * kept).sum(axis=0)
        return total / degrees

    variance = float(np.median(squares())) / normal**3
    if variance < 1e-6:  # simulated flats without noise
        return used, np.zeros(flats.shape[1:]), 1.0
    for members in rounds:
        if len(members) > 2:
            off = np.abs(root[members] - np.median(root[members], axis=0))
            used[members] = off <= OUTLIER_SIGMAS * math.sqrt(variance)
    deviation = (np.cbrt(squares() / variance) - normal) / math.sqrt(2 / (9 * degrees))
    return used, np.where(used.mean(axis=0) < NOISY_SHARE, np.inf, deviation), variance


def _seams(open_beam: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which columns count more or less than their neighbours, as those beside the seam of two chips do."""
    profile = np.ma.median(np.ma.array(open_beam, mask=bad), axis=0).filled(np.nan)
    known = np.isfinite(profile)
    profile = np.interp(np.arange(len(profile)), np.flatnonzero(known), profile[known])
    departure = profile / median_filter(profile, 9, mode="nearest") - 1
    typical = 1.4826 * np.median(np.abs(departure))
    return np.asarray(np.abs(departure) > max(SEAM_SIGMAS * typical, SEAM_CHANGE))


def _change(got: NDArray[np.float32], due: NDArray[np.float32], variance: float) -> NDArray[np.float32] | None:
    """Return the open beam (round, row, column) of each round relative to the mean; None where counting explains it."""
    if len(got) < 2:
        return None
    seen, mean = (gaussian_filter(counts, (0, SMOOTH_PX, SMOOTH_PX), mode="nearest") for counts in (got, due))
    smooth = seen / np.maximum(mean, 1e-6)
    pixels = 4 * math.pi * SMOOTH_PX**2  # that the smoothing averages
    excess = (smooth - 1) * np.sqrt(mean * pixels / variance)
    alone = np.abs(2 * (np.sqrt(got.clip(0)) - np.sqrt(due * smooth))) > OUTLIER_SIGMAS * math.sqrt(variance)
    if np.sqrt(np.mean(excess**2)) < CHANGED_SIGMAS and not alone.any():
        return None
    return np.where(alone & (got > 0), got / np.maximum(due, 1e-6), np.maximum(smooth, 1e-3)).astype(np.float32)


@njit(cache=True, parallel=True)
def _logarithm(raw, dark, open_beam, change, at, flat_counts, trust, log_beam, end, precision, p, weights):
    views, rows, columns = raw.shape
    for n in prange(views):
        before = int(at[n])
        after, share = min(before + 1, len(change) - 1), float32(at[n] - before)
        for r in range(rows):
            for c in range(columns):
                reading = raw[n, r, c]
                if trust[r, c] == 0 or not reading < end:  # NaN is not
                    p[n, r, c] = weights[n, r, c] = 0.0
                    continue
                signal = max(reading - dark[r, c], float32(LEAST_COUNTS))
                lit = open_beam[r, c] * (change[before, r, c] * (1 - share) + change[after, r, c] * share)
                p[n, r, c] = math.log(lit / signal) + log_beam[n]
                weights[n, r, c] = trust[r, c] * precision * signal * flat_counts[r, c] / (signal + flat_counts[r, c])

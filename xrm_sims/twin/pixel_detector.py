"""Counts of the photon-counting detector, drawn from the mean counts of each pixel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrm_sims.settings import Settings
from xrm_sims.twin.charge_sharing import CrossTalk
from xrm_sims.twin.xray import bin_pixels, binned_shape

_STREAMS = 8  # streams of random numbers in one frame, independent of the number of threads
_ALONE = CrossTalk()


class PixelDetector:
    """One WidePIX: gain map and bad pixels from a seed, and readout. It has no state."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._settings = settings.detector
        shape = (self._settings.rows, self._settings.columns)
        rng = np.random.default_rng([seed, 4])
        gain = np.clip(rng.normal(1.0, self._settings.gain_dispersion, shape), 0.0, None)
        bad = rng.random(shape) < self._settings.bad_pixel_fraction
        self._hot = bad & (rng.random(shape) < self._settings.hot_share_of_bad)
        self._dead = bad & ~self._hot
        seams = np.arange(self._settings.chip_columns, self._settings.columns, self._settings.chip_columns)
        gain[:, np.concatenate([seams - 1, seams])] *= self._settings.seam_width_factor
        self._response = np.where(self._dead, 0.0, gain).astype(np.float32)
        dark = np.where(self._hot, self._settings.hot_rate_cps, self._settings.dark_rate_cps)
        self._dark_cps = np.where(self._dead, 0.0, dark).astype(np.float32)

    def read(
        self,
        expected: ArrayLike,
        *,
        exposure_s: float,
        counter_depth_bits: int,
        binning: int,
        rng: np.random.Generator,
        crosstalk: CrossTalk = _ALONE,
    ) -> NDArray[np.uint32]:
        """Draw counts (rows, columns) for the ``expected`` counts per binned pixel.

        Gain, dead time, darks, hot pixels and counter depth act on each physical pixel; binning adds the readings.
        The counts of a pixel are a Poisson number; ``crosstalk`` correlates neighbours, because a photon that two of
        them count is drawn once. ValueError for a wrong shape or exposure.
        """
        photons = np.asarray(expected, dtype=np.float32)
        wanted = binned_shape(self._settings.rows, self._settings.columns, binning)
        if photons.shape != wanted:
            raise ValueError(f"expected: needs shape {wanted} at binning {binning}, got {photons.shape}")
        if not (np.isfinite(exposure_s) and exposure_s > 0):
            raise ValueError(f"exposure_s: needs a positive time, got {exposure_s}")
        photons = _strayed(photons, crosstalk.strayed / binning) / np.float32(binning**2)
        lit = np.repeat(np.repeat(photons, binning, axis=0), binning, axis=1) * self._response
        mean = lit + self._dark_cps * np.float32(exposure_s)
        live = self._live(mean, exposure_s)
        mean, lit = mean * live, lit * live
        end = 2**counter_depth_bits - 1
        largest = float(mean.max())
        if largest + 10 * np.sqrt(largest) + 10 < end:
            # no counter can overflow, and a sum of Poisson numbers is a Poisson number
            return _draw(mean, lit, crosstalk.paired, binning, rng).astype(np.uint32)
        counts = _draw(mean, lit, crosstalk.paired, 1, rng)
        return bin_pixels(np.minimum(counts, end), binning).astype(np.uint32)

    def _live(self, mean: NDArray[np.float32], exposure_s: float) -> NDArray[np.float32]:
        """Return the counted share of n events with dead time tau: 1 / (1 + n tau / T), or exp(-n tau / T) for a
        paralyzable counter, whose dead time every event prolongs."""
        dead = mean * np.float32(1e-9 * self._settings.dead_time_ns / exposure_s)
        return np.asarray(np.exp(-dead) if self._settings.paralyzable else 1 / (1 + dead), np.float32)

    def dark_expected(self, *, exposure_s: float, binning: int) -> NDArray[np.float32]:
        """Return mean counts (rows, columns) per binned pixel without beam."""
        return bin_pixels(self._dark_cps * np.float32(exposure_s), binning)

    def bad_pixels(self, binning: int) -> NDArray[np.bool_]:
        """Return the mask (rows, columns) of binned pixels with a hot pixel, or with at least half of them dead."""
        binned_shape(self._settings.rows, self._settings.columns, binning)
        dead = bin_pixels(self._dead.astype(np.int64), binning)
        return np.asarray((2 * dead >= binning**2) | (bin_pixels(self._hot.astype(np.int64), binning) > 0))


def _strayed(photons: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return the means after each pixel gave ``share`` to each of its four neighbours; the rim is mirrored."""
    if share == 0:
        return photons
    around = np.pad(photons, 1, mode="edge")
    beside = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]
    return np.float32(1 - 4 * share) * photons + np.float32(share) * beside


def _draw(
    mean: NDArray[np.float32], lit: NDArray[np.float32], paired: float, binning: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Draw counts (rows, columns) after binning for means per physical pixel; ``lit`` is the part due to photons.

    Photons that a pixel and its right or upper neighbour both count are Poisson numbers of their own (marking theorem).
    They are drawn once and counted on both sides (twice within a binned pixel); the rest is drawn separately.
    """
    if paired == 0:
        return poisson(bin_pixels(mean, binning), rng)
    right, up = np.zeros_like(lit), np.zeros_like(lit)
    right[:, :-1] = np.float32(paired) * np.minimum(lit[:, :-1], lit[:, 1:])
    up[:-1] = np.float32(paired) * np.minimum(lit[:-1], lit[1:])
    columns, rows = np.s_[:, binning - 1 :: binning], np.s_[binning - 1 :: binning]
    across = right[columns].reshape(-1, binning, right[columns].shape[1]).sum(axis=1)
    upwards = up[rows].reshape(up[rows].shape[0], -1, binning).sum(axis=2)
    right[columns], up[rows] = 0.0, 0.0
    twice = bin_pixels(right + up, binning)
    alone = bin_pixels(mean, binning) - 2 * twice - _both_sides(across, 1) - _both_sides(upwards, 0)
    singles, doubles, beside, above = poisson(np.stack([alone, twice, across, upwards]), rng)
    return singles + 2 * doubles + _both_sides(beside, 1) + _both_sides(above, 0)


def _both_sides(pairs: NDArray[Any], axis: int) -> NDArray[Any]:
    """Add the counts shared with the next pixel along an axis to both pixels."""
    total = pairs.copy()
    here, there = (np.s_[:, 1:], np.s_[:, :-1]) if axis else (np.s_[1:], np.s_[:-1])
    total[here] += pairs[there]
    return total


def poisson(mean: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw Poisson numbers of the given means in parallel blocks, each with a random stream of its own."""
    flat = mean.ravel()
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        parts = list(pool.map(lambda s, m: s.poisson(m), rng.spawn(_STREAMS), np.array_split(flat, _STREAMS)))
    return np.concatenate(parts).reshape(mean.shape)

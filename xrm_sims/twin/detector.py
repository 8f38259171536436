"""From mean photons per pixel to what the photon-counting detector reads out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrm_sims.settings import Settings
from xrm_sims.twin.xray import bin_pixels, binned_shape


class Detector:
    """One WidePIX: its seeded gain map and bad pixels, and its readout. Reading changes nothing in it."""

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
    ) -> NDArray[np.uint32]:
        """Counts (rows, columns) drawn for the ``expected`` photons per binned pixel.

        Gain, dead time (non-paralyzable, m = n / (1 + n tau / T)), dark and hot pixels and the end of the counter all
        act on each physical pixel; binning adds what these read. ValueError for a wrong shape or exposure.
        """
        photons = np.asarray(expected, dtype=np.float32)
        wanted = binned_shape(self._settings.rows, self._settings.columns, binning)
        if photons.shape != wanted:
            raise ValueError(f"expected: needs shape {wanted} at binning {binning}, got {photons.shape}")
        if not (np.isfinite(exposure_s) and exposure_s > 0):
            raise ValueError(f"exposure_s: needs a positive time, got {exposure_s}")
        per_pixel = np.repeat(np.repeat(photons / binning**2, binning, axis=0), binning, axis=1)
        mean = per_pixel * self._response + self._dark_cps * np.float32(exposure_s)
        mean /= 1 + mean * np.float32(1e-9 * self._settings.dead_time_ns / exposure_s)
        end = 2**counter_depth_bits - 1
        largest = float(mean.max())
        if largest + 10 * np.sqrt(largest) + 10 < end:
            # no counter can reach its end, and a sum of Poisson numbers is a Poisson number
            return rng.poisson(bin_pixels(mean, binning)).astype(np.uint32)
        return bin_pixels(np.minimum(rng.poisson(mean), end), binning).astype(np.uint32)

    def dark_expected(self, *, exposure_s: float, binning: int) -> NDArray[np.float32]:
        """Mean counts (rows, columns) per binned pixel without beam."""
        return bin_pixels(self._dark_cps * np.float32(exposure_s), binning)

    def bad_pixels(self, binning: int) -> NDArray[np.bool_]:
        """(rows, columns): True where a binned pixel holds a hot pixel, or at least half of its pixels are dead.

        Fewer dead pixels only lower its gain, which the flat image corrects.
        """
        binned_shape(self._settings.rows, self._settings.columns, binning)
        dead = bin_pixels(self._dead.astype(np.int64), binning)
        return np.asarray((2 * dead >= binning**2) | (bin_pixels(self._hot.astype(np.int64), binning) > 0))

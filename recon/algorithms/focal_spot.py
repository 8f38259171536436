"""Removal of the blur of a focal spot whose shape is known.

At high magnification every point of the specimen is imaged as a spot of the size of the focal spot, so that line
integrals are convolved with its shape. A Wiener filter (N. Wiener, 1949) divides by the transfer function T of the
spot, with the same ratio e of noise to signal at all frequencies: its response is (1 + e) T / (T^2 + e), which is 1 at
zero frequency and nowhere more than (1 + e) / (2 sqrt(e)). The ratio is chosen by that largest amplification.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numba import get_num_threads
from numpy.typing import NDArray

from recon.kernels.progress import Fraction
from xrm_sims.geometry import Geometry

AMPLIFICATION = 3.0  # chosen on the twin's pillar with 600 views of 1,453 counts: 2 to 4 give nearly the same
VIEWS_AT_ONCE = 16
MARGIN_SIGMAS = 3.0


@dataclass(frozen=True)
class FocalSpot:
    """A sum of Gaussians in the plane of the specimen: shares of the photons and standard deviations in um along the
    columns; along the rows they are ``vertical_stretch`` times as wide.

    Raises ValueError naming what does not fit.
    """

    shares: tuple[float, ...]
    sigma_um: tuple[float, ...]
    vertical_stretch: float = 1.0

    def __post_init__(self) -> None:
        shares, sigma = np.asarray(self.shares, float), np.asarray(self.sigma_um, float)
        if shares.shape != sigma.shape or shares.ndim != 1 or not len(shares):
            raise ValueError(f"focal_spot: needs as many shares as sigma_um, got {len(shares)} and {len(sigma)}")
        if not ((shares >= 0).all() and math.isclose(shares.sum(), 1.0, abs_tol=1e-3)):
            raise ValueError(f"focal_spot: needs shares of 0 to 1 that add up to 1, got {self.shares}")
        if not (np.isfinite(sigma).all() and (sigma > 0).all() and self.vertical_stretch > 0):
            raise ValueError(f"focal_spot: needs positive widths, got {self.sigma_um} x {self.vertical_stretch}")

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> FocalSpot:
        """Read ``beam``, ``focal_spot`` of a run's start document."""
        return cls(
            tuple(map(float, table["shares"])),
            tuple(map(float, table["sigma_um"])),
            float(table.get("vertical_stretch", 1.0)),
        )

    def transfer(self, frequency_per_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Transfer function at spatial frequencies along columns, or at those along rows times ``vertical_stretch``."""
        square = 2 * (math.pi * frequency_per_um) ** 2
        return sum(
            (a * np.exp(-square * s * s) for a, s in zip(self.shares, self.sigma_um, strict=True)),
            np.zeros_like(square),
        )


def sharpen(
    p: NDArray[np.float32],
    geometry: Geometry,
    spot: FocalSpot,
    *,
    amplification: float = AMPLIFICATION,
    progress: Fraction | None = None,
) -> None:
    """Remove the blur of the focal spot from line integrals (angle, row, column), in place.

    ``amplification`` is the largest factor of any spatial frequency, but for 1 / (4 amplification^2) of it; the noise
    is amplified too, so the volume needs total-variation denoising (:func:`recon.sart` with its defaults).
    ``progress`` is called with the finished fraction.
    Raises ValueError for an amplification of less than 1.
    """
    if not amplification >= 1:
        raise ValueError(f"amplification: needs 1 or more, got {amplification}")
    n, rows, columns = p.shape
    pitch_um = 1e3 * geometry.pixel_mm / geometry.magnification
    margin = math.ceil(MARGIN_SIGMAS * max(spot.sigma_um) * max(spot.vertical_stretch, 1.0) / pitch_um)
    shape = (scipy.fft.next_fast_len(rows + 2 * margin), scipy.fft.next_fast_len(columns + 2 * margin, real=True))
    frequency = _frequency(shape, pitch_um, spot)
    transfer, noise = spot.transfer(frequency), (0.5 / amplification) ** 2
    response = ((1 + noise) * transfer / (transfer**2 + noise)).astype(np.float32)
    workers = get_num_threads()
    around = ((0, 0), *((margin, full - size - margin) for full, size in zip(shape, (rows, columns), strict=True)))
    for first in range(0, n, VIEWS_AT_ONCE):
        some = slice(first, first + VIEWS_AT_ONCE)
        spectrum = scipy.fft.rfft2(np.pad(p[some], around, mode="edge"), workers=workers, overwrite_x=True)
        spectrum *= response
        image = scipy.fft.irfft2(spectrum, shape, workers=workers, overwrite_x=True)
        p[some] = image[:, margin : margin + rows, margin : margin + columns]
        if progress is not None:
            progress(min(first + VIEWS_AT_ONCE, n) / n)


def _frequency(shape: tuple[int, int], pitch_um: float, spot: FocalSpot) -> NDArray[np.float64]:
    """Frequencies (row, column) of a real transform in cycles per um, scaled for :meth:`FocalSpot.transfer`."""
    rows, columns = np.fft.fftfreq(shape[0], pitch_um), np.fft.rfftfreq(shape[1], pitch_um)
    return np.hypot(spot.vertical_stretch * rows[:, None], columns)

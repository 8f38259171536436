"""Charge sharing: near a pixel's border a photon counts in the neighbour, in both pixels, or in neither.

The charge of an absorbed photon diffuses into a Gaussian cloud in the sensor. Every pixel counts that collects more
than its threshold, noise included. With 55 um pixels, a cloud of 5 um and a threshold of 4 keV, a photon of 5 keV is
often lost at a border, and one of 12 keV often counts on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfc, ndtr

from xrm_sims.settings import Detector

_REACH_SIGMAS = 5.0
_NODES = 48  # of the quadrature, per interval


@dataclass(frozen=True)
class CrossTalk:
    """Exchange of counts between a pixel and one of its four neighbours, for one spectrum and threshold.

    strayed : share of the pixel's counts from photons absorbed in the neighbour.
    paired : share of the pixel's counts that the neighbour counts too.
    """

    strayed: float = 0.0
    paired: float = 0.0


@dataclass(frozen=True)
class Sharing:
    """Counts per absorbed photon of each energy, averaged over its position in the pixel, (energies,) each.

    counts : counts in all pixels together.
    strayed : counts in one of the four neighbours of the absorbing pixel (which include those across corners).
    paired : photons that a pixel and one of the four neighbours both count.
    """

    counts: NDArray[np.float64]
    strayed: NDArray[np.float64]
    paired: NDArray[np.float64]

    def crosstalk(self, absorbed: ArrayLike) -> CrossTalk:
        """Return the average over a spectrum of absorbed photons (energies,)."""
        weight = np.asarray(absorbed, dtype=float)
        counts = float(weight @ self.counts)
        if counts <= 0:
            return CrossTalk()
        return CrossTalk(float(weight @ self.strayed) / counts, float(weight @ self.paired) / counts)


def sharing(energy_kev: ArrayLike, detector: Detector, threshold_kev: float) -> Sharing:
    """Return the sharing of photons of energies (energies,), by quadrature over the place of absorption.

    The charge in a pixel is a product of two differences of normal distributions; the pixel counts with the
    probability that this charge and Gaussian noise exceed the threshold. The noise of neighbours is independent. With
    ``charge_sigma_um`` 0 every photon stays in its pixel. ValueError for a cloud wider than a quarter of the pixel,
    which would reach beyond the next neighbours.
    """
    energy = np.atleast_1d(np.asarray(energy_kev, dtype=float))
    pitch_um, sigma_um = 1e3 * detector.pixel_mm, detector.charge_sigma_um
    if not 0 <= sigma_um <= pitch_um / 4:
        raise ValueError(
            f"detector.charge_sigma_um: needs 0 to a quarter of the {pitch_um:.4g} um pixel, so that charge reaches "
            f"only the next neighbours; got {sigma_um:.4g}"
        )

    def passes(share: NDArray[np.float64]) -> NDArray[np.float64]:
        above_kev = np.multiply.outer(energy, share) - threshold_kev
        return 0.5 * erfc(-above_kev / (np.sqrt(2) * detector.threshold_noise_kev))

    if sigma_um == 0:
        none = np.zeros(len(energy))
        return Sharing(passes(np.array(1.0)), none, none)
    # along one axis, from outside the left border to the middle of the pixel; the other half is symmetric
    border, reach = 0.5 * pitch_um, _REACH_SIGMAS * sigma_um
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    ends = np.array([(-border - reach, -border), (-border, -border + reach), (-border + reach, 0.0)])
    half = 0.5 * np.diff(ends, axis=1)
    x = (ends.mean(axis=1, keepdims=True) + half * nodes).ravel()
    weight = (half * weights).ravel()
    inside = weight * (x > -border)
    near = weight * (x < -border + reach)

    def collected(at_um: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndtr((border - at_um) / sigma_um) - ndtr((-border - at_um) / sigma_um)

    own, left = collected(x), collected(x + pitch_um)
    counted = passes(np.outer(own, own))
    both = counted * passes(np.outer(left, own))
    area = pitch_um**2
    counts, at_home, paired = (
        parts * np.einsum("x,y,exy->e", over_x, over_y, chance) / area
        for parts, over_x, over_y, chance in (
            (4, weight, weight, counted),
            (4, inside, inside, counted),
            (2, near, weight, both),
        )
    )
    return Sharing(counts, 0.25 * (counts - at_home), paired)

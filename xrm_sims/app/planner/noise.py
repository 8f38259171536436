"""Noise of filtered back projection from the counts of the views, and the smallest pore that is visible in it.

For M views over a full turn, pixels of pitch a and line integrals of variance s^2, a voxel has the variance

    (pi / a)^2 s^2 / M x mean over frequencies of H^2 I

(R. A. Brooks, G. Di Chiro, Med. Phys. 3 (1976) 237; Kak and Slaney 1988, section 5.2), H being the filter for a pitch
of 1 (mean of H^2 of the plain ramp 1/12) and I the power after linear interpolation, 2/3 + 1/3 cos on average over
positions between two pixels. Along the rotation axis there is a second interpolation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xrm_sims.app.planner.blur import Blur, filter_response
from xrm_sims.app.planner.tables import Beam

INSIDE = 0.9  # noise is averaged over this share of the pillar's radius
_NODES = 64  # of the quadratures
_LEAST_PORE_UM, _LARGEST_PORE_UM = 0.02, 10.0


@dataclass(frozen=True)
class Noise:
    """Noise of a reconstruction in which active material is 1.

    per_voxel : standard deviation, mean over the pillar.
    density_um3 : slope of the noise power spectrum at low frequencies, NPS = density |f| (f along the slice, per um;
        S. J. Riederer et al., Phys. Med. Biol. 23 (1978) 446).
    """

    per_voxel: float
    density_um3: float


def ray_variance(beam: Beam, diameter_um: float) -> float:
    """Return a ray's mean variance behind a round pillar, in squared um of active material, at one open-beam count.

    It is proportional to one over the counts: the logarithm of Poisson counts has the variance 1 / counts. It is
    averaged over all directions and all voxels, and includes the lower sensitivity of a hardened beam.
    """
    radius_um = 0.5 * diameter_um
    share = (np.arange(_NODES) + 0.5) / _NODES
    distance_um = INSIDE * radius_um * np.sqrt(share)[:, None] * np.sin(0.5 * math.pi * share)
    chord_um = 2 * np.sqrt(radius_um**2 - distance_um**2)
    return float(np.mean(1 / (beam.transmission(chord_um) * beam.active_behind(chord_um) ** 2)))


def voxel_noise(variance_um2: float, views: float, pitch_um: float, window: str = "ramp", paired: float = 0.0) -> Noise:
    """Return the noise of voxels as wide as the pixels, for rays of this variance.

    ``paired``: share of a pixel's counts that each neighbour counts as well, which correlates their noise.
    """
    cycles, response = filter_response(window)
    swing = np.cos(2 * math.pi * cycles)
    along_row = float(np.mean(response**2 * (1 + 2 * paired * swing) * (2 + swing) / 3))
    along_axis = 2 / 3 + paired / 3
    variance = (math.pi / pitch_um) ** 2 / views * variance_um2 * along_row * along_axis
    density_um3 = math.pi / views * variance_um2 * pitch_um**2 * (1 + 2 * paired) ** 2
    return Noise(math.sqrt(variance), density_um3)


def pore_snr(diameter_um: float, blur: Blur, noise: Noise) -> float:
    """Return the signal-to-noise ratio of an empty sphere in active material for the non-prewhitening matched filter.

    Its square is (integral of |S|^2)^2 over the integral of |S|^2 NPS (ICRU Report 54, 1996).
    """
    reach = min(6.0 / diameter_um, 0.5 / blur.pitch_um)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    f = 0.5 * reach * (nodes + 1)
    in_slice, along = f[:, None], f[None, :]
    transfer = blur.projected(in_slice) * blur.back_projected(in_slice)
    upwards = blur.projected(along * blur.spot.vertical_stretch) * np.sinc(along * blur.pitch_um) ** 2
    signal = (_ball(diameter_um, np.hypot(in_slice, along)) * transfer * upwards) ** 2
    spectrum = noise.density_um3 * in_slice * (blur.back_projected(in_slice) * np.sinc(along * blur.pitch_um) ** 2) ** 2
    volume = 2 * 2 * math.pi * in_slice * (0.5 * reach) ** 2 * np.outer(weights, weights)
    return float((signal * volume).sum() / math.sqrt((signal * spectrum * volume).sum()))


def smallest_pore_um(blur: Blur, noise: Noise, snr: float) -> float:
    """Return the diameter of the pore with this signal-to-noise ratio; infinite if even 10 um is too small."""
    low, high = _LEAST_PORE_UM, _LARGEST_PORE_UM
    if pore_snr(high, blur, noise) < snr:
        return math.inf
    while high / low > 1.005:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if pore_snr(middle, blur, noise) > snr else (middle, high)
    return high


def _ball(diameter_um: float, frequency_per_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Fourier transform of a sphere in um^3."""
    phase = math.pi * diameter_um * np.maximum(frequency_per_um, 1e-9)
    return np.asarray(0.5 * math.pi * diameter_um**3 * (np.sin(phase) - phase * np.cos(phase)) / phase**3)

"""Noise of filtered back projection from the counts of the views, and which pore still stands out of it.

Of M views over a full turn with pixels of pitch a and a line integral of variance s^2 per ray, a voxel has the variance

    (pi / a)^2 s^2 / M x mean over frequencies of H^2 I

(R. A. Brooks, G. Di Chiro, Med. Phys. 3 (1976) 237; Kak and Slaney 1988, section 5.2), H being the filter for a pitch
of 1 (mean of H^2 of the plain ramp 1/12) and I the power that linear interpolation leaves, 2/3 + 1/3 cos on average
over where a voxel falls between two pixels; along the rotation axis it interpolates once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xrm_sims.app.planner.blur import Blur, filter_response
from xrm_sims.app.planner.tables import Beam

INSIDE = 0.9  # of the pillar's radius: noise is meant for what lies in it
_NODES = 64  # of the quadratures
_LEAST_PORE_UM, _LARGEST_PORE_UM = 0.02, 10.0


@dataclass(frozen=True)
class Noise:
    """Of a reconstruction in which active material is 1.

    per_voxel : standard deviation, mean over the pillar.
    density_um3 : what a spectrum of the noise begins with, NPS = density |f| (f along the slice, per um) at low
        frequencies (S. J. Riederer et al., Phys. Med. Biol. 23 (1978) 446).
    """

    per_voxel: float
    density_um3: float


def ray_variance(beam: Beam, diameter_um: float) -> float:
    """Mean variance of a ray through a voxel of a round pillar, in squared um of path through active material, for one
    count in the open beam; it goes with one over the counts.

    Poisson counts behind the chord (the logarithm's variance is 1 / counts), over all directions and over the voxels
    of the pillar; a hardened beam tells less of a micrometre, as what straightens it makes up for.
    """
    radius_um = 0.5 * diameter_um
    share = (np.arange(_NODES) + 0.5) / _NODES
    distance_um = INSIDE * radius_um * np.sqrt(share)[:, None] * np.sin(0.5 * math.pi * share)
    chord_um = 2 * np.sqrt(radius_um**2 - distance_um**2)
    return float(np.mean(1 / (beam.transmission(chord_um) * beam.active_behind(chord_um) ** 2)))


def voxel_noise(variance_um2: float, views: float, pitch_um: float, window: str = "ramp", paired: float = 0.0) -> Noise:
    """Noise of voxels as wide as the pixels, for rays of this variance.

    ``paired``: share of a pixel's counts that each neighbour counts as well, so that both vary alike.
    """
    cycles, response = filter_response(window)
    swing = np.cos(2 * math.pi * cycles)
    along_row = float(np.mean(response**2 * (1 + 2 * paired * swing) * (2 + swing) / 3))
    along_axis = 2 / 3 + paired / 3
    variance = (math.pi / pitch_um) ** 2 / views * variance_um2 * along_row * along_axis
    density_um3 = math.pi / views * variance_um2 * pitch_um**2 * (1 + 2 * paired) ** 2
    return Noise(math.sqrt(variance), density_um3)


def pore_snr(diameter_um: float, blur: Blur, noise: Noise) -> float:
    """Signal to noise of an empty sphere in active material for whoever knows how its blurred image looks.

    The matched filter of an observer that does not whiten the noise: (integral of |S|^2)^2 over the integral of
    |S|^2 NPS (ICRU Report 54, 1996).
    """
    reach = min(6.0 / diameter_um, 0.5 / blur.pitch_um)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    f = 0.5 * reach * (nodes + 1)
    in_slice, along = f[:, None], f[None, :]
    transfer = blur.seen(in_slice) * blur.back_projected(in_slice)
    upwards = blur.seen(along * blur.spot.vertical_stretch) * np.sinc(along * blur.pitch_um) ** 2
    signal = (_ball(diameter_um, np.hypot(in_slice, along)) * transfer * upwards) ** 2
    spectrum = noise.density_um3 * in_slice * (blur.back_projected(in_slice) * np.sinc(along * blur.pitch_um) ** 2) ** 2
    volume = 2 * 2 * math.pi * in_slice * (0.5 * reach) ** 2 * np.outer(weights, weights)
    return float((signal * volume).sum() / math.sqrt((signal * spectrum * volume).sum()))


def smallest_pore_um(blur: Blur, noise: Noise, snr: float) -> float:
    """Diameter of the pore with this signal to noise; infinite where even a hole of 10 um drowns."""
    low, high = _LEAST_PORE_UM, _LARGEST_PORE_UM
    if pore_snr(high, blur, noise) < snr:
        return math.inf
    while high / low > 1.005:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if pore_snr(middle, blur, noise) > snr else (middle, high)
    return high


def _ball(diameter_um: float, frequency_per_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourier transform of a full sphere in um^3."""
    phase = math.pi * diameter_um * np.maximum(frequency_per_um, 1e-9)
    return np.asarray(0.5 * math.pi * diameter_um**3 * (np.sin(phase) - phase * np.cos(phase)) / phase**3)

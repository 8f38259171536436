"""Transmission of a neighbouring mass through the slit of a collector (isobaric interference).

On a Mattauch-Herzog focal plane a singly charged mass m lies at a distance proportional to sqrt(m), and its image is a
Gaussian; with M / FWHM as resolving power R its relative width is 1 / (2 R).
"""

from __future__ import annotations

import math

from scipy.special import ndtr

from xrm_sims.settings import Sector

MASSES_U = {"27Al": 26.981538}  # AME2020 (Wang et al., Chin. Phys. C 45 (2021) 030003)
C2H3_U = 27.023475  # 12C2 1H3, from the same masses


def slit_share(mass_u: float, collector: str, sector: Sector) -> float:
    """Return the share (0 to 1) of ions of ``mass_u`` that pass the slit of a collector centred on an isotope.

    Slits are scaled with their radius, so the share depends only on the ratio of the masses: 0.33 for C2H3 on 27Al by
    default.
    """
    ratio = math.sqrt(mass_u / MASSES_U[collector])  # of the radii
    half = 0.5 * sector.slit_mm / (math.sqrt(2.0) * sector.slit_reference_radius_mm)
    sigma = ratio / (2.0 * sector.resolving_power * 2.0 * math.sqrt(2.0 * math.log(2.0)))
    return float(ndtr((1.0 - ratio + half) / sigma) - ndtr((1.0 - ratio - half) / sigma))

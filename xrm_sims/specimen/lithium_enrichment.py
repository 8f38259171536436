"""Spheres with lithium enriched in 6Li, from the settings; only a mass spectrometer detects them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import Specimen


def is_enriched(points_um: NDArray[np.float64], settings: Specimen) -> NDArray[np.bool_]:
    """Return whether each of (n, 3) points lies in an enriched sphere."""
    inside = np.zeros(len(points_um), bool)
    for *centre_um, radius_um in settings.enriched_um:
        inside |= ((points_um - centre_um) ** 2).sum(axis=1) <= radius_um**2
    return inside


def enriched_between_um3(
    before_um: NDArray[np.floating], after_um: NDArray[np.floating], pitch_um: float, settings: Specimen
) -> float:
    """Return the volume of the enriched spheres between two square height maps centred on the axis."""
    n = len(before_um)
    at_um = (np.arange(n) - 0.5 * (n - 1)) * pitch_um
    total_um = 0.0
    for x, y, z, radius_um in settings.enriched_um:
        half_um = np.sqrt(np.maximum(radius_um**2 - (at_um - x) ** 2 - (at_um[:, None] - y) ** 2, 0.0))
        inside_um = np.minimum(before_um, z + half_um) - np.maximum(after_um, z - half_um)
        total_um += float(inside_um[(half_um > 0) & (inside_um > 0)].sum())
    return total_um * pitch_um**2

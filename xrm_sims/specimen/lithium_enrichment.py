"""Where lithium is enriched in 6Li: spheres planted by the settings. Isotopes share their chemistry, so only a mass
spectrometer sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import Specimen


def is_enriched(points_um: NDArray[np.float64], settings: Specimen) -> NDArray[np.bool_]:
    """(n,) whether each of (n, 3) points lies in an enriched sphere."""
    inside = np.zeros(len(points_um), bool)
    for *centre_um, radius_um in settings.enriched_um:
        inside |= ((points_um - centre_um) ** 2).sum(axis=1) <= radius_um**2
    return inside


def enriched_between_um3(
    before_um: NDArray[np.floating], after_um: NDArray[np.floating], pitch_um: float, settings: Specimen
) -> float:
    """How much of the enriched spheres lies between two square height maps that are centred on the axis."""
    n = len(before_um)
    at_um = (np.arange(n) - 0.5 * (n - 1)) * pitch_um
    total_um = 0.0
    for x, y, z, radius_um in settings.enriched_um:
        half_um = np.sqrt(np.maximum(radius_um**2 - (at_um - x) ** 2 - (at_um[:, None] - y) ** 2, 0.0))
        inside_um = np.minimum(before_um, z + half_um) - np.maximum(after_um, z - half_um)
        total_um += float(inside_um[(half_um > 0) & (inside_um > 0)].sum())
    return total_um * pitch_um**2

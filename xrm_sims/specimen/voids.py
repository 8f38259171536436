"""Interstitial voids: overlapping spheres in the binder matrix, up to the given porosity."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xrm_sims.settings import Specimen
from xrm_sims.specimen.materials import Material


def draw_voids(
    points: NDArray[np.float64], codes: NDArray[np.uint8], settings: Specimen, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw centres and radii (n, 4) of voids centred in the matrix, until the binder has its volume fraction.

    ``points`` are uniform in the pillar and ``codes`` their materials without voids; they measure the covered volume.
    """
    matrix = points[codes == Material.BINDER]
    surplus = len(matrix) - round(settings.fraction_binder * len(points))
    if surplus <= 0:
        return np.empty((0, 4))
    reach_um = settings.void_radius_um[1]
    covered = np.zeros(len(matrix), bool)
    order = np.argsort(matrix[:, 2])
    matrix = matrix[order]
    centres = matrix[rng.permutation(len(matrix))]
    radii = rng.uniform(*settings.void_radius_um, len(centres))
    count = _cover(matrix, covered, centres, radii, reach_um, surplus)
    return np.column_stack([centres[:count], radii[:count]])


@njit(cache=True)
def _cover(points, covered, centres, radii, reach_um, wanted):  # type: ignore[no-untyped-def]
    """Return how many spheres, in order, cover ``wanted`` of the points, which ascend in z."""
    z = points[:, 2].copy()
    total = 0
    for v in range(len(centres)):
        low = np.searchsorted(z, centres[v, 2] - reach_um)
        high = np.searchsorted(z, centres[v, 2] + reach_um)
        for p in range(low, high):
            if not covered[p]:
                dx, dy, dz = points[p, 0] - centres[v, 0], points[p, 1] - centres[v, 1], points[p, 2] - centres[v, 2]
                if dx * dx + dy * dy + dz * dz <= radii[v] * radii[v]:
                    covered[p] = True
                    total += 1
        if total >= wanted:
            return v + 1
    return len(centres)

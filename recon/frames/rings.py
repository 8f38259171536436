"""Removal of rings: errors of a pixel that last through the scan, from a noisy flat or a change of its gain.

In a counting detector such an error is a constant in the line integrals of the pixel. In the mean over the angles the
pixel departs from its neighbours, as in the median-based removals of N. T. Vo, R. C. Atwood, M. Drakopoulos,
Opt. Express 26 (2018) 28396. The sharp shadow of a pillar on the axis does so too. An error is therefore removed only
if it is the same in all sectors of the scan, isolated among its neighbours, and no larger than the other errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter

SECTORS = 16
LEAST_VIEWS = 6 * SECTORS  # the noise of the mean of fewer views hides the rings
WINDOW_PX = 5  # of the median, which keeps straight edges
LOCAL_PX = 7
FULL_LOCAL, NO_LOCAL = 2.0, 4.0  # local mean square in typical ones: fully corrected below, not at all above
FULL_SIZE, NO_SIZE = 4.0, 7.0  # size in typical ones, in the same way


def ring_errors(
    p: NDArray[np.float32], weights: NDArray[np.floating], views: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return the constant error (row, column) of the line integrals of each pixel; zeros where there is none.

    Parameters
    ----------
    p, weights : (angle, row, column) line integrals by angle, those without weight filled, and their weights.
    views : the views that share their flats, by angle; default all.
    """
    chosen = np.arange(len(p)) if views is None else views
    if len(chosen) < LEAST_VIEWS:
        return np.zeros(p.shape[1:], np.float32)
    sectors = np.stack([p[some].mean(axis=0) for some in np.array_split(chosen, SECTORS)])
    departure = sectors - median_filter(sectors, size=(1, WINDOW_PX, WINDOW_PX), mode="nearest")
    error = np.median(departure, axis=0)
    noise = float(np.median(departure.std(axis=0))) * np.sqrt(0.5 * np.pi / SECTORS)
    typical = 1.4826 * float(np.median(np.abs(error - np.median(error))))
    if typical <= noise:
        return np.zeros(p.shape[1:], np.float32)
    local = uniform_filter(np.minimum(np.square(error), (NO_SIZE * typical) ** 2), LOCAL_PX, mode="nearest")
    alone = np.clip((NO_LOCAL - local / typical**2) / (NO_LOCAL - FULL_LOCAL), 0, 1)
    usual = np.clip((NO_SIZE - np.abs(error) / typical) / (NO_SIZE - FULL_SIZE), 0, 1)
    error *= alone * usual * (1 - (noise / typical) ** 2)
    trusted = np.max([weights[n] > 0 for n in chosen[:: max(1, len(chosen) // SECTORS)]], axis=0)
    return np.where(trusted, error, 0).astype(np.float32)


def remove_rings(
    p: NDArray[np.float32], weights: NDArray[np.floating], views: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Subtract :func:`ring_errors` in place and return them."""
    error = ring_errors(p, weights, views)
    if error.any():
        for n in range(len(p)) if views is None else views:
            p[n] -= error
    return error

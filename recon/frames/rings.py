"""Rings: what a pixel reads wrong all through a scan, because its flat was noisy or its gain has changed since.

Where photons are counted such an error is a constant in the line integrals of its pixel. It shows in the mean over the
angles as a pixel that departs from its neighbours, as in the median-based removals of N. T. Vo, R. C. Atwood,
M. Drakopoulos, Opt. Express 26 (2018) 28396. But so does the sharp shadow of a pillar that stands on the axis. So the
correction asks three times: whether the sectors of the scan agree about it, whether it stands alone among its
neighbours, and whether it is as large as others are; where the specimen itself leaves marks it does nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter

SECTORS = 16
LEAST_VIEWS = 6 * SECTORS  # with fewer the noise of the mean hides the rings
WINDOW_PX = 5  # a median over it keeps every straight edge
LOCAL_PX = 7
CALM, WILD = 2.0, 4.0  # local mean square in units of the typical one: fully corrected below, not at all above
USUAL, STRANGE = 4.0, 7.0  # size in units of the typical one: likewise


def ring_errors(
    p: NDArray[np.float32], weights: NDArray[np.floating], views: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """(row, column) constant error of the line integrals of each pixel; zeros where there is no telling.

    Parameters
    ----------
    p, weights : (angle, row, column) line integrals by angle, untrusted ones filled, and the trust in them.
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
    local = uniform_filter(np.minimum(np.square(error), (STRANGE * typical) ** 2), LOCAL_PX, mode="nearest")
    alone = np.clip((WILD - local / typical**2) / (WILD - CALM), 0, 1)
    usual = np.clip((STRANGE - np.abs(error) / typical) / (STRANGE - USUAL), 0, 1)
    error *= alone * usual * (1 - (noise / typical) ** 2)
    trusted = np.max([weights[n] > 0 for n in chosen[:: max(1, len(chosen) // SECTORS)]], axis=0)
    return np.where(trusted, error, 0).astype(np.float32)


def remove_rings(
    p: NDArray[np.float32], weights: NDArray[np.floating], views: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Subtract :func:`ring_errors` in place; returns them."""
    error = ring_errors(p, weights, views)
    if error.any():
        for n in range(len(p)) if views is None else views:
            p[n] -= error
    return error

"""Replace readings that counting statistics exclude, as by cosmic rays, and fill rays without weight."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

OUTLIER_SIGMAS = 5.0  # beyond the extreme of a dozen neighbours
LEAST_VIEWS = 5
BLOCK = 32


def remove_outliers(
    p: NDArray[np.float32], weights: NDArray[np.floating], *, variance: float = 1.0, sigmas: float = OUTLIER_SIGMAS
) -> NDArray[np.int64]:
    """Replace outliers in place, set their weight to zero, and return their number (n,) in each view.

    An outlier lies outside the range of its eight neighbours in the image (without the largest and the smallest, which
    the same event may have changed) and of the same pixel in the four nearest views, by more than ``sigmas`` standard
    deviations of counting. These refer to the square root of the counts, whose variance is 1/4 for any counts
    (F. J. Anscombe, Biometrika 35 (1948) 246). Edges and slopes of the specimen lie within the range.

    Parameters
    ----------
    p : (angle, row, column) line integrals by angle; an outlier becomes the mean of both medians.
    weights : (angle, row, column) in the units of 1 / ``variance`` of p; an outlier becomes 0.
    variance : of a ray of weight 1.
    """
    found = np.zeros(len(p), np.int64)
    if len(p) < LEAST_VIEWS:
        return found
    for first in range(0, len(p), BLOCK):
        block = slice(first, min(first + BLOCK, len(p)))
        instead = np.full(p[block].shape, np.nan, np.float32)
        _find(p, weights[block].astype(np.float32), first, float(sigmas), 1.0 / float(variance), instead)
        hit = np.isfinite(instead)
        found[block] = np.count_nonzero(hit, axis=(1, 2))
        np.copyto(p[block], instead, where=hit)
        weights[block][hit] = 0
    return found


@njit(cache=True, parallel=True)
def _find(p, weights, first, sigmas, scale, instead):
    """Fill ``instead`` with the replacement of each outlier of the views from ``first`` on."""
    views, rows, columns = p.shape
    for n in prange(len(weights)):
        view = first + np.int64(n)
        start = min(max(view - 2, 0), views - 5)
        a, b, c, d = [start + k if start + k < view else start + k + 1 for k in range(4)]
        beside = np.empty(8, np.float32)
        for row in range(rows):
            for column in range(columns):
                value, trusted = p[view, row, column], weights[n, row, column] * scale
                w, x, y, z = p[a, row, column], p[b, row, column], p[c, row, column], p[d, row, column]
                low, high = min(w, x, y, z), max(w, x, y, z)
                off = 0.5 * max(value - high, low - value, 0.0)
                if off < 0.4 and 6.25 * off * off * trusted <= sigmas * sigmas:
                    continue  # since |1 - exp(x)| < 1.25 |x| for |x| < 0.4
                around = 0
                for i in (row - 1, row, row + 1):
                    for j in (column - 1, column, column + 1):
                        if (i != row or j != column) and 0 <= i < rows and 0 <= j < columns:
                            beside[around] = p[view, i, j]
                            around += 1
                beside[:around].sort()
                low, high = min(low, beside[1]), max(high, beside[around - 2])
                nearest = min(max(value, low), high)
                if abs(2.0 * math.sqrt(trusted) * (1.0 - math.exp(min(0.5 * (value - nearest), 30.0)))) > sigmas:
                    then = 0.5 * (w + x + y + z - min(w, x, y, z) - max(w, x, y, z))
                    here = 0.5 * (beside[(around - 1) // 2] + beside[around // 2])
                    instead[n, row, column] = 0.5 * (then + here)


@njit(cache=True, parallel=True)
def fill_unweighted(p, weights):
    """Fill every ray without weight with the mean of the nearest ones in its image (angle, row, column), in place."""
    rows, columns = p.shape[1:]
    for view in prange(len(p)):
        v = np.int64(view)
        some = False
        for r in range(rows):
            for c in range(columns):
                some = some or weights[v, r, c] > 0
        for r in range(rows):
            for c in range(columns):
                if weights[v, r, c] > 0:
                    continue
                total, n, reach = 0.0, 0, 1
                while some and n == 0:
                    for i in range(max(r - reach, 0), min(r + reach + 1, rows)):
                        for j in range(max(c - reach, 0), min(c + reach + 1, columns)):
                            if weights[v, i, j] > 0:
                                total += p[v, i, j]
                                n += 1
                    reach += 1
                p[v, r, c] = total / n if n else 0.0

"""Total-variation denoising of a volume (Rudin, Osher, Fatemi, Physica D 60 (1992) 259).

Solved by the primal-dual iteration of A. Chambolle and T. Pock, J. Math. Imaging Vis. 40 (2011) 120 (algorithm 1).
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, njit, prange
from numpy.typing import NDArray

ITERATIONS = 12


def noise_level(volume: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Standard deviation of the noise in a volume (x, y, z) within the mask (x, y).

    From the second difference along z, whose median magnitude edges hardly touch:
    sigma = median |v[k-1] - 2 v[k] + v[k+1]| / (0.6745 sqrt 6).
    """
    columns = volume[inside]
    if columns.shape[1] < 3:
        return 0.0
    columns = columns[:: max(1, len(columns) // 4096)]
    curvature = np.abs(columns[:, :-2] - 2 * columns[:, 1:-1] + columns[:, 2:])
    occupied = curvature[columns[:, 1:-1] != 0]
    return float(np.median(occupied)) / (0.6745 * math.sqrt(6)) if occupied.size else 0.0


@njit(cache=True, fastmath=True, parallel=True)
def _climb(dual, ahead, span, step, limit):
    """Dual ascent: dual += step * gradient of ahead, each vector shortened to ``limit``."""
    nx, ny, nz = ahead.shape
    for i in prange(nx):
        for j in range(span[i, 0], span[i, 1]):
            here = ahead[i, j]
            east = ahead[i + 1, j] if i < nx - 1 else here
            north = ahead[i, j + 1] if j < ny - 1 else here
            px, py, pz = dual[0, i, j], dual[1, i, j], dual[2, i, j]
            for k in range(nz - 1):
                a = px[k] + step * (east[k] - here[k])
                b = py[k] + step * (north[k] - here[k])
                c = pz[k] + step * (here[k + 1] - here[k])
                shrink = limit / max(limit, math.sqrt(a * a + b * b + c * c))
                px[k], py[k], pz[k] = a * shrink, b * shrink, c * shrink
            k = nz - 1
            a = px[k] + step * (east[k] - here[k])
            b = py[k] + step * (north[k] - here[k])
            shrink = limit / max(limit, math.sqrt(a * a + b * b))
            px[k], py[k], pz[k] = a * shrink, b * shrink, float32(0.0)


@njit(cache=True, fastmath=True, parallel=True)
def _descend(smooth, ahead, noisy, dual, span, step):
    """Primal descent towards ``noisy`` along the divergence of the dual, with over-relaxation into ``ahead``."""
    nx, _, nz = smooth.shape
    share = float32(1.0) / (float32(1.0) + step)
    for i in prange(nx):
        for j in range(span[i, 0], span[i, 1]):
            px, py, pz = dual[0, i, j], dual[1, i, j], dual[2, i, j]
            west = dual[0, i - 1, j] if i > 0 else px
            south = dual[1, i, j - 1] if j > 0 else py
            wx, wy = float32(i > 0), float32(j > 0)
            u, bar, f = smooth[i, j], ahead[i, j], noisy[i, j]
            for k in range(nz):
                bar[k] = px[k] - wx * west[k] + py[k] - wy * south[k] + pz[k]
            for k in range(1, nz):
                bar[k] -= pz[k - 1]
            for k in range(nz):
                new = (u[k] + step * (bar[k] + f[k])) * share
                bar[k] = new + new - u[k]
                u[k] = new


def denoise(volume: NDArray[np.float32], strength: float, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """argmin over u of |u - volume|^2 / 2 + strength * TV(u) within the mask, approximately; volume is (x, y, z)."""
    if strength <= 0:
        return volume
    noisy = np.ascontiguousarray(volume)
    smooth, ahead = noisy.copy(), noisy.copy()
    dual = np.zeros((3, *noisy.shape), np.float32)
    some = inside.any(axis=1)
    first, last = inside.argmax(axis=1), inside.shape[1] - inside[:, ::-1].argmax(axis=1)
    span = np.stack([np.where(some, first, 0), np.where(some, last, 0)], axis=1)
    step = np.float32(1 / math.sqrt(12))  # the operator norm of the gradient in three dimensions is sqrt 12
    for _ in range(ITERATIONS):
        _climb(dual, ahead, span, step, np.float32(strength))
        _descend(smooth, ahead, noisy, dual, span, step)
    return smooth

"""Total-variation denoising of a volume (Rudin, Osher, Fatemi, Physica D 60 (1992) 259).

Solved by the accelerated primal-dual iteration of A. Chambolle and T. Pock, J. Math. Imaging Vis. 40 (2011) 120
(algorithm 2). Stopping early shows at strong edges, which the first iterations blur and later ones restore; with
shrinking steps, twenty iterations are enough. Written by hand because scikit-image's solvers need copies of the whole
volume, while this one works in slabs.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, njit, prange
from numpy.typing import NDArray

from recon.kernels import guided_variation

ITERATIONS = 20
FIRST_STEP = 0.5  # primal; the result is the same from 0.3 to 3
REACH = 3  # slices; nearer ones share noise, because projectors interpolate
SAMPLED_COLUMNS = 1024
SLAB_BYTES = 400_000_000  # for the six arrays of the iteration
_ARRAYS = 6


def noise_level(volume: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Return the standard deviation of the noise in a volume (x, y, z) within the mask (x, y), 0 for too few slices.

    From second differences along z over ``REACH`` slices, whose median magnitude edges hardly change:
    sigma = median |v[k - 3] - 2 v[k] + v[k + 3]| / (0.6745 sqrt 6).
    """
    x, y = np.nonzero(inside)
    every = max(1, len(x) // SAMPLED_COLUMNS)
    columns = volume[x[::every], y[::every]]
    reach = min(REACH, (columns.shape[1] - 1) // 2)
    if reach < 1:
        return 0.0
    middle = columns[:, reach:-reach]
    curvature = np.abs(columns[:, : -2 * reach] - 2 * middle + columns[:, 2 * reach :])[middle != 0]
    return float(np.median(curvature)) / (0.6745 * math.sqrt(6)) if curvature.size else 0.0


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _climb(dual, ahead, span, step, limit):
    """Dual ascent: dual += step * gradient of ahead, each vector shortened to ``limit``."""
    nx, ny, nz = ahead.shape
    one, tiny = float32(1.0), float32(1e-30)
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
                shrink = min(one, limit / math.sqrt(a * a + b * b + c * c + tiny))
                px[k], py[k], pz[k] = a * shrink, b * shrink, c * shrink
            k = nz - 1
            a = px[k] + step * (east[k] - here[k])
            b = py[k] + step * (north[k] - here[k])
            shrink = min(one, limit / math.sqrt(a * a + b * b + tiny))
            px[k], py[k], pz[k] = a * shrink, b * shrink, float32(0.0)


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _descend(smooth, ahead, noisy, dual, span, step, beyond):
    """Primal descent towards ``noisy`` along the divergence of the dual, extrapolated by ``beyond`` into ``ahead``."""
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
                bar[k] = new + beyond * (new - u[k])
                u[k] = new


def _solved(
    noisy: NDArray[np.float32],
    strength: float,
    span: NDArray[np.int64],
    guide: NDArray[np.float32] | None,
    scale: float,
) -> NDArray[np.float32]:
    smooth, ahead = noisy.copy(), noisy.copy()
    dual = np.zeros((3, *noisy.shape), np.float32)
    flux = dual if guide is None else np.zeros_like(dual)
    step = FIRST_STEP
    for _ in range(ITERATIONS):
        beyond = 1 / math.sqrt(1 + 2 * step)
        ascent = np.float32(1 / (12 * step))  # the squared operator norm of the gradient in three dimensions is 12
        if guide is None:
            _climb(dual, ahead, span, ascent, np.float32(strength))
        else:
            guided_variation.climb(dual, flux, ahead, guide, span, ascent, np.float32(strength), np.float32(scale))
        _descend(smooth, ahead, noisy, flux, span, np.float32(step), np.float32(beyond))
        step *= beyond
    return smooth


def _planes(size: int, slab_bytes: int, arrays: int) -> int:
    """Number of planes of ``size`` voxels that are denoised at once, without their margins."""
    return max(slab_bytes // (arrays * 4 * size) - 2 * ITERATIONS, ITERATIONS)


def memory_of_denoising(shape: tuple[int, int, int], guided: bool = False) -> int:
    """Return the bytes that :func:`denoise` allocates for a volume (x, y, z)."""
    size, arrays = shape[1] * shape[2], guided_variation.ARRAYS if guided else _ARRAYS
    return arrays * 4 * size * min(_planes(size, SLAB_BYTES, arrays) + 2 * ITERATIONS, shape[0])


def denoise(
    volume: NDArray[np.float32],
    strength: float,
    inside: NDArray[np.bool_],
    slab_bytes: int = SLAB_BYTES,
    guide: NDArray[np.float32] | None = None,
) -> None:
    """Replace a volume (x, y, z) within the mask (x, y) by argmin over u of |u - volume|^2 / 2 + strength * TV(u).

    With a ``guide`` (x, y, z) its edges cost nothing (:mod:`recon.kernels.guided_variation`).

    Works in slabs of constant x. An iteration uses one plane to either side, so that a margin of as many planes as
    there are iterations gives exactly the result of the whole volume.
    """
    if strength <= 0:
        return
    x, y = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = volume[x[0] : x[-1] + 1, y[0] : y[-1] + 1]
    edges = None if guide is None else guide[x[0] : x[-1] + 1, y[0] : y[-1] + 1]
    scale = 0.0 if guide is None else guided_variation.edge_scale(guide, inside)
    mask = inside[x[0] : x[-1] + 1, y[0] : y[-1] + 1]
    some = mask.any(axis=1)
    low, high = mask.argmax(axis=1), mask.shape[1] - mask[:, ::-1].argmax(axis=1)
    span = np.stack([np.where(some, low, 0), np.where(some, high, 0)], axis=1)
    planes = _planes(box[0].size, slab_bytes, _ARRAYS if guide is None else guided_variation.ARRAYS)
    before = box[:0]
    for first in range(0, len(box), planes):
        end = min(first + planes, len(box))
        begin, beyond = first - len(before), min(end + ITERATIONS, len(box))
        noisy = np.concatenate([before, box[first:beyond]])
        before = box[end - ITERATIONS : end].copy()  # the next slab needs it before smoothing
        near = None if edges is None else np.ascontiguousarray(edges[begin:beyond])
        box[first:end] = _solved(noisy, strength, span[begin:beyond], near, scale)[first - begin : end - begin]

"""Simultaneous algebraic reconstruction (SART) with ordered subsets, support, positivity and total variation.

A. H. Andersen, A. C. Kak, Ultrasonic Imaging 6 (1984) 81. Each update compares the measured line integrals of one
subset with those of the volume, divides by the length of the ray in the support, and smears the result back with linear
interpolation in the image (whose weights add up to one, so that no column sums are needed).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import float32, njit, prange
from numpy.typing import ArrayLike, NDArray

from recon.columns import PAD, resample
from recon.projector import Rays, checked, step_length, sum_planes, trace, upright
from recon.total_variation import denoise, noise_level
from xrm_sims.geometry import ConeGeometry

GOLDEN = (math.sqrt(5) - 1) / 2
VIEWS_PER_SUBSET = 10  # one barrier per subset; more views save little time and converge slower
LEAST_SUBSETS = 30  # so that few views still make enough updates
RELAXATION = 1.0
SWEEPS = 2
NOISE_UNITS = 2.0
TILE = 64  # columns of the volume that stay in cache while all views of a subset pass


@dataclass(frozen=True)
class SartResult:
    """volume (z, y, x) in 1/um; residuals: weighted rms of measured minus projected per sweep; seconds in all."""

    volume: NDArray[np.float32]
    residuals: NDArray[np.float64]
    seconds: float


@njit(cache=True, fastmath=True, parallel=True)
def _residual(out, measured, weights, chosen, views, along_x, chord, size, voxel_um, squares):
    """out = weights * (measured - out * step) / length of the ray in the support; squares: of the difference."""
    nz, columns, rows = size[2], size[3], size[4]
    pitch = rows + PAD
    for line in prange(views.shape[0] * columns):
        v, c = line // columns, line % columns
        here, there = line * pitch, (chosen[v] * columns + c) * pitch
        for r in range(PAD):
            out[here + r] = 0.0
        total = 0.0
        tangent = (c - views[v, 5]) / views[v, 4]
        near, far = chord[v, c, 0], chord[v, c, 1]
        for r in range(rows):
            n = PAD + r
            height = (r - views[v, 6]) / views[v, 4]
            leaves = min(far, 0.5 * nz / max(abs(height), 1e-9))
            length = max((leaves - near) * math.sqrt(1.0 + tangent * tangent + height * height), 0.0)
            step = step_length(views[v], along_x[v, c // 32], c, r)
            difference = measured[there + n] - out[here + n] * float32(step * voxel_um)
            weight = weights[there + n]
            total += weight * difference * difference
            out[here + n] = weight * difference / float32(voxel_um * max(length, 2.0)) if length > 0 else float32(0.0)
        squares[line] = total


@njit(cache=True, fastmath=True, parallel=True)
def _update(volume, data, views, span_x, inside, size, relaxation, floor):
    """volume += relaxation * mean over the views of data where the voxel is seen; clipped at floor, zero outside."""
    nx, ny, nz, columns, rows = size
    stride, pitch = nz + PAD, rows + PAD
    factor = float32(relaxation / views.shape[0])
    tiles = (ny + TILE - 1) // TILE
    for task in prange(nx * tiles):
        i, first = task // tiles, task % tiles * TILE
        low, high = max(first, span_x[i, 0]), min(first + TILE, span_x[i, 1])
        x0 = i - (nx - 1) * 0.5
        for v in range(views.shape[0]):
            cos, sin, sod, axis, mag = views[v, 0], views[v, 1], views[v, 2], views[v, 3], views[v, 4]
            for j in range(low, high):
                y0 = j - (ny - 1) * 0.5
                m = mag / (sod + x0 * cos - y0 * sin)
                u = views[v, 5] + m * (x0 * sin + y0 * cos + axis)
                if u < 0 or u >= columns - 1:
                    continue
                near = int(u)
                column = (v * columns + near) * pitch + PAD
                resample(
                    volume,
                    ((i + 1) * (ny + 2) + j + 1) * stride + PAD,
                    nz,
                    data,
                    column,
                    column + pitch,
                    rows,
                    float32(u - near),
                    factor,
                    float32(views[v, 6] - m * (nz - 1) * 0.5),
                    float32(m),
                )
        for j in range(low, high):
            begin = ((i + 1) * (ny + 2) + j + 1) * stride + PAD
            keep = float32(1.0) if inside[i, j] else float32(0.0)
            for k in range(nz):
                volume[begin + k] = keep * max(volume[begin + k], floor)
            for k in range(nz, nz + PAD):
                volume[begin + k] = 0.0


def field_of_view_um(geometry: ConeGeometry) -> float:
    """Radius of the cylinder that every view sees, within the volume: the support unless told otherwise."""
    half = 0.5 * (geometry.detector_shape[1] - 1) * geometry.pixel_mm
    sees_um = geometry.source_object_mm * 1e3 * math.sin(math.atan2(half, geometry.source_detector_mm))
    return min(sees_um, 0.5 * geometry.voxel_um * min(geometry.volume_shape[1:]))


def _support(support: float | ArrayLike | None, geometry: ConeGeometry) -> NDArray[np.bool_]:
    _, ny, nx = geometry.volume_shape
    if support is None or np.ndim(support) == 0:
        radius = field_of_view_um(geometry) if support is None else float(np.asarray(support))
        if not radius > 0:
            raise ValueError(f"support: needs a positive radius in um or a mask (y, x), got {radius}")
        y, x = ((np.arange(n) - (n - 1) / 2) * geometry.voxel_um for n in (ny, nx))
        return np.asarray(y[:, None] ** 2 + x[None, :] ** 2 <= radius * radius)
    mask = np.asarray(support).astype(bool)
    if mask.shape != (ny, nx) or not mask.any():
        raise ValueError(f"support: needs a radius in um or a mask (y, x) of shape {(ny, nx)}, got {mask.shape}")
    return mask


def _chords(rays: Rays, inside: NDArray[np.bool_], voxel_um: float) -> NDArray[np.float64]:
    """(views, columns, 2): distances in x where each ray enters and leaves the disk round the support, in voxels."""
    ny, nx = inside.shape
    y, x = np.nonzero(inside)
    radius = math.sqrt(((x - (nx - 1) / 2) ** 2 + (y - (ny - 1) / 2) ** 2).max()) + 0.5
    sod, axis, mag, centre = (rays.views[:, n : n + 1] for n in (2, 3, 4, 5))
    tangent = (np.arange(rays.columns)[None, :] - centre) / mag
    square = 1 + tangent * tangent
    middle = (sod + tangent * axis) / square  # nearest point of (t, t tangent) to the axis at (sod, axis)
    gap = (sod * tangent - axis) ** 2 / square
    half = np.sqrt(np.maximum(radius * radius - gap, 0) / square)
    return np.stack([middle - half, middle + half], axis=-1)


def subset_order(geometry: ConeGeometry, subsets: int) -> list[NDArray[np.int64]]:
    """Views of each subset, evenly spread over the turn, subsets in golden-ratio order (each far from the last)."""
    by_angle = np.argsort(geometry.angles_deg % 360, kind="stable")
    order = np.argsort(np.arange(subsets) * GOLDEN % 1.0, kind="stable")
    return [by_angle[first::subsets] for first in np.argsort(order, kind="stable")]


def memory_needed(geometry: ConeGeometry, *, tv: bool = True) -> int:
    """Bytes that :func:`sart` allocates beyond its arguments, result included."""
    nz, ny, nx = geometry.volume_shape
    n, (rows, columns) = geometry.num_views, geometry.detector_shape
    volume = 4 * (nx + 2) * (ny + 2) * (nz + PAD)
    data = 4 * n * columns * (rows + PAD)
    return volume + 2 * data + 4 * nx * ny * nz * (5 if tv else 1)


def sart(
    p: ArrayLike,
    geometry: ConeGeometry,
    *,
    sweeps: int = SWEEPS,
    subsets: int | None = None,
    relaxation: float = RELAXATION,
    tv: float = NOISE_UNITS,
    support: float | ArrayLike | None = None,
    nonnegative: bool = True,
    initial: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    progress: Callable[[float], None] | None = None,
) -> SartResult:
    """Volume from line integrals by SART; with its defaults the right thing for measured data.

    Parameters
    ----------
    p : (angle, row, column) line integrals, dimensionless.
    geometry : the scan and the volume, with all offsets, shifts and the roll in effect.
    sweeps : passes over all views.
    subsets : subsets per sweep; ``len(angles)`` is one view per subset; default ten views each, 30 at least.
    relaxation : fraction of the correction that is applied, 0 < relaxation < 2.
    tv : total-variation denoising after each sweep in units of the volume's own noise; 0 for none.
    support : radius in um of the cylinder that holds the specimen, or a mask (y, x); default the field of view.
    nonnegative : clip the volume at zero.
    initial : (z, y, x) start in 1/um, default zero.
    weights : (angle, row, column) trust in each ray relative to the best, 0 to 1, default 1; 0 ignores the ray.
    progress : called with the finished fraction after each subset.

    Raises
    ------
    ValueError naming the argument, what it got and what it needs.
    """
    started = time.perf_counter()
    n = geometry.num_views
    subsets = min(n, max(n // VIEWS_PER_SUBSET, LEAST_SUBSETS)) if subsets is None else subsets
    if not 1 <= subsets <= n:
        raise ValueError(f"subsets: needs 1 to {n} (one view per subset), got {subsets}")
    if sweeps < 1:
        raise ValueError(f"sweeps: needs at least one, got {sweeps}")
    if not 0 < relaxation < 2:
        raise ValueError(f"relaxation: needs a number between 0 and 2, got {relaxation}")
    if not tv >= 0:
        raise ValueError(f"tv: needs a strength in units of the noise, 0 for none, got {tv}")
    shape = (n, *geometry.detector_shape)
    data = upright(checked("p", p, shape), geometry)
    trust = np.ones(shape, np.float32) if weights is None else checked("weights", weights, shape)
    if trust.min() < 0 or trust.max() <= 0:
        raise ValueError(f"weights: needs numbers from 0 to 1, got {trust.min():.3g} to {trust.max():.3g}")
    trust = upright(trust, geometry)
    inside = _support(support, geometry)
    rays = trace(geometry, inside)
    measured, trusted = rays.empty_projections(), rays.empty_projections()
    rays.projections_view(measured)[...] = data.transpose(0, 2, 1)
    rays.projections_view(trusted)[...] = trust.transpose(0, 2, 1)
    chord = _chords(rays, inside, geometry.voxel_um)
    volume = rays.empty_volume()
    if initial is not None:
        start = checked("initial", initial, geometry.volume_shape)
        rays.volume_view(volume)[...] = np.where(inside[None], start, 0).transpose(2, 1, 0)
    floor = np.float32(0.0 if nonnegative else -np.inf)
    order = [(chosen, rays[chosen], chord[chosen]) for chosen in subset_order(geometry, subsets)]
    mask = np.ascontiguousarray(inside.T)
    residuals = np.zeros(sweeps)
    for sweep in range(sweeps):
        for done, (chosen, some, chords) in enumerate(order, start=1):
            out, squares = some.empty_projections(), np.empty(len(some) * some.columns)
            sum_planes(some, volume, out)
            _residual(
                out, measured, trusted, chosen, some.views, some.along_x, chords, some.size, geometry.voxel_um, squares
            )
            _update(volume, out, some.views, some.span_x, mask, some.size, float(relaxation), floor)
            residuals[sweep] += squares.sum()
            if progress is not None:
                progress((sweep + done / subsets) / sweeps)
        if tv > 0:
            view = rays.volume_view(volume)
            view[...] = denoise(view, tv * noise_level(view, mask), mask)
    residuals = np.sqrt(residuals / trust.sum(dtype=np.float64))
    result = np.ascontiguousarray(rays.volume_view(volume).transpose(2, 1, 0))
    return SartResult(result, residuals, time.perf_counter() - started)

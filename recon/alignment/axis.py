"""Find the rotation axis from the projections alone, by the negative attenuation that a wrong axis makes.

T. Donath, F. Beckmann, A. Schreyer, J. Opt. Soc. Am. A 23 (2006) 1048: the integral of a slice hardly depends on the
assumed axis, while the integral of its absolute value is least at the true axis, because every displaced edge leaves
negative values beside it. That holds for half a turn of a parallel or cone beam; over a full turn opposite views only
blur each other, so half of it is used. The whole range is searched with binned images, the neighbourhood of the best
offset with finer ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from recon.algorithms.fdk import fdk
from recon.algorithms.redundancy import fan_deg
from recon.kernels.binning import binned_images
from xrm_sims.geometry import Geometry

ROWS = 16  # detector rows around the plane of the source; one run of the kernels along a column
MOST_VIEWS = 200
COARSE_VIEWS = 100
COARSE_COLUMNS = 64
FINE_COLUMNS = 320
TOLERANCE = 0.03  # of a binned pixel


def find_axis(p: ArrayLike, geometry: Geometry, *, search_px: float | None = None) -> Geometry:
    """Return the geometry with the column of ``detector_offset_px`` that fits the projections best.

    Its ``axis_column`` is the detector column of the axis. Works best for a specimen that every view sees whole.
    Raises ValueError naming the argument, what it got and what it needs.

    Parameters
    ----------
    p : (angle, row, column) line integrals, over half a turn at least.
    geometry : the scan as far as it is known; the search starts from its offsets.
    search_px : largest distance of the axis from there; default a quarter of the detector's width.
    """
    shape = (geometry.num_views, *geometry.detector_shape)
    if np.shape(p) != shape:
        raise ValueError(f"p: got shape {np.shape(p)}, the geometry needs {shape}")
    columns = shape[2]
    reach = columns / 4 if search_px is None else float(search_px)
    if not 0 < reach < columns / 2:
        raise ValueError(f"search_px: needs a distance from 0 to half the {columns} columns, got {search_px}")
    images, thin = _half_turn(p, geometry)
    factor = math.ceil(columns / COARSE_COLUMNS)
    found = _search(images, thin, factor, reach)
    while factor > max(1, columns // FINE_COLUMNS):
        near, factor = 1.5 * factor, factor // 2
        found = _refine(images, thin, factor, found, near)
    row, column = geometry.detector_offset_px
    return replace(geometry, detector_offset_px=(row, column + found))


def _half_turn(p: ArrayLike, geometry: Geometry) -> tuple[NDArray[np.float32], Geometry]:
    """Return rows around the plane of the source and views of half a turn plus the fan, with voxels like pixels."""
    rows, columns = geometry.detector_shape
    middle = (rows - 1) / 2 + geometry.detector_offset_px[0]
    count = min(ROWS, rows)
    first = int(np.clip(round(middle - (count - 1) / 2), 0, rows - count))
    angles = geometry.angles_deg % 360.0
    order = np.argsort(angles, kind="stable")
    gaps = np.diff(angles[order], append=angles[order[0]] + 360.0)
    turned = (angles - angles[order[(int(np.argmax(gaps)) + 1) % len(order)]]) % 360.0
    views = _spread_out(np.flatnonzero(turned < 180.0 + fan_deg(geometry)), MOST_VIEWS)
    images = np.asarray(p, np.float32)[views, first : first + count]
    if not np.isfinite(images).all():
        raise ValueError(f"p: needs finite numbers, got {np.count_nonzero(~np.isfinite(images))} that are not")
    return images, replace(
        geometry.only(views),
        detector_shape=(count, columns),
        detector_offset_px=(middle - first - (count - 1) / 2, geometry.detector_offset_px[1]),
        volume_shape=(count, columns, columns),
        voxel_um=1e3 * geometry.pixel_mm / geometry.magnification,
    )


def _spread_out(views: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return views[np.unique(np.linspace(0, len(views) - 1, min(len(views), most)).round().astype(int))]


def _cost(p: NDArray[np.float32], geometry: Geometry, factor: int, radius_px: float) -> Callable[[float], float]:
    """Return the integral of the absolute value of binned slices as a function of the offset in unbinned pixels."""
    images, coarse = binned_images(p, factor), geometry.binned(factor)
    row, column = coarse.detector_offset_px
    radius_um = radius_px * geometry.voxel_um

    def cost(offset_px: float) -> float:
        moved = replace(coarse, detector_offset_px=(row, column + offset_px / factor))
        return float(np.abs(fdk(images, moved, window="hann", support=radius_um)).sum(dtype=np.float64))

    return cost


def _search(p: NDArray[np.float32], geometry: Geometry, factor: int, reach: float) -> float:
    """Return the best of offsets one binned pixel apart, in a volume that holds the specimen for each of them."""
    few = _spread_out(np.arange(len(p)), COARSE_VIEWS)
    width = geometry.detector_shape[1] + 2 * math.ceil(reach)
    wide = replace(geometry.only(few), volume_shape=(geometry.volume_shape[0], width, width))
    cost = _cost(p[few], wide, factor, width / 2)
    steps = math.floor(reach / factor)
    offsets = factor * np.arange(-steps, steps + 1)
    return float(offsets[int(np.argmin([cost(float(offset)) for offset in offsets]))])


def _refine(p: NDArray[np.float32], geometry: Geometry, factor: int, centre: float, reach: float) -> float:
    """Return the offset of least cost within ``reach``, in a disk that all offsets see: their noise is equal."""
    columns = geometry.detector_shape[1]
    seen = columns / 2 - abs(geometry.detector_offset_px[1] + centre) - reach
    cost = _cost(p, geometry, factor, max(seen, columns / 8))
    span = (centre - reach, centre + reach)
    return float(minimize_scalar(cost, bounds=span, method="bounded", options={"xatol": TOLERANCE * factor}).x)

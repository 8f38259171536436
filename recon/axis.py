"""The rotation axis found from the projections alone, by how much negative attenuation a wrong one makes.

T. Donath, F. Beckmann, A. Schreyer, J. Opt. Soc. Am. A 23 (2006) 1048: the integral of a slice hardly depends on where
the axis is assumed, that of its absolute value is least at the right place, because every misplaced edge leaves negative
values beside it. It works for half turns and full ones, parallel and cone beams. Searched with binned images over the
whole range first, where nothing can be missed, then with finer ones around the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from recon.fdk import fdk
from xrm_sims.geometry import Geometry

ROWS = 16  # detector rows round the plane of the source; one column run of the kernels
MOST_VIEWS = 400
COARSE_COLUMNS = 64
FINE_COLUMNS = 320
TOLERANCE = 0.03  # of a binned pixel


def find_axis(p: ArrayLike, geometry: Geometry, *, search_px: float | None = None) -> Geometry:
    """The geometry with the column of its ``detector_offset_px`` where the projections say that the axis is.

    Its ``axis_column`` is the detector column of the axis. A specimen that is seen whole in every view serves best.

    Parameters
    ----------
    p : (angle, row, column) line integrals, over half a turn at least.
    geometry : the scan as far as it is known; the search starts from its offsets.
    search_px : how far from there the axis may lie; default a quarter of the detector's width.

    Raises
    ------
    ValueError naming the argument, what it got and what it needs.
    """
    shape = (geometry.num_views, *geometry.detector_shape)
    if np.shape(p) != shape:
        raise ValueError(f"p: got shape {np.shape(p)}, the geometry needs {shape}")
    columns = shape[2]
    reach = columns / 4 if search_px is None else float(search_px)
    if not 0 < reach < columns / 2:
        raise ValueError(f"search_px: needs a distance from 0 to half the {columns} columns, got {search_px}")
    images, thin = _few(p, geometry)
    factor = max(1, columns // COARSE_COLUMNS)
    found = _search(images, thin, factor, reach)
    while factor > max(1, columns // FINE_COLUMNS):
        near, factor = 1.5 * factor, max(1, factor // 2)
        found = _refine(images, thin, factor, found, near)
    row, column = geometry.detector_offset_px
    return replace(geometry, detector_offset_px=(row, column + found))


def _few(p: ArrayLike, geometry: Geometry) -> tuple[NDArray[np.float32], Geometry]:
    """Some rows round the plane of the source and some of the views, with a volume of that height and twice the width."""
    n, (rows, columns) = geometry.num_views, geometry.detector_shape
    middle = (rows - 1) / 2 + geometry.detector_offset_px[0]
    count = min(ROWS, rows)
    first = int(np.clip(round(middle - (count - 1) / 2), 0, rows - count))
    views = np.unique(np.linspace(0, n - 1, min(n, MOST_VIEWS)).round().astype(int))
    images = np.asarray(p, np.float32)[views, first : first + count]
    if not np.isfinite(images).all():
        raise ValueError(f"p: needs finite numbers, got {np.count_nonzero(~np.isfinite(images))} that are not")
    pitch_um = 1e3 * geometry.pixel_mm / geometry.magnification
    return images, replace(
        geometry.only(views),
        detector_shape=(count, columns),
        detector_offset_px=(middle - first - (count - 1) / 2, geometry.detector_offset_px[1]),
        volume_shape=(count, 3 * columns // 2, 3 * columns // 2),
        voxel_um=pitch_um,
    )


def _binned(p: NDArray[np.float32], geometry: Geometry, factor: int) -> tuple[NDArray[np.float32], Geometry]:
    rows, columns = geometry.binned(factor).detector_shape
    tall, wide = min(factor, p.shape[1]), factor
    cut = p[:, : rows * tall, : columns * wide].reshape(len(p), rows, tall, columns, wide)
    return cut.mean(axis=(2, 4)), geometry.binned(factor)


def _cost(p: NDArray[np.float32], geometry: Geometry, factor: int) -> Callable[[float], float]:
    """Integral of the absolute value of binned slices, as a function of the axis' offset in unbinned pixels."""
    images, coarse = _binned(p, geometry, factor)
    row, column = coarse.detector_offset_px
    half_um = 0.5 * coarse.voxel_um * coarse.volume_shape[1]

    def cost(offset_px: float) -> float:
        moved = replace(coarse, detector_offset_px=(row, column + offset_px / factor))
        return float(np.abs(fdk(images, moved, window="hann", support=half_um)).sum(dtype=np.float64))

    return cost


def _search(p: NDArray[np.float32], geometry: Geometry, factor: int, reach: float) -> float:
    """Best of all offsets half a binned pixel apart."""
    steps = math.floor(2 * reach / factor)
    offsets = 0.5 * factor * np.arange(-steps, steps + 1)
    cost = _cost(p, geometry, factor)
    return float(offsets[int(np.argmin([cost(float(offset)) for offset in offsets]))])


def _refine(p: NDArray[np.float32], geometry: Geometry, factor: int, centre: float, reach: float) -> float:
    span, accuracy = (centre - reach, centre + reach), {"xatol": TOLERANCE * factor}
    return float(minimize_scalar(_cost(p, geometry, factor), bounds=span, method="bounded", options=accuracy).x)

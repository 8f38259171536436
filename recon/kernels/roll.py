"""Detector roll as a resampling of whole images and its transpose, so that the columns of the kernels stay vertical."""

from __future__ import annotations

import math

import numpy as np
from numba import float32, njit, prange
from numpy.typing import NDArray

from recon.kernels.rays import Rays, trace
from xrm_sims.geometry import Geometry

Margin = tuple[int, int]


def roll_margin(geometry: Geometry) -> Margin:
    """Return by how many (rows, columns) the turned image reaches beyond the detector on each side."""
    if geometry.detector_roll_deg == 0:
        return 0, 0
    rows, columns = geometry.detector_shape
    tilt = abs(math.sin(math.radians(geometry.detector_roll_deg)))
    return math.ceil(columns * tilt) + 2, math.ceil(rows * tilt) + 2


def rolled(image: NDArray[np.float32], rays: Rays, geometry: Geometry, margin: Margin) -> NDArray[np.float32]:
    """Turn upright images (view, column, row), ``margin`` larger than the detector, into those of the rolled one."""
    if geometry.detector_roll_deg == 0:
        return image
    roll, (rows, columns) = math.radians(geometry.detector_roll_deg), geometry.detector_shape
    seen = np.zeros((len(image), columns, rows), np.float32)
    _turn(seen, np.ascontiguousarray(image), _centres(rays, margin), math.cos(roll), math.sin(roll), False)
    return seen


def rolled_transposed(seen: NDArray[np.float32], rays: Rays, geometry: Geometry, margin: Margin) -> NDArray[np.float32]:
    """Apply the transpose of :func:`rolled`."""
    if geometry.detector_roll_deg == 0:
        return seen
    roll = math.radians(geometry.detector_roll_deg)
    image = np.zeros((len(seen), rays.columns, rays.rows), np.float32)
    _turn(np.ascontiguousarray(seen), image, _centres(rays, margin), math.cos(roll), math.sin(roll), True)
    return image


def upright(p: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Turn measured projections (angle, row, column) back by the detector roll, zero where nothing was measured."""
    if geometry.detector_roll_deg == 0:
        return p
    roll = math.radians(-geometry.detector_roll_deg)
    out = np.zeros((len(p), p.shape[2], p.shape[1]), np.float32)
    measured = np.ascontiguousarray(p.transpose(0, 2, 1))
    _turn(out, measured, _centres(trace(geometry), (0, 0)), math.cos(roll), math.sin(roll), False)
    return out.transpose(0, 2, 1)


def _centres(rays: Rays, margin: Margin) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.hstack([rays.centres - np.array([margin[1], margin[0]]), rays.centres]))


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _turn(turned, upright, centres, cos, sin, transpose):
    """turned = upright images (view, column, row) turned counter-clockwise about ``centres``, or the transpose of that.

    ``centres`` (n, 4): column and row of the fixed point in ``turned`` and in ``upright``.
    """
    for v in prange(turned.shape[0]):
        for c in range(turned.shape[1]):
            for r in range(turned.shape[2]):
                u0, v0 = c - centres[v, 0], r - centres[v, 1]
                u = cos * u0 + sin * v0 + centres[v, 2]
                w = cos * v0 - sin * u0 + centres[v, 3]
                i, j = math.floor(u), math.floor(w)
                if i < 0 or j < 0 or i >= upright.shape[1] - 1 or j >= upright.shape[2] - 1:
                    continue
                fu, fw = float32(u - i), float32(w - j)
                one = float32(1.0)
                if transpose:
                    value = turned[v, c, r]
                    upright[v, i, j] += value * (one - fu) * (one - fw)
                    upright[v, i + 1, j] += value * fu * (one - fw)
                    upright[v, i, j + 1] += value * (one - fu) * fw
                    upright[v, i + 1, j + 1] += value * fu * fw
                else:
                    low = upright[v, i, j] * (one - fu) + upright[v, i + 1, j] * fu
                    high = upright[v, i, j + 1] * (one - fu) + upright[v, i + 1, j + 1] * fu
                    turned[v, c, r] = low * (one - fw) + high * fw

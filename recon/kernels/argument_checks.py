"""Checks of line integrals, weights and geometry before anything is computed from them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrm_sims.geometry import Geometry

RADIAN_TURNS = (2 * math.pi, math.pi)
TURN_TOLERANCE = 0.02  # relative
LEAST_VIEWS = 12  # fewer within so small a range may be part of a scan
OPAQUE = 30.0  # a typical line integral that no detector can have measured


def checked_array(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a float32 array of this shape without NaN and infinity, or raise a ValueError that names the argument."""
    array = np.asarray(value, dtype=np.float32)
    if array.shape != shape:
        raise ValueError(f"{name}: got shape {array.shape}, the geometry needs {shape}")
    total = float(array.sum(dtype=np.float64))
    if not math.isfinite(total):
        raise ValueError(f"{name}: needs finite numbers, got {np.count_nonzero(~np.isfinite(array))} that are not")
    return array


def checked_scan(p: ArrayLike, geometry: Geometry) -> NDArray[np.float32]:
    """Return line integrals (angle, row, column) that fit the geometry of their scan, as float32.

    Raises ValueError naming the argument: a wrong number of angles, rows or columns, numbers that are not finite,
    counts instead of line integrals, angles in radians, a volume that no ray passes through.
    """
    data = checked_array("p", p, (geometry.num_views, *geometry.detector_shape))
    sample = data[:: max(1, len(data) // 16)]
    if abs(float(np.median(sample))) > OPAQUE:
        raise ValueError(
            f"p: half its numbers are beyond {float(np.median(sample)):.4g}, which lets no photon through; are these "
            "counts? needs line integrals, -ln(transmission) (recon.line_integrals)"
        )
    _check_angles(geometry.angles_deg)
    _check_field(geometry)
    return data


def _check_angles(angles_deg: NDArray[np.float64]) -> None:
    """Raise ValueError where the views cover one turn or half a turn in radians, or are all at one angle."""
    n = len(angles_deg)
    span = float(np.ptp(angles_deg))
    if n < LEAST_VIEWS:
        return
    if span == 0:
        raise ValueError(f"angles_deg: all {n} views are at {angles_deg[0]:g} degrees")
    for turn in RADIAN_TURNS:
        if min(abs(span * n / (n - 1) / turn - 1), abs(span / turn - 1)) < TURN_TOLERANCE:
            raise ValueError(
                f"angles_deg: {n} views within {span:.4g} degrees; are these radians? (numpy.degrees turns them)"
            )


def _check_field(geometry: Geometry) -> None:
    """Raise ValueError where the image of the volume lies outside of the detector in every view."""
    shifts = np.zeros((geometry.num_views, 2)) if geometry.view_shifts_px is None else geometry.view_shifts_px
    rows, columns = geometry.detector_shape
    pitch_um = geometry.pixel_mm * 1e3 / geometry.magnification
    half_rows = 0.5 * geometry.volume_shape[0] * geometry.voxel_um / pitch_um
    half_columns = 0.5 * max(geometry.volume_shape[1:]) * geometry.voxel_um / pitch_um
    beside_rows = np.abs(geometry.detector_offset_px[0] + shifts[:, 0]) > 0.5 * rows + half_rows
    beside_columns = np.abs(geometry.axis_column + shifts[:, 1] - 0.5 * (columns - 1)) > 0.5 * columns + half_columns
    if (beside_rows | beside_columns).all():
        raise ValueError(
            f"geometry: no ray of any view passes through the volume: its axis falls on column "
            f"{geometry.axis_column + np.median(shifts[:, 1]):.1f} of {columns} and its middle on row "
            f"{0.5 * (rows - 1) + geometry.detector_offset_px[0] + np.median(shifts[:, 0]):.1f} of {rows}; check "
            "detector_offset_px, axis_offset_um and view_shifts_px"
        )


def checked_weights(weights: ArrayLike, geometry: Geometry) -> NDArray[np.floating]:
    """Return the weight of each ray (angle, row, column), in the float type it came in.

    Raises ValueError for a shape that does not fit, for numbers other than 0 to 1, and where all are 0.
    """
    trust = np.asarray(weights)
    trust = trust if trust.dtype.kind == "f" else trust.astype(np.float32)
    shape = (geometry.num_views, *geometry.detector_shape)
    if trust.shape != shape:
        raise ValueError(f"weights: got shape {trust.shape}, the geometry needs {shape}")
    low, high = float(trust.min()), float(trust.max())
    if not (low >= 0 and 0 < high < math.inf):
        raise ValueError(f"weights: needs numbers from 0 to 1, got {low:.3g} to {high:.3g}")
    return trust

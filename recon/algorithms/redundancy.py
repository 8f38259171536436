"""Weights of the rays of a scan in filtered back projection, which share out rays that are measured twice.

The ray at fan angle g of the view at angle b is measured again, reversed, at -g of the view half a turn away, less
twice the fan angle. Where both are measured their weights add up to one, smoothly (F. Noo et al., Phys. Med. Biol. 47
(2002) 2525; for short scans the same purpose as D. L. Parker, Med. Phys. 9 (1982) 254); a single one has weight one.
This covers full turns, short scans, gaps, and detectors that reach further on one side of the axis.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recon.kernels.rays import trace
from xrm_sims.geometry import Geometry

OPENING = 3.0  # in wider gaps between views, in median steps, only the rays from the other side count
TAPER_DEG = 10.0  # views fade in over this range behind such a gap
TAPER_FRACTION = 0.25  # columns fade in over this share of the detector


def view_weights(geometry: Geometry) -> NDArray[np.float64]:
    """Return the angle in radians that each view represents times its share of each ray: (view, column)."""
    angles = geometry.angles_deg % 360.0
    cells, openings = _cells(angles)
    views, columns = trace(geometry).views, geometry.detector_shape[1]
    centre = np.median(views[:, 5])
    tilt = np.arctan2(views[0, 3], views[0, 2])  # direction from the source to the axis
    fan = np.arctan((np.arange(columns) - centre) / np.median(views[:, 4]))
    opposite = centre + np.median(views[:, 4]) * np.tan(2 * tilt - fan)
    here, there = _column_quality(np.arange(columns, dtype=float), columns), _column_quality(opposite, columns)
    from_here = _view_quality(angles, openings)[:, None] * here
    turned = angles[:, None] - 180.0 + np.degrees(2 * (tilt - fan))[None, :]
    from_there = _view_quality(turned, openings) * there
    return np.radians(cells)[:, None] * from_here / (from_here + from_there)


def covered_deg(geometry: Geometry) -> float:
    """Return in how many of 180 degrees rays cross the axis."""
    column = int(np.clip(round(geometry.axis_column), 0, geometry.detector_shape[1] - 1))
    return math.degrees(view_weights(geometry)[:, column].sum())


def fan_deg(geometry: Geometry) -> float:
    """Full angle of the fan of rays in the plane of the source; 0 in a parallel beam."""
    half = 0.5 * geometry.detector_shape[1] * geometry.pixel_mm
    return 2 * math.degrees(math.atan2(half, geometry.source_detector_mm))


def _cells(angles: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the degrees that each view represents, and the first and last angle (n, 2) of each gap between views."""
    distinct, which, repeats = np.unique(angles, return_inverse=True, return_counts=True)
    if len(distinct) == 1:
        return np.full(len(angles), 360.0 / len(angles)), np.empty((0, 2))
    gaps = np.diff(distinct, append=distinct[0] + 360.0)
    step = float(np.median(gaps))
    wide = gaps > OPENING * step
    reach = np.where(wide, step, gaps) / 2
    cells = (reach + np.roll(reach, 1)) / repeats
    start = distinct[wide] + step / 2
    return cells[which], np.stack([start, start + gaps[wide] - step], axis=1)


def _view_quality(angles: NDArray[np.float64], openings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 far from every gap, falling to 0 at its edges and in it."""
    quality = np.ones_like(angles)
    for first, last in openings:
        behind = (angles - last) % 360.0
        distance = np.minimum(behind, 360.0 - (last - first) - behind)
        quality = np.minimum(quality, _rise(distance / TAPER_DEG))
    return quality


def _column_quality(columns: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    distance = np.minimum(columns, count - 1 - columns) + 0.5
    return _rise(distance / (TAPER_FRACTION * count))


def _rise(x: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(np.sin(0.5 * math.pi * np.clip(x, 0, 1)) ** 2)

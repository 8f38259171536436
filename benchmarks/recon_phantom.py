"""Spheres (and a pillar around them) with exactly known projections.

Lengths in voxels, attenuation per voxel; the detector pixel is one voxel at the rotation axis. Frames and signs are
those of :mod:`xrm_sims.geometry`, implemented independently to check the projectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange

from xrm_sims.geometry import ConeGeometry, Geometry, ParallelGeometry

MAGNIFICATION = 1100.0
Images = np.ndarray[Any, np.dtype[np.float32]]
CASES = {"B1": (128, 128, 180), "B2": (256, 64, 360)}  # width, height, views


@dataclass(frozen=True)
class Phantom:
    """balls: rows of x, y, z, radius, attenuation; pillar: radius, top, attenuation of a cylinder without bottom."""

    balls: np.ndarray[Any, np.dtype[np.float64]]
    pillar: tuple[float, float, float] = (0.0, 0.0, 0.0)


def random_spheres(width: int, height: int, seed: int, count: int = 60) -> Phantom:
    """Return a large sphere of attenuation 0.01 with small ones, denser, equal or lighter, in and around it."""
    rng = np.random.default_rng(seed)
    half, tall = width / 2, height / 2
    rows = [(0.0, 0.0, 0.0, 0.8 * min(half, tall), 0.01)]
    while len(rows) <= count:
        radius = rng.uniform(0.02, 0.12) * min(half, 1.5 * tall)
        x, y, z = rng.uniform(-1, 1, 3) * (0.85 * half, 0.85 * half, 0.8 * tall)
        if math.hypot(x, y) + radius < 0.88 * half and abs(z) + radius < 0.82 * tall:
            rows.append((x, y, z, radius, rng.choice([0.02, 0.01, -0.005])))
    return Phantom(np.array(rows))


def pillar_with_spheres(width: int, height: int, seed: int, count: int = 150) -> Phantom:
    """Return a free-standing pillar of 62 % of the width with its flat top in the field, voids and dense grains."""
    rng = np.random.default_rng(seed)
    radius, top = 0.31 * width, 0.3 * height
    rows = []
    while len(rows) < count:
        r = rng.uniform(0.02, 0.08) * width
        x, y, z = rng.uniform(-1, 1, 3) * (radius, radius, height)
        if math.hypot(x, y) + r < radius and z + r < top:
            rows.append((x, y, z, r, rng.choice([0.006, -0.006])))
    return Phantom(np.array(rows), (radius, top, 0.008))


def scan_geometry(width: int, height: int, views: int, **changes: Any) -> ConeGeometry:
    """Return a cone-beam scan with voxels of 1 um, as many as pixels, and the source 6.25 widths away."""
    table: dict[str, Any] = {
        "source_object_mm": 6.25e-3 * width,
        "source_detector_mm": 6.25e-3 * width * MAGNIFICATION,
        "pixel_mm": 1e-3 * MAGNIFICATION,
        "detector_shape": (height, width),
        "angles_deg": np.arange(views) * (360.0 / views),
        "volume_shape": (height, width, width),
        "voxel_um": 1.0,
    }
    return ConeGeometry(**(table | changes))


def parallel_geometry(width: int, height: int, views: int, **changes: Any) -> ParallelGeometry:
    """Return a parallel-beam scan over half a turn with voxels and pixels of 1 um."""
    table: dict[str, Any] = {
        "pixel_um": 1.0,
        "detector_shape": (height, width),
        "angles_deg": np.arange(views) * (180.0 / views),
        "volume_shape": (height, width, width),
        "voxel_um": 1.0,
    }
    return ParallelGeometry(**(table | changes))


def exact_projections(phantom: Phantom, geometry: Geometry) -> Images:
    """Return line integrals (angle, row, column) with the geometry's offsets, shifts, scales and roll in um."""
    n, (rows, columns) = geometry.num_views, geometry.detector_shape
    shifts = np.zeros((n, 2)) if geometry.view_shifts_px is None else geometry.view_shifts_px
    scale = np.ones(n) if geometry.view_scale is None else geometry.view_scale
    height = np.zeros(n) if geometry.view_height_um is None else geometry.view_height_um
    return np.asarray(
        _project(
            phantom.balls,
            phantom.pillar,
            np.radians(geometry.angles_deg),
            shifts + np.array(geometry.detector_offset_px),
            geometry.pixel_mm / geometry.source_detector_mm / scale,
            height,
            math.radians(geometry.detector_roll_deg),
            1e3 * geometry.source_object_mm,
            geometry.axis_offset_um,
            rows,
            columns,
        )
    )


@njit(parallel=True)
def _project(balls, pillar, angles, moved, slopes, heights, roll, sod, axis, rows, columns):
    out = np.zeros((angles.size, rows, columns), np.float32)
    for a in prange(angles.size):
        cos, sin = math.cos(angles[a]), math.sin(angles[a])
        for r in range(rows):
            for c in range(columns):
                right = c - (columns - 1) / 2 - moved[a, 1]
                up = r - (rows - 1) / 2 - moved[a, 0]
                y = (math.cos(roll) * right + math.sin(roll) * up) * slopes[a]
                z = (math.cos(roll) * up - math.sin(roll) * right) * slopes[a] - heights[a] / sod
                norm = math.sqrt(1 + y * y + z * z)
                total = 0.0
                for n in range(len(balls)):  # source at the origin, ray along (1, y, z) / norm
                    px = balls[n, 0] * cos - balls[n, 1] * sin + sod
                    py = balls[n, 0] * sin + balls[n, 1] * cos + axis
                    pz = balls[n, 2] - heights[a]
                    across = (py * z - pz * y) ** 2 + (pz - px * z) ** 2 + (px * y - py) ** 2
                    inside = balls[n, 3] ** 2 - across / norm**2
                    if inside > 0:
                        total += 2 * balls[n, 4] * math.sqrt(inside)
                square = 1 + y * y
                middle = (sod + axis * y) / square
                half = (pillar[0] ** 2 - (sod * y - axis) ** 2 / square) / square
                if half > 0:
                    near, far = middle - math.sqrt(half), middle + math.sqrt(half)
                    top = pillar[1] - heights[a]
                    if z > 0:
                        far = min(far, top / z)
                    elif z < 0:
                        near = max(near, top / z)
                    total += pillar[2] * max(far - near, 0.0) * norm
                out[a, r, c] = total
    return out


def truth(phantom: Phantom, shape: tuple[int, int, int], fine: int = 3) -> Images:
    """Return the volume (z, y, x), averaged over ``fine``^3 points of each voxel."""
    nz, ny, nx = shape
    z, y, x = (np.arange(n * fine) / fine - (n - 1 / fine) / 2 for n in shape)
    out = np.zeros(shape, np.float32)
    for k in range(nz):
        slab = np.zeros((fine, ny * fine, nx * fine), np.float32)
        heights = z[k * fine : (k + 1) * fine]
        disk = y[:, None] ** 2 + x**2
        slab += phantom.pillar[2] * (heights[:, None, None] < phantom.pillar[1]) * (disk < phantom.pillar[0] ** 2)
        for bx, by, bz, radius, value in phantom.balls:
            if abs(heights.mean() - bz) > radius + 1:
                continue
            rows, columns = np.abs(y - by) < radius, np.abs(x - bx) < radius
            near = (y[rows, None] - by) ** 2 + (x[columns] - bx) ** 2
            ball = near[None] + (heights[:, None, None] - bz) ** 2 < radius**2
            slab[np.ix_(range(fine), np.flatnonzero(rows), np.flatnonzero(columns))] += np.float32(value) * ball
        out[k] = slab.reshape(fine, ny, fine, nx, fine).mean(axis=(0, 2, 4))
    return out


def rms_error(volume: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    """Return the root mean square error in a cylinder of 90 % of the width, without 5 % of the slices at each end."""
    height, width = reference.shape[:2]
    x = np.arange(width) - (width - 1) / 2
    disk = x[:, None] ** 2 + x**2 < (0.45 * width) ** 2
    cut = round(0.05 * height)
    difference = (volume.astype(np.float64) - reference)[cut : height - cut][:, disk]
    return float(np.sqrt((difference**2).mean()))

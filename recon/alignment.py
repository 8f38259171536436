"""Geometry correction from the data: where each image lies although it should lie elsewhere.

First from moments of the projections (Helgason-Ludwig consistency): the integral of a row over all columns does not
change with the angle, so the profile of row sums moves only with the image; the centre of mass across the columns of
a specimen that turns about a fixed axis draws a sinusoid, and what departs from it is motion. Both use every
particle, void and edge in the field instead of stumbling over them. Then by reprojection: reconstruct coarsely,
project, and register each measured image with its reprojection (B. D. Lucas, T. Kanade, IJCAI 1981), as in
D. Gürsoy et al., Sci. Rep. 7 (2017) 11818.

A sinusoid in the columns and a constant in the rows are the position of the specimen, not motion, and no projection
tells them apart. They are fixed by convention: the axis of a round, free-standing pillar is the axis of the specimen
frame; otherwise the sinusoid is that of the drift which the reference images saw, or zero without any.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import shift as displaced

from recon.checks import checked_scan
from recon.outline import round_outline
from recon.projector import checked, project
from recon.sart import sart
from xrm_sims.geometry import ConeGeometry

ROUNDS = 2
COARSE_COLUMNS = 160  # the reprojection works on images binned to about this width
TEMPLATE_ROUNDS = 3
GAUSS_NEWTON_STEPS = 8
AIR_SHARE = 0.05  # of the largest mean integral: what the outermost columns may show beside a whole specimen
SUPPORT_MARGIN_PX = 4.0
MARGIN = 0.06  # share of the image left out on each side of a registration


def correct_geometry(
    p: ArrayLike,
    geometry: ConeGeometry,
    *,
    weights: ArrayLike | None = None,
    times_s: ArrayLike | None = None,
    reference: ArrayLike | None = None,
    reference_times_s: ArrayLike | None = None,
    rounds: int = ROUNDS,
    progress: Callable[[float], None] | None = None,
) -> ConeGeometry:
    """The geometry with ``view_shifts_px`` (and angles) found from the projections.

    Parameters
    ----------
    p : (angle, row, column) line integrals.
    geometry : the scan as built; shifts that it holds already are the start for the reprojection.
    weights : (angle, row, column) trust in each ray, 0 to 1.
    times_s : (n,) when each view was taken.
    reference, reference_times_s : (m, row, column) line integrals of images at one and the same angle, and when.
        They tell drift of the source from motion of the stage: the source's also turns the viewing direction.
    rounds : of reprojection alignment, 0 for none.
    progress : called with the finished fraction.

    Raises
    ------
    ValueError naming the argument, what it got and what it needs.
    """
    shape = (geometry.num_views, *geometry.detector_shape)
    data = checked_scan(p, geometry)
    trusted = None if weights is None else checked("weights", weights, shape)
    drift = _drift(reference, times_s, reference_times_s, geometry)
    if geometry.view_shifts_px is not None:
        shifts = geometry.view_shifts_px.copy()
    elif _stands_free(data):
        shifts = _moment_shifts(data, geometry)
    else:
        shifts = np.zeros((geometry.num_views, 2)) if drift is None else drift.copy()
    if drift is not None:
        shifts[:, 0] -= (shifts[:, 0] - drift[:, 0]).mean()
        # the references saw the drift's own sinusoid, which the views alone take for the specimen's position
        shifts[:, 1] += drift[:, 1] - without_position(drift[:, 1], geometry.angles_deg)
        geometry = replace(geometry, angles_deg=geometry.angles_deg + _turned_deg(drift[:, 1], geometry))
    elif geometry.view_shifts_px is None:
        shifts[:, 0] -= shifts[0, 0]
    for n in range(rounds):
        geometry = replace(geometry, view_shifts_px=shifts)
        step, position = _reprojection_step(data, trusted, geometry)
        shifts = shifts + step
        if n == rounds - 1:
            shifts[:, 1] += position
        if progress is not None:
            progress((n + 1) / rounds)
    return replace(geometry, view_shifts_px=shifts)


def _stands_free(p: NDArray[np.float32]) -> bool:
    """Whether there is air on both sides of the specimen in the mean image."""
    columns = p[:: max(1, len(p) // 64)].mean(axis=(0, 1))
    top = float(columns.max())
    return top > 0 and max(abs(columns[:3]).max(), abs(columns[-3:]).max()) < AIR_SHARE * top


def specimen_radius_um(p: NDArray[np.float32], geometry: ConeGeometry) -> float | None:
    """Radius about the axis that holds a free-standing specimen with a margin; None when it fills the field."""
    if not _stands_free(p):
        return None
    profile = p.mean(axis=1)
    shifts = np.zeros(geometry.num_views) if geometry.view_shifts_px is None else geometry.view_shifts_px[:, 1]
    columns = np.arange(geometry.detector_shape[1]) - (geometry.detector_shape[1] - 1) / 2
    distance = np.abs(columns[None, :] - geometry.detector_offset_px[1] - shifts[:, None])
    occupied = profile > AIR_SHARE * np.quantile(profile, 0.99)
    reach_px = float(np.quantile((distance * occupied).max(axis=1), 0.99)) + SUPPORT_MARGIN_PX
    return reach_px * geometry.pixel_mm * 1e3 / geometry.magnification


def without_position(columns_px: NDArray[np.float64], angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Column shifts less the sinusoid that a displaced specimen draws."""
    angle = np.radians(angles_deg)
    design = np.column_stack([np.ones_like(angle), np.cos(angle), np.sin(angle)])
    fit, *_ = np.linalg.lstsq(design, columns_px, rcond=None)
    return np.asarray(columns_px - design[:, 1:] @ fit[1:])


def _moment_shifts(p: NDArray[np.float32], geometry: ConeGeometry) -> NDArray[np.float64]:
    columns = geometry.detector_shape[1]
    mass = p.sum(axis=1, dtype=np.float64)
    centre = (mass @ np.arange(columns)) / np.maximum(mass.sum(axis=1), 1e-9) - (columns - 1) / 2
    axis_px = geometry.axis_offset_um * 1e-3 * geometry.magnification / geometry.pixel_mm
    across = without_position(centre - geometry.detector_offset_px[1] - axis_px, geometry.angles_deg)
    along = _register_profiles(p.sum(axis=2, dtype=np.float64))
    return np.column_stack([along, across])


def _register_profiles(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift (n,) of each profile (n, row) relative to their common shape."""
    level = profiles.mean(axis=1, keepdims=True)
    profiles = profiles / np.where(level > 0, level, 1)
    shifts = _lag(profiles, profiles[len(profiles) // 2])
    for _ in range(TEMPLATE_ROUNDS):
        template = _moved(profiles, -shifts).mean(axis=0)
        shifts = _refined(profiles, template, shifts)
    return shifts


def _lag(profiles: NDArray[np.float64], template: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole-pixel shift by the mean squared difference over the overlap."""
    rows = profiles.shape[1]
    lags = np.arange(-(rows // 3), rows // 3 + 1)
    cost = np.empty((len(profiles), len(lags)))
    for n, lag in enumerate(lags):
        here = profiles[:, max(lag, 0) : rows + min(lag, 0)]
        there = template[max(-lag, 0) : rows + min(-lag, 0)]
        cost[:, n] = ((here - there) ** 2).mean(axis=1)
    return lags[cost.argmin(axis=1)].astype(float)


def _moved(profiles: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each profile displaced by its shift, linearly interpolated, ends repeated."""
    grid = np.arange(profiles.shape[1])
    return np.stack([np.interp(grid - s, grid, row) for s, row in zip(shifts, profiles, strict=True)])


def _refined(
    profiles: NDArray[np.float64], template: NDArray[np.float64], shifts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sub-pixel shifts by Gauss-Newton, with a free scale per profile, away from the ends."""
    margin = int(np.ceil(np.abs(shifts).max())) + 2
    inner = slice(min(margin, profiles.shape[1] // 3), profiles.shape[1] - min(margin, profiles.shape[1] // 3))
    slope = np.gradient(template)[inner]
    design = np.column_stack([template[inner], -slope])
    solve = np.linalg.pinv(design)
    for _ in range(GAUSS_NEWTON_STEPS):
        scale, change = solve @ _moved(profiles, -shifts)[:, inner].T
        shifts = shifts + np.clip(change / np.where(scale > 0.1, scale, 1.0), -1.0, 1.0)
    return shifts


def _drift(
    reference: ArrayLike | None,
    times_s: ArrayLike | None,
    reference_times_s: ArrayLike | None,
    geometry: ConeGeometry,
) -> NDArray[np.float64] | None:
    """(n, 2) drift of the image at the time of each view, zero at the first reference; None without references."""
    if reference is None or times_s is None or reference_times_s is None or len(np.asarray(reference)) < 2:
        return None
    images = checked("reference", reference, (len(np.asarray(reference)), *geometry.detector_shape))
    when = np.asarray(reference_times_s, float)
    views_at = np.asarray(times_s, float)
    if when.shape != (len(images),):
        raise ValueError(f"reference_times_s: got shape {when.shape}, needs {(len(images),)}, one per reference")
    if views_at.shape != (geometry.num_views,):
        raise ValueError(f"times_s: got shape {views_at.shape}, needs {(geometry.num_views,)}, one per view")
    path = np.zeros((len(images), 2))
    for n in range(1, len(images)):
        path[n] = path[n - 1] + _displacement(images[n - 1], images[n])
    order = np.argsort(when)
    return np.column_stack([np.interp(views_at, when[order], path[order, axis]) for axis in (0, 1)])


def _displacement(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """(row, column) displacement from one image to the next: whole pixels, then Lucas-Kanade."""
    spectrum = np.conj(np.fft.rfft2(before)) * np.fft.rfft2(after)
    peak = np.unravel_index(int(np.fft.irfft2(spectrum, s=before.shape).argmax()), before.shape)
    total = np.array([(at + n // 2) % n - n // 2 for at, n in zip(peak, before.shape, strict=True)], float)
    for _ in range(GAUSS_NEWTON_STEPS):
        moved = displaced(before, total, order=1, mode="nearest")
        total += _lucas_kanade(after[None], moved[None], None)[0]
    return total


def _turned_deg(drift_px: NDArray[np.float64], geometry: ConeGeometry) -> NDArray[np.float64]:
    """Angle by which a source that drifts sideways looks at the specimen anew.

    A source at y = s moves the image by -s (M - 1) and sees the specimen turned by s / source_object.
    """
    source_mm = -drift_px * geometry.pixel_mm / (geometry.magnification - 1)
    return np.degrees(source_mm / geometry.source_object_mm)


def _lucas_kanade(
    measured: NDArray[np.float32], model: NDArray[np.float32], weights: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    """(n, 2) displacement along (row, column) of each measured image (n, row, column) from its model."""
    _, rows, columns = measured.shape
    top, left = max(1, round(MARGIN * rows)), max(1, round(MARGIN * columns))
    inner = (slice(None), slice(top, rows - top), slice(left, columns - left))
    along, across = (-np.gradient(model, axis=axis)[inner] for axis in (1, 2))
    w = np.float32(1.0) if weights is None else weights[inner]
    difference = (measured - model)[inner] * w

    def dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.einsum("nrc,nrc->n", a, b).astype(np.float64)

    aa, cc, ac = dot(along * w, along), dot(across * w, across), dot(along * w, across)
    da, dc = dot(difference, along), dot(difference, across)
    determinant = np.maximum(aa * cc - ac * ac, 1e-12)
    step = np.column_stack([cc * da - ac * dc, aa * dc - ac * da]) / determinant[:, None]
    return np.clip(step, -2.0, 2.0)


def _reprojection_step(
    p: NDArray[np.float32], weights: NDArray[np.float32] | None, geometry: ConeGeometry
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Displacement (n, 2) in detector pixels of the views from the reprojection of what they make together, and the
    column shifts (n,) that put the axis of what they show on the axis of the frame."""
    factor = max(1, geometry.detector_shape[1] // COARSE_COLUMNS)
    coarse = _coarse_geometry(geometry, factor)
    reach = 0 if coarse.view_shifts_px is None else math.ceil(np.abs(coarse.view_shifts_px[:, 0]).max())
    nz, ny, nx = coarse.volume_shape  # displaced images see slices above and below the nominal field
    coarse = replace(coarse, volume_shape=(nz + 2 * reach + 2, ny, nx))
    images = _binned(p, factor)
    trusted = None if weights is None else _binned(weights, factor)
    volume = sart(images, coarse, sweeps=1, tv=0.0, weights=trusted).volume
    step = factor * _lucas_kanade(images, project(volume, coarse), trusted)
    step[:, 0] -= step[:, 0].mean()
    step[:, 1] = without_position(step[:, 1], geometry.angles_deg)
    return step, _position_shifts(volume, coarse, geometry)


def _position_shifts(volume: NDArray[np.float32], coarse: ConeGeometry, geometry: ConeGeometry) -> NDArray[np.float64]:
    """Sinusoid (n,) in columns that a round pillar draws because its axis is not that of the frame; zero for others."""
    try:
        x_um, y_um = round_outline(volume).axis_um(volume.shape, coarse.voxel_um)
    except ValueError:
        return np.zeros(geometry.num_views)
    angle = np.radians(geometry.angles_deg)
    across_um = x_um * np.sin(angle) + y_um * np.cos(angle)
    return np.asarray(across_um * 1e-3 * geometry.magnification / geometry.pixel_mm)


def _binned(images: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means over factor x factor pixels; what is left over at the ends of rows and columns is dropped."""
    n, rows, columns = images.shape
    cut = images[:, : rows // factor * factor, : columns // factor * factor]
    return np.asarray(cut.reshape(n, rows // factor, factor, columns // factor, factor).mean(axis=(2, 4)))


def _coarse_geometry(geometry: ConeGeometry, factor: int) -> ConeGeometry:
    """The same scan seen with binned pixels and voxels."""
    if factor == 1:
        return geometry
    rows, columns = geometry.detector_shape
    offset = geometry.detector_offset_px
    moved = ((offset[0] + rows % factor / 2) / factor, (offset[1] + columns % factor / 2) / factor)
    nz, ny, nx = (max(1, round(n / factor)) for n in geometry.volume_shape)
    return replace(
        geometry,
        pixel_mm=geometry.pixel_mm * factor,
        voxel_um=geometry.voxel_um * factor,
        detector_shape=(rows // factor, columns // factor),
        volume_shape=(nz, ny, nx),
        detector_offset_px=moved,
        view_shifts_px=None if geometry.view_shifts_px is None else geometry.view_shifts_px / factor,
    )

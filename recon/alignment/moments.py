"""What the moments of line integrals tell about motion, before anything is reconstructed.

Helgason-Ludwig consistency: the integral of a row over all columns does not change with the angle, so the profile of
row sums moves only with the image; the centre of mass across the columns of a specimen that turns about a fixed axis
draws a sinusoid, and what departs from it is motion. Both use every particle, void and edge in the field instead of
stumbling over them.

Two things make row sums change with the angle although nothing moved, and are taken off. In a cone beam what is nearer
to the source weighs more and leans further away from the middle row; where it lies is known from the views a quarter
turn away. And beam hardening: of all corrections p + hardening * p^2 (G. T. Herman, Phys. Med. Biol. 24 (1979) 81)
that one is taken which makes the row sums agree best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xrm_sims.geometry import Geometry

HARDENINGS = (0.0, 0.1, 0.2, 0.3, 0.4)  # tungsten at 30 kV behind 40 um of cathode has 0.18
LEAN_ROUNDS = 2
TEMPLATE_ROUNDS = 3
GAUSS_NEWTON_STEPS = 8
AIR_SHARE = 0.05  # of the largest mean integral: what the outermost columns may show beside a whole specimen
SUPPORT_MARGIN_PX = 4.0
SAMPLE = 64  # views that tell what the specimen looks like


def stands_free(p: NDArray[np.float32]) -> bool:
    """Whether there is air on both sides of the specimen in the mean image of line integrals (angle, row, column)."""
    columns = p[:: max(1, len(p) // SAMPLE)].mean(axis=(0, 1))
    top = float(columns.max())
    return top > 0 and max(abs(columns[:3]).max(), abs(columns[-3:]).max()) < AIR_SHARE * top


def specimen_radius_um(
    p: NDArray[np.float32], geometry: Geometry, views: NDArray[np.int64] | None = None
) -> float | None:
    """Radius about the axis that holds a free-standing specimen with a margin; None when it fills the field.

    ``geometry`` is that of the views with these indices in ``p``, or of all.
    """
    if not stands_free(p):
        return None
    profile = np.stack([p[view].mean(axis=0) for view in (range(len(p)) if views is None else views)])
    shifts = np.zeros(geometry.num_views) if geometry.view_shifts_px is None else geometry.view_shifts_px[:, 1]
    distance = np.abs(np.arange(geometry.detector_shape[1]) - geometry.axis_column - shifts[:, None])
    occupied = profile > AIR_SHARE * np.quantile(profile, 0.99)
    reach_px = float(np.quantile((distance * occupied).max(axis=1), 0.99)) + SUPPORT_MARGIN_PX
    return float(reach_px * geometry.pixel_mm * 1e3 / geometry.magnification)


def sinusoids(angles_deg: NDArray[np.float64], harmonics: int = 1) -> NDArray[np.float64]:
    """(n, 1 + 2 harmonics): one, and cosine and sine of each harmonic of the turn."""
    angle = np.radians(angles_deg)
    waves = [wave(k * angle) for k in range(1, harmonics + 1) for wave in (np.cos, np.sin)]
    return np.column_stack([np.ones_like(angle), *waves])


def without_position(columns_px: NDArray[np.float64], angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Column shifts less the sinusoid that a displaced specimen draws."""
    design = sinusoids(angles_deg)
    fit, *_ = np.linalg.lstsq(design, columns_px, rcond=None)
    return np.asarray(columns_px - design[:, 1:] @ fit[1:])


@dataclass(frozen=True)
class MomentStart:
    """(n, 2) displacement of the images along (row, column), and the factor of p^2 that undoes beam hardening."""

    shifts_px: NDArray[np.float64]
    hardening: float


def moment_start(
    p: NDArray[np.float32],
    views: NDArray[np.int64],
    geometry: Geometry,
    *,
    hardenings: tuple[float, ...] = HARDENINGS,
) -> MomentStart:
    """Motion of the images with these indices in ``p``; ``geometry`` is of them alone.

    ``hardenings`` in rising order from 0: the best one between the ends is found, or 0.
    """
    from_axis = np.arange(geometry.detector_shape[1]) - geometry.axis_column
    powers = np.stack([np.ones_like(from_axis), from_axis, from_axis**2], axis=1)
    plain = np.stack([p[view] @ powers for view in views])  # (view, row, power of the column)
    square = np.stack([np.square(p[view]) @ powers for view in views])
    disagreement = [_shifts(plain + h * square, geometry)[1] for h in hardenings]
    best = int(np.argmin(disagreement))
    hardening = 0.0
    if 0 < best < len(hardenings) - 1:  # a least value at the end of the range says nothing
        fit = np.polyfit(hardenings[best - 1 : best + 2], disagreement[best - 1 : best + 2], 2)
        hardening = float(-fit[1] / (2 * fit[0]))
    return MomentStart(_shifts(plain + hardening * square, geometry)[0], hardening)


def _shifts(moments: NDArray[np.float64], geometry: Geometry) -> tuple[NDArray[np.float64], float]:
    """(n, 2) displacement from moments (n, row, 3), and how far the profiles of row sums still differ (rms)."""
    rows = np.arange(moments.shape[1])
    profile = moments[:, :, 0]
    for _ in range(LEAN_ROUNDS):
        along = _register_profiles(profile)
        # only what every view has seen: rows enter and leave the field with the motion along the axis
        height, first, last = rows - along[:, None], -along.min(), rows[-1] - along.max()
        inside = np.clip(np.minimum(height - first, last - height) + 0.5, 0, 1)
        if last - first < len(rows) / 4:
            inside = np.ones_like(height)
        mass, centre, square = (moments * inside[:, :, None]).sum(axis=1).T
        mass = np.maximum(mass, 1e-9)
        centre = centre / mass
        across = centre + _nearer_weighs_more(square / mass - centre**2, geometry)
        across = without_position(across, geometry.angles_deg)
        profile = moments[:, :, 0] + _lean(moments[:, :, 1] - moments[:, :, 0] * across[:, None], along, geometry)
    upright = _moved(profile, along.mean() - along)
    away = math.ceil(np.abs(along - along.mean()).max()) + 1
    upright = upright[:, away:-away] if 2 * away < len(rows) / 2 else upright
    upright = upright / np.maximum(upright.mean(axis=1, keepdims=True), 1e-9)
    return np.column_stack([along, across]), float((upright - upright.mean(axis=0)).std())


def _lean(first_moment: NDArray[np.float64], along: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """What row sums (n, row) lack because magnification falls with the distance x from the source.

    A slice whose mass times mean x is m is seen with m / source_object less mass, and leans by that much towards the
    middle row. m draws the sinusoid of the first moment across the columns a quarter turn earlier.
    """
    angle = np.radians(geometry.angles_deg)[:, None]
    fit, *_ = np.linalg.lstsq(sinusoids(geometry.angles_deg), _moved(first_moment, along.mean() - along), rcond=None)
    mass = _moved(fit[2] * np.cos(angle) - fit[1] * np.sin(angle), along - along.mean())
    height = np.arange(mass.shape[1]) - (mass.shape[1] - 1) / 2 - geometry.detector_offset_px[0]
    source_px = geometry.source_object_mm * geometry.magnification / geometry.pixel_mm
    return np.asarray((mass - height * np.gradient(mass, axis=1)) / source_px)


def _nearer_weighs_more(square_px: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """What a centre of mass (n,) lacks because magnification falls with the distance x from the source.

    It is (2 / source_object) * mean of x y = (1 / source_object) * derivative of the mean of y^2 by the angle.
    """
    pitch_mm = geometry.pixel_mm / geometry.magnification
    fit, *_ = np.linalg.lstsq(sinusoids(geometry.angles_deg, 2), square_px, rcond=None)
    angle = np.radians(geometry.angles_deg)
    slope = 2 * (fit[4] * np.cos(2 * angle) - fit[3] * np.sin(2 * angle))
    return np.asarray(slope * pitch_mm / geometry.source_object_mm)


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
    last = profiles.shape[1] - 1
    where = np.clip(np.arange(last + 1) - shifts[:, None], 0, last)
    below = np.minimum(where.astype(np.int64), last - 1)
    low, high = (np.take_along_axis(profiles, index, axis=1) for index in (below, below + 1))
    return np.asarray(low + (where - below) * (high - low))


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

"""Motion of the images from the moments of their line integrals, without a reconstruction.

Helgason-Ludwig consistency: the integral of a row over all columns does not change with the angle, so the profile of
row sums moves only with the image; the centre of mass across the columns of a specimen that turns about a fixed axis
follows a sinusoid, and departures from it are motion. Particles, voids and edges in the field do not disturb either.

Two effects change row sums with the angle although nothing moved; both are corrected. In a cone beam, parts nearer to
the source count more and appear further from the middle row; their position follows from the views a quarter turn
away. Beam hardening: of all corrections p + hardening * p^2 (G. T. Herman, Phys. Med. Biol. 24 (1979) 81) the one with
the best agreement of the row sums is used.

The displacement of profiles is a least-squares fit with a free scale for each, which scikit-image does not offer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xrm_sims.geometry import Geometry

HARDENINGS = (0.0, 0.1, 0.2, 0.3, 0.4)  # 0.18 for tungsten at 30 kV behind 40 um of cathode
LEAN_ROUNDS = 2
TEMPLATE_ROUNDS = 3
GAUSS_NEWTON_STEPS = 8
AIR_SHARE = 0.05  # of the largest mean integral: more in the outermost columns means that the specimen is cut off
SUPPORT_MARGIN_PX = 4.0
SAMPLE = 64  # views in the mean image


def stands_free(p: NDArray[np.float32]) -> bool:
    """Whether the mean image of line integrals (angle, row, column) has air on both sides of the specimen."""
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
    """Return one, and cosine and sine of each harmonic of the turn, as columns (n, 1 + 2 harmonics)."""
    angle = np.radians(angles_deg)
    waves = [wave(k * angle) for k in range(1, harmonics + 1) for wave in (np.cos, np.sin)]
    return np.column_stack([np.ones_like(angle), *waves])


def without_position(columns_px: NDArray[np.float64], angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract from column shifts the sinusoid that a displaced specimen causes."""
    design = sinusoids(angles_deg)
    fit, *_ = np.linalg.lstsq(design, columns_px, rcond=None)
    return np.asarray(columns_px - design[:, 1:] @ fit[1:])


@dataclass(frozen=True)
class MomentStart:
    """Displacement (n, 2) of the images along (row, column), and the factor of p^2 that corrects beam hardening."""

    shifts_px: NDArray[np.float64]
    hardening: float


def moment_start(
    p: NDArray[np.float32], views: NDArray[np.int64], geometry: Geometry, *, hardenings: tuple[float, ...] = HARDENINGS
) -> MomentStart:
    """Find the motion of the images with these indices in ``p``; ``geometry`` is of them alone.

    ``hardenings`` rise from 0: the best value between the ends is used, or 0 where it lies at an end.
    """
    from_axis = np.arange(geometry.detector_shape[1]) - geometry.axis_column
    powers = np.stack([np.ones_like(from_axis), from_axis, from_axis**2], axis=1)
    plain = np.stack([p[view] @ powers for view in views])  # (view, row, power of the column)
    square = np.stack([np.square(p[view]) @ powers for view in views])
    disagreement = [_shifts(plain + h * square, geometry)[1] for h in hardenings]
    best = int(np.argmin(disagreement))
    hardening = 0.0
    if 0 < best < len(hardenings) - 1:  # a minimum at the end of the range is none
        fit = np.polyfit(hardenings[best - 1 : best + 2], disagreement[best - 1 : best + 2], 2)
        hardening = float(-fit[1] / (2 * fit[0]))
    return MomentStart(_shifts(plain + hardening * square, geometry)[0], hardening)


def _shifts(moments: NDArray[np.float64], geometry: Geometry) -> tuple[NDArray[np.float64], float]:
    """Return displacements (n, 2) from moments (n, row, 3), and the remaining rms difference of the row sums."""
    rows = np.arange(moments.shape[1])
    profile = moments[:, :, 0]
    for _ in range(LEAN_ROUNDS):
        along = _register_profiles(profile)
        # only rows that every view has seen: rows enter and leave the field with the motion along the axis
        height, first, last = rows - along[:, None], -along.min(), rows[-1] - along.max()
        inside = np.clip(np.minimum(height - first, last - height) + 0.5, 0, 1)
        if last - first < len(rows) / 4:
            inside = np.ones_like(height)
        mass, centre, square = (moments * inside[:, :, None]).sum(axis=1).T
        mass = np.maximum(mass, 1e-9)
        centre = centre / mass
        across = centre + _centre_bias(square / mass - centre**2, geometry)
        across = without_position(across, geometry.angles_deg)
        profile = moments[:, :, 0] + _lost_mass(moments[:, :, 1] - moments[:, :, 0] * across[:, None], along, geometry)
    upright = moved_profiles(profile, along.mean() - along)
    away = math.ceil(np.abs(along - along.mean()).max()) + 1
    upright = upright[:, away:-away] if 2 * away < len(rows) / 2 else upright
    upright = upright / np.maximum(upright.mean(axis=1, keepdims=True), 1e-9)
    return np.column_stack([along, across]), float((upright - upright.mean(axis=0)).std())


def _lost_mass(
    first_moment: NDArray[np.float64], along: NDArray[np.float64], geometry: Geometry
) -> NDArray[np.float64]:
    """Return what row sums (n, row) lack because magnification falls with the distance x from the source.

    A slice whose mass times mean x is m appears with m / source_object less mass, and displaced by that share towards
    the middle row. m follows the sinusoid of the first moment across the columns a quarter turn earlier.
    """
    angle = np.radians(geometry.angles_deg)[:, None]
    fit, *_ = np.linalg.lstsq(
        sinusoids(geometry.angles_deg), moved_profiles(first_moment, along.mean() - along), rcond=None
    )
    mass = moved_profiles(fit[2] * np.cos(angle) - fit[1] * np.sin(angle), along - along.mean())
    height = np.arange(mass.shape[1]) - (mass.shape[1] - 1) / 2 - geometry.detector_offset_px[0]
    source_px = geometry.source_object_mm * geometry.magnification / geometry.pixel_mm
    return np.asarray((mass - height * np.gradient(mass, axis=1)) / source_px)


def _centre_bias(square_px: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """Return what centres of mass (n,) lack because magnification falls with the distance x from the source.

    It is (2 / source_object) * mean of x y = (1 / source_object) * derivative of the mean of y^2 by the angle.
    """
    pitch_mm = geometry.pixel_mm / geometry.magnification
    fit, *_ = np.linalg.lstsq(sinusoids(geometry.angles_deg, 2), square_px, rcond=None)
    angle = np.radians(geometry.angles_deg)
    slope = 2 * (fit[4] * np.cos(2 * angle) - fit[3] * np.sin(2 * angle))
    return np.asarray(slope * pitch_mm / geometry.source_object_mm)


def _register_profiles(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift (n,) of each profile (n, row) relative to their common shape."""
    profiles = normalised(profiles)
    shifts = _whole_shifts(profiles, profiles[len(profiles) // 2])
    for _ in range(TEMPLATE_ROUNDS):
        shifts = profile_shifts(profiles, moved_profiles(profiles, -shifts).mean(axis=0), shifts)
    return shifts


def normalised(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide each profile (n, row) by its mean."""
    level = profiles.mean(axis=1, keepdims=True)
    return np.asarray(profiles / np.where(level > 0, level, 1.0))


def _whole_shifts(profiles: NDArray[np.float64], template: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift (n,) in whole pixels with the least mean squared difference over the overlap."""
    rows = profiles.shape[1]
    lags = np.arange(-(rows // 3), rows // 3 + 1)
    cost = np.empty((len(profiles), len(lags)))
    for n, lag in enumerate(lags):
        here = profiles[:, max(lag, 0) : rows + min(lag, 0)]
        there = template[max(-lag, 0) : rows + min(-lag, 0)]
        cost[:, n] = ((here - there) ** 2).mean(axis=1)
    return lags[cost.argmin(axis=1)].astype(float)


def moved_profiles(profiles: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displace each profile (n, row) by its shift (n,), linearly interpolated, with the ends repeated."""
    last = profiles.shape[1] - 1
    where = np.clip(np.arange(last + 1) - shifts[:, None], 0, last)
    below = np.minimum(where.astype(np.int64), last - 1)
    low, high = (np.take_along_axis(profiles, index, axis=1) for index in (below, below + 1))
    return np.asarray(low + (where - below) * (high - low))


def profile_shifts(
    profiles: NDArray[np.float64], template: NDArray[np.float64], start: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Shift (n,) of each profile (n, row) relative to a template (row,), away from the ends.

    Whole pixels unless ``start`` is given, then Gauss-Newton steps with a free scale for each profile.
    """
    shifts = _whole_shifts(profiles, template) if start is None else start
    margin = min(int(np.ceil(np.abs(shifts).max())) + 2, profiles.shape[1] // 3)
    inner = slice(margin, profiles.shape[1] - margin)
    solve = np.linalg.pinv(np.column_stack([template[inner], -np.gradient(template)[inner]]))
    for _ in range(GAUSS_NEWTON_STEPS):
        scale, change = solve @ moved_profiles(profiles, -shifts)[:, inner].T
        shifts = shifts + np.clip(change / np.where(scale > 0.1, scale, 1.0), -1.0, 1.0)
    return shifts

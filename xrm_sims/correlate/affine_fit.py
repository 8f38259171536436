"""Least-squares fit of an affine and a height that make a CT stack look like a map, and how well they are known.

The map is modelled as a constant plus the CT's active material plus what shines through voids, each with a fitted
weight, sampled through an affine at a height. Gauss-Newton from coarse to fine blur (Lucas and Kanade, IJCAI 1981; with
fitted brightness: Evangelidis and Psarakis, IEEE PAMI 30 (2008) 1858), robust, with what the instrument's mode changes
are known to do as a prior. The covariance is the sandwich estimate over tiles of the field (White, Econometrica 48
(1980) 817), because model errors are alike within a tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xrm_sims.correlate.appearance import ActiveStack
from xrm_sims.geometry import apply_affine

GEOMETRY = 7  # offset x, y; rotation; scale; two stretches; height


@dataclass(frozen=True)
class FitSettings:
    """Standard deviations of what the first guess, taken from the pillar's outline, leaves open; how the fit runs."""

    prior_offset_um: float = 1.0
    prior_rotation_deg: float = 1.0
    prior_scale: float = 0.002
    prior_stretch: float = 0.001
    prior_height_um: float = 0.4
    blur_um: tuple[float, ...] = (0.8, 0.4, 0.2)
    step_share: float = 0.7  # sampling step over blur
    iterations: int = 40
    tiles: int = 5
    robust_at: float = 2.5  # residuals of this many robust standard deviations count a quarter
    converged_um: float = 0.005


@dataclass(frozen=True, eq=False)
class FitResult:
    """``affine`` scan → specimen (2 x 3); ``theta`` and its ``covariance``: offset x, y, rotation, scale, stretch along
    x and y, stretch along the diagonals, height."""

    affine: NDArray[np.float64]
    z_um: float
    correlation: float
    covariance: NDArray[np.float64]
    converged: bool
    theta: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Samples:
    """The map at points of the scan: (n, 2) um, blurred values, tile numbers, and the mean field coordinate."""

    points_um: NDArray[np.float64]
    values: NDArray[np.float64]
    tile: NDArray[np.intp]
    correlated: float  # samples per independent patch of the blurred map


def deform(
    initial: NDArray[np.float64], centre_um: NDArray[np.float64], theta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The affine after moving, turning, scaling and stretching about the field's centre; ``theta`` as in FitResult."""
    tx, ty, rotation, scale, stretch, skew = theta[:6]
    change = np.array([[1 + scale + stretch, skew - rotation], [skew + rotation, 1 + scale - stretch]])
    linear = change @ initial[:, :2]
    anchor = apply_affine(initial, centre_um[None])[0] + (tx, ty)
    return np.column_stack([linear, anchor - linear @ centre_um])


def take_samples(
    image: NDArray[np.float64], to_scan: NDArray[np.float64], blur_um: float, settings: FitSettings
) -> _Samples:
    """Blur the map and sample it on a coarser grid, a blur's width away from its rim."""
    pixel_um = float(to_scan[0, 0])
    smooth = ndimage.gaussian_filter(image, blur_um / pixel_um)
    step = max(1, round(settings.step_share * blur_um / pixel_um))
    rim = min(round(1.5 * blur_um / pixel_um), min(image.shape) // 8)
    r, c = np.mgrid[rim : image.shape[0] - rim : step, rim : image.shape[1] - rim : step]
    tile = (r * settings.tiles // image.shape[0]) * settings.tiles + c * settings.tiles // image.shape[1]
    points = apply_affine(to_scan, np.column_stack([c.ravel(), r.ravel()]))
    patch_um2 = 4 * np.pi * blur_um**2
    return _Samples(points, smooth[r, c].ravel(), tile.ravel(), max(1.0, patch_um2 / (step * pixel_um) ** 2))


def fit_affine(
    image: NDArray[np.float64],
    to_scan: NDArray[np.float64],
    stack: ActiveStack,
    ct_sigma_um: float,
    initial: NDArray[np.float64],
    z_um: float,
    settings: FitSettings,
    tiles: NDArray[np.intp] | None = None,
    theta: NDArray[np.float64] | None = None,
    blurs_um: tuple[float, ...] | None = None,
) -> FitResult:
    """Fit from the start ``initial`` (scan → specimen) and ``z_um``, coarse to fine.

    ``image`` is the map of active material, ``to_scan`` its pixel → scan affine, ``ct_sigma_um`` the blur that the CT
    has already and the map lacks. Only samples in ``tiles`` are used when they are given. ``theta`` starts off the
    initial affine, ``blurs_um`` replaces the settings' list.
    """
    centre = apply_affine(to_scan, (np.array(image.shape[::-1]) - 1)[None] / 2)[0]
    state = np.zeros(GEOMETRY) if theta is None else theta.copy()
    converged, covariance, correlation = False, np.eye(GEOMETRY), 0.0
    for blur_um in blurs_um or settings.blur_um:
        ct = stack.blurred(blur_um)
        samples = take_samples(image, to_scan, float(np.hypot(blur_um, ct_sigma_um)), settings)
        if tiles is not None:
            keep = np.isin(samples.tile, tiles)
            samples = _Samples(samples.points_um[keep], samples.values[keep], samples.tile[keep], samples.correlated)
        converged = False
        for _ in range(settings.iterations):
            step, covariance, correlation = _gauss_newton(samples, ct, initial, centre, z_um, state, settings)
            state = state + step
            reach = np.abs(step[:2]).sum() + np.abs(step[2:6]).sum() * np.ptp(samples.points_um[:, 0]) / 2
            if max(reach, abs(step[6])) < settings.converged_um:
                converged = True
                break
    return FitResult(deform(initial, centre, state), z_um + float(state[6]), correlation, covariance, converged, state)


def corner_covariances(
    covariance: NDArray[np.float64], initial: NDArray[np.float64], arms_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n, 2, 2) covariances in um^2 of points ``arms_um`` (n, 2) away from the field's centre, in scan um."""
    out = []
    for x, y in arms_um @ initial[:, :2].T:
        lever = np.array([[1, 0, -y, x, x, y, 0], [0, 1, x, y, -y, x, 0]], dtype=float)
        out.append(lever @ covariance @ lever.T)
    return np.array(out)


def _look_up(
    ct: ActiveStack, places_um: NDArray[np.float64], z_um: float
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Values (n,) of both images at specimen points and their slopes (n, 3) along x, y and z per um."""
    at = ct.index(places_um, z_um)
    at[0] = np.clip(at[0], 0.0, ct.slices.shape[0] - 1.001)
    values, slopes = [], []
    for volume in (ct.slices, ct.below):
        here = ndimage.map_coordinates(volume, at, order=1, mode="nearest")
        by_axis = []
        for axis, half in ((2, 0.5), (1, 0.5), (0, 0.5)):
            shift = np.zeros((3, 1))
            shift[axis] = half
            ahead = ndimage.map_coordinates(volume, at + shift, order=1, mode="nearest")
            behind = ndimage.map_coordinates(volume, at - shift, order=1, mode="nearest")
            by_axis.append((ahead - behind) / (2 * half * ct.voxel_um))
        values.append(here)
        slopes.append(np.column_stack(by_axis))
    return values, slopes


def _gauss_newton(
    samples: _Samples,
    ct: ActiveStack,
    initial: NDArray[np.float64],
    centre: NDArray[np.float64],
    z_um: float,
    theta: NDArray[np.float64],
    settings: FitSettings,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """One step: change of theta, its covariance, and the correlation of map and model before the step."""
    affine = deform(initial, centre, theta)
    places = apply_affine(affine, samples.points_um)
    height = z_um + theta[6]
    basis, slopes = _look_up(ct, places, height)
    design = np.column_stack([np.ones(len(places)), *basis])
    weight = np.ones(len(places))
    for _ in range(3):
        amplitude = np.linalg.lstsq(design * weight[:, None], samples.values * weight, rcond=None)[0]
        residual = samples.values - design @ amplitude
        spread = 1.4826 * np.median(np.abs(residual)) + 1e-6
        # Geman-McClure: what lies at the bottom of deep voids resembles nothing in the slice.
        weight = 1 / (1 + (residual / (settings.robust_at * spread)) ** 2)
    slope = amplitude[1] * slopes[0] + amplitude[2] * slopes[1]
    arm = (samples.points_um - centre) @ initial[:, :2].T
    x, y = arm.T
    gx, gy, gz = slope.T
    geometric = np.column_stack([gx, gy, gy * x - gx * y, gx * x + gy * y, gx * x - gy * y, gx * y + gy * x, gz])
    jacobian = np.column_stack([geometric, design]) * weight[:, None]
    noise = float(np.sqrt(np.mean((weight * residual) ** 2) * samples.correlated))
    sigma = np.array(
        [
            settings.prior_offset_um,
            settings.prior_offset_um,
            np.radians(settings.prior_rotation_deg),
            settings.prior_scale,
            settings.prior_stretch,
            settings.prior_stretch,
            settings.prior_height_um,
        ]
    )
    prior = np.concatenate([(noise / sigma) ** 2, np.zeros(design.shape[1])])
    normal = jacobian.T @ jacobian + np.diag(prior)
    gradient = jacobian.T @ (weight * residual)
    pull = gradient - np.concatenate([prior[:GEOMETRY] * theta, np.zeros(design.shape[1])])
    step = np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(len(normal)), pull)
    scores = np.zeros((settings.tiles**2, len(normal)))
    np.add.at(scores, samples.tile, jacobian * (weight * residual)[:, None])
    used = np.unique(samples.tile).size
    full = scores.T @ scores * (used / max(used - 1, 1)) + np.diag(prior) * noise**2
    correlation = float(np.corrcoef(samples.values, design @ amplitude)[0, 1])
    inverse = np.linalg.inv(normal)
    covariance = (inverse @ full @ inverse)[:GEOMETRY, :GEOMETRY]
    return step[:GEOMETRY], covariance, correlation

"""Least-squares fit of the affine between a map and a CT slice, from coarse to fine.

The map is modelled as a constant plus the CT's active material, both with a fitted weight, sampled through an affine at
a height. Gauss-Newton from coarse to fine blur (Lucas and Kanade, IJCAI 1981; with fitted brightness: Evangelidis and
Psarakis, IEEE PAMI 30 (2008) 1858), robust, with the known errors of the instrument's mode changes as a prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xrm_sims.correlate.registration.active_material import ActiveStack
from xrm_sims.geometry import apply_affine

Array = NDArray[np.float64]

GEOMETRY = 6  # offset x, y; rotation; scale; two stretches
BLURS_UM = (0.8, 0.4, 0.2)  # from coarse to fine: the first reaches across a pore, the last is the blur of the CT
STEP_SHARE = 0.7  # sampling step over blur: Gaussian blur leaves nothing finer
MAX_ITERATIONS = 40
OUTLIER_SCALE = 2.5  # residuals of this many robust standard deviations have a quarter of the weight
TOLERANCE_UM = 0.005  # a tenth of the uncertainty of the CT's own geometry


@dataclass(frozen=True, eq=False)
class FitResult:
    """``affine`` scan → specimen (2 x 3); ``theta``: offset x, y, rotation, scale, stretch along x and y, stretch along
    the diagonals."""

    affine: Array
    correlation: float
    converged: bool
    theta: Array


@dataclass(frozen=True, eq=False)
class _Samples:
    """Points (n, 2) of the scan in um, and values of the blurred map there."""

    points_um: Array
    values: Array
    correlated: float  # samples per independent patch of the blurred map


def deform(initial: Array, centre_um: Array, theta: Array) -> Array:
    """Return ``initial`` moved, turned, scaled and stretched about the field's centre; ``theta`` as in FitResult."""
    tx, ty, rotation, scale, stretch, skew = theta[:6]
    change = np.array([[1 + scale + stretch, skew - rotation], [skew + rotation, 1 + scale - stretch]])
    linear = change @ initial[:, :2]
    anchor = apply_affine(initial, centre_um[None])[0] + (tx, ty)
    return np.column_stack([linear, anchor - linear @ centre_um])


def take_samples(image: Array, to_scan: Array, blur_um: float) -> _Samples:
    """Blur the map and sample it on a coarser grid, a blur's width away from its rim."""
    pixel_um = float(to_scan[0, 0])
    smooth = ndimage.gaussian_filter(image, blur_um / pixel_um)
    step = max(1, round(STEP_SHARE * blur_um / pixel_um))
    rim = min(round(1.5 * blur_um / pixel_um), min(image.shape) // 8)
    r, c = np.mgrid[rim : image.shape[0] - rim : step, rim : image.shape[1] - rim : step]
    points = apply_affine(to_scan, np.column_stack([c.ravel(), r.ravel()]))
    patch_um2 = 4 * np.pi * blur_um**2
    return _Samples(points, smooth[r, c].ravel(), max(1.0, patch_um2 / (step * pixel_um) ** 2))


def fit_affine(
    image: Array, to_scan: Array, stack: ActiveStack, initial: Array, z_um: float, prior_sigma: Array, theta: Array
) -> FitResult:
    """Fit at the height ``z_um`` from ``theta`` off the affine ``initial`` (scan → specimen), coarse to fine.

    ``image`` is the map of active material, ``to_scan`` its pixel → scan affine, ``prior_sigma`` (6,) the standard
    deviations of ``theta``.
    """
    centre = apply_affine(to_scan, (np.array(image.shape[::-1]) - 1)[None] / 2)[0]
    state, converged, correlation = theta.copy(), False, 0.0
    for blur_um in BLURS_UM:
        plane = stack.blurred_plane(z_um, blur_um)
        samples = take_samples(image, to_scan, blur_um)
        converged = False
        for _ in range(MAX_ITERATIONS):
            step, correlation = _gauss_newton(samples, stack, plane, initial, centre, state, prior_sigma)
            state = state + step
            reach = np.abs(step[:2]).sum() + np.abs(step[2:]).sum() * np.ptp(samples.points_um[:, 0]) / 2
            if reach < TOLERANCE_UM:
                converged = True
                break
    return FitResult(deform(initial, centre, state), correlation, converged, state)


def _look_up(stack: ActiveStack, plane: NDArray[np.float32], places_um: Array) -> tuple[Array, Array]:
    """Return values (n,) of a slice at specimen points, and its slopes (n, 2) along x and y per um."""
    at = stack.index(places_um, 0.0)[1:]
    slopes = []
    for axis in (1, 0):
        shift = np.zeros((2, 1))
        shift[axis] = 0.5
        ahead = ndimage.map_coordinates(plane, at + shift, order=1, mode="nearest")
        behind = ndimage.map_coordinates(plane, at - shift, order=1, mode="nearest")
        slopes.append((ahead - behind) / stack.voxel_um)
    return ndimage.map_coordinates(plane, at, order=1, mode="nearest"), np.column_stack(slopes)


def _gauss_newton(
    samples: _Samples,
    stack: ActiveStack,
    plane: NDArray[np.float32],
    initial: Array,
    centre: Array,
    theta: Array,
    prior_sigma: Array,
) -> tuple[Array, float]:
    """Return one step: the change of theta, and the correlation of map and model before it."""
    affine = deform(initial, centre, theta)
    here, slopes = _look_up(stack, plane, apply_affine(affine, samples.points_um))
    design = np.column_stack([np.ones(len(here)), here])
    weight = np.ones(len(here))
    for _ in range(3):
        amplitude = np.linalg.lstsq(design * weight[:, None], samples.values * weight, rcond=None)[0]
        residual = samples.values - design @ amplitude
        spread = 1.4826 * np.median(np.abs(residual)) + 1e-6
        # Geman-McClure: the slice does not show the bottom of deep voids
        weight = 1 / (1 + (residual / (OUTLIER_SCALE * spread)) ** 2)
    gx, gy = (amplitude[1] * slopes).T
    arm = (samples.points_um - centre) @ initial[:, :2].T
    x, y = arm.T
    geometric = np.column_stack([gx, gy, gy * x - gx * y, gx * x + gy * y, gx * x - gy * y, gx * y + gy * x])
    jacobian = np.column_stack([geometric, design]) * weight[:, None]
    noise = float(np.sqrt(np.mean((weight * residual) ** 2) * samples.correlated))
    prior = np.concatenate([(noise / prior_sigma) ** 2, np.zeros(design.shape[1])])
    normal = jacobian.T @ jacobian + np.diag(prior)
    gradient = jacobian.T @ (weight * residual)
    pull = gradient - np.concatenate([prior[:GEOMETRY] * theta, np.zeros(design.shape[1])])
    normal += 1e-9 * np.trace(normal) * np.eye(len(normal))  # a uniform slice has no gradient
    step = np.linalg.solve(normal, pull)
    alike = float(np.ptp(here)) < 1e-6
    correlation = 0.0 if alike else float(np.corrcoef(samples.values, design @ amplitude)[0, 1])
    return step[:GEOMETRY], correlation

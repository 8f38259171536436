"""Registration of a scan with itself: reconstruct, project, and compare each measured image with its reprojection.

D. Gürsoy et al., Sci. Rep. 7 (2017) 11818, with images registered by B. D. Lucas, T. Kanade (IJCAI 1981): the
difference between an image and its reprojection is a sum of the reprojection's derivatives with respect to the
unknowns. Each view has its own displacement, magnification and brightness, all share the roll of the detector; the
common unknown is eliminated view by view (Schur complement). Slow variations of the images are removed before, because
beam hardening, scatter and material outside the field would be taken for motion otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline

from recon.algorithms.fdk import fdk
from recon.kernels.differences import BRIGHTNESS, COLUMN, DIFFERENCE, ROLL, ROW, SCALE, high_pass, products, turned
from recon.kernels.projector import project
from xrm_sims.geometry import Geometry

MARGIN = 0.06  # share of the image left out on each side of a registration
SLOW_PX = 15  # (binned) variations wider than this are removed
LARGEST_STEP_PX = 2.0
BLOCK_BYTES = 16 << 20  # images that are compared at a time
LEAST_VIEWS, MOST_KNOTS = 12, 200  # of a curve through their magnifications


@dataclass(frozen=True)
class Images:
    """Binned line integrals (angle, row, column) without the roll of the detector, trust in them, and the binning."""

    p: NDArray[np.float32]
    weights: NDArray[np.float16] | None
    factor: int


@dataclass(frozen=True)
class Departure:
    """The change from the reprojections to the measured images: (n, 2) displacement in detector pixels along (row,
    column), (n,) logarithm of the magnification, and the roll."""

    shifts_px: NDArray[np.float64]
    log_scale: NDArray[np.float64]
    roll_deg: float


def binned(
    p: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    views: NDArray[np.int64],
    geometry: Geometry,
    factor: int,
    hardening: float = 0.0,
) -> Images:
    """Return means of p + hardening * p^2 over factor x factor pixels of some views, turned back by the roll.

    ``geometry`` is of these views alone. Incomplete bins at the ends of rows and columns are dropped.
    """
    coarse, h = geometry.binned(factor), np.float32(hardening)
    centres, roll = _centres(coarse), math.radians(geometry.detector_roll_deg)
    images = np.empty((len(views), *coarse.detector_shape), np.float32)
    trust = None if weights is None else np.empty(images.shape, np.float16)
    step = max(1, BLOCK_BYTES // (4 * math.prod(geometry.detector_shape)))
    for some in (slice(first, first + step) for first in range(0, len(views), step)):
        few = p[views[some]]
        images[some] = turned(_bin(few * (1 + h * few), factor), centres[some], -roll)
        if weights is not None and trust is not None:
            trust[some] = turned(_bin(weights[views[some]], factor), centres[some], -roll)
    return Images(images, trust, factor)


def _bin(images: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Bin images (n, row, column); up to 2.4 times as fast as :func:`binned_images` with the same bins."""
    n, rows, columns = len(images), images.shape[1] // factor, images.shape[2] // factor
    cut = images[:, : rows * factor, : columns * factor]
    parts = cut.reshape(n, rows, factor, columns, factor)
    return np.asarray(np.einsum("nricj->nrc", parts) / np.float32(factor * factor))


def _centres(geometry: Geometry) -> NDArray[np.float64]:
    """Return the row and column (n, 2) about which each image is turned and magnified."""
    shifts = geometry.view_shifts_px
    middle = (np.array(geometry.detector_shape) - 1) / 2 + np.array(geometry.detector_offset_px)
    return middle + (np.zeros((geometry.num_views, 2)) if shifts is None else shifts)


def coarse_geometry(geometry: Geometry, factor: int, radius_um: float | None) -> Geometry:
    """Return the scan of binned upright images, as high as displaced images see, as wide as the specimen."""
    coarse = replace(geometry.binned(factor), detector_roll_deg=0.0)
    shifts = coarse.view_shifts_px
    reach = 1 if shifts is None else math.ceil(np.abs(shifts[:, 0]).max()) + 1
    nz, ny, nx = coarse.volume_shape
    if radius_um is not None:
        wide = 2 * math.ceil(radius_um / coarse.voxel_um) + 2
        ny, nx = min(ny, wide), min(nx, wide)
    return replace(coarse, volume_shape=(nz + 2 * reach, ny, nx))


def departure(
    images: Images, coarse: Geometry, times_s: NDArray[np.float64], *, radius_um: float | None, roll: bool, scale: bool
) -> tuple[Departure, NDArray[np.float32]]:
    """Reconstruct images and compare them with the reprojections; returns the departure and the volume (z, y, x).

    Parameters
    ----------
    images, coarse : of the same views.
    times_s : (n,) time of each view; the magnification is a smooth curve in time.
    radius_um : of the cylinder that holds the specimen, or None.
    roll, scale : whether to fit a roll, and changes of the magnification.
    """
    volume = fdk(images.p, coarse, support=radius_um, window="hann")
    step = max(1, BLOCK_BYTES // images.p[0].nbytes)
    n = coarse.num_views
    rows = _rows_seen_by_all(coarse, radius_um)
    blocks = [np.arange(v, min(v + step, n)) for v in range(0, n, step)]
    gram = np.concatenate([_gram(images, volume, coarse, rows, views) for views in blocks])
    log_scale = np.zeros(n)
    if scale:
        own = [SCALE, ROW, COLUMN, BRIGHTNESS]
        free, information, _ = _solved(gram, own, roll)
        log_scale = _smooth(free[:, 0], information[:, 0], times_s)
        gram[:, :, DIFFERENCE] -= log_scale[:, None] * gram[:, :, SCALE]
    rest, _, turn = _solved(gram, [ROW, COLUMN, BRIGHTNESS], roll)
    shifts = np.clip(rest[:, :2], -LARGEST_STEP_PX, LARGEST_STEP_PX) * images.factor
    return Departure(shifts, log_scale, math.degrees(turn)), volume


def _gram(
    images: Images, volume: NDArray[np.float32], coarse: Geometry, rows: NDArray[np.int64], views: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return weighted products (n, 6, 6) of the reprojection's derivatives and of the difference, in binned pixels."""
    some = coarse.only(views)
    model, measured = (high_pass(project(volume, some), SLOW_PX), high_pass(images.p[views], SLOW_PX))
    weights = np.ones(model.shape, np.float32) if images.weights is None else images.weights[views].astype(np.float32)
    gram = np.zeros((len(views), 6, 6))
    products(gram, model, measured, weights, _centres(some), rows[views], round(MARGIN * model.shape[2]))
    return gram


def _rows_seen_by_all(coarse: Geometry, radius_um: float | None) -> NDArray[np.int64]:
    """Return the first and last + 1 row (n, 2) of each image that all views see; at least half of the rows."""
    height = coarse.detector_shape[0]
    centres = _centres(coarse)[:, 0]
    far_um = 0.5 * coarse.voxel_um * max(coarse.volume_shape[1:]) if radius_um is None else radius_um
    lean = 0.5 * height * far_um / (coarse.source_object_mm * 1e3)
    margin = min(max(MARGIN * height, 1.0) + lean + 0.5 * np.ptp(centres), height / 4)
    middle = (height - 1) / 2 + centres - (centres.max() + centres.min()) / 2
    half = (height - 1) / 2 - margin
    return np.stack([np.ceil(middle - half), np.floor(middle + half) + 1], axis=1).astype(np.int64)


def _solved(
    gram: NDArray[np.float64], own: list[int], roll: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Solve for the unknowns (n, own) of each view; returns them, their inverse variances (to a factor), the roll."""
    normal = gram[:, own][:, :, own]
    size = np.sqrt(np.einsum("nii->ni", normal)) + 1e-12
    inverse = np.linalg.pinv(normal / (size[:, :, None] * size[:, None, :]), rcond=1e-9, hermitian=True)
    inverse /= size[:, :, None] * size[:, None, :]
    right, common = gram[:, own, DIFFERENCE], gram[:, own, ROLL]
    turn = 0.0
    if roll:
        eliminated = np.einsum("nij,nj->ni", inverse, common)
        curvature = float((gram[:, ROLL, ROLL] - (common * eliminated).sum(axis=1)).sum())
        slope = float((gram[:, ROLL, DIFFERENCE] - (right * eliminated).sum(axis=1)).sum())
        turn = slope / curvature if curvature > 0 else 0.0
    found = np.einsum("nij,nj->ni", inverse, right - turn * common)
    return found, 1 / np.maximum(np.einsum("nii->ni", inverse), 1e-30), turn


def _smooth(
    values: NDArray[np.float64], information: NDArray[np.float64], times_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit a cubic smoothing spline with the stiffness of generalised cross-validation (G. Wahba, Spline Models for
    Observational Data, 1990); values measured soon after each other are averaged."""
    knots, which = np.unique(times_s, return_inverse=True)
    if len(knots) < LEAST_VIEWS:
        return np.zeros(len(values))
    which = which * min(len(knots), MOST_KNOTS) // len(knots)
    weight = np.bincount(which, information)
    when, mean = (np.bincount(which, information * value) / weight for value in (times_s, values))
    unit = len(when) / (when[-1] - when[0])
    spline = make_smoothing_spline((when - when[0]) * unit, mean, weight / weight.mean())
    return np.asarray(spline((times_s - when[0]) * unit))

"""Registration of a scan with itself: reconstruct, project, and see by how much each measured image departs.

D. Gürsoy et al., Sci. Rep. 7 (2017) 11818, with images registered by B. D. Lucas, T. Kanade (IJCAI 1981): the
difference between an image and its reprojection is a sum of the reprojection's derivatives with respect to what the
image may have suffered. Each view has a displacement, a magnification and a brightness of its own, all share the roll
of the detector; the common unknown is eliminated view by view (Schur complement).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline

from recon.projector import project
from recon.sart import LEAST_SUBSETS, VIEWS_PER_SUBSET, subset_order
from recon.solver import Solver
from xrm_sims.geometry import ConeGeometry

MARGIN = 0.06  # share of the image left out on each side of a registration
LARGEST_STEP_PX = 2.0
BLOCK_BYTES = 16 << 20  # images that are compared at a time
ROW, COLUMN, SCALE, BRIGHTNESS, ROLL, DIFFERENCE = range(6)
LEAST_VIEWS = 12  # for a curve through their magnifications


@dataclass(frozen=True)
class Images:
    """Binned line integrals (angle, row, column) and trust in them, and how many pixels make one of theirs."""

    p: NDArray[np.float32]
    weights: NDArray[np.float16] | None
    factor: int


@dataclass(frozen=True)
class Departure:
    """What turns the reprojections into the measured images: (n, 2) displacement in detector pixels along (row,
    column), (n,) logarithm of the magnification, roll in deg; seen is False for views without a trusted ray."""

    shifts_px: NDArray[np.float64]
    log_scale: NDArray[np.float64]
    roll_deg: float
    seen: NDArray[np.bool_]


def binned(p: NDArray[np.float32], weights: NDArray[np.float32] | None, factor: int) -> Images:
    """Means over factor x factor pixels, view by view; what is left over at the ends is dropped."""
    trust = None if weights is None else np.stack([_bin(view, factor).astype(np.float16) for view in weights])
    return Images(np.stack([_bin(view, factor) for view in p]), trust, factor)


def _bin(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    rows, columns = (n // factor for n in image.shape)
    cut = image[: rows * factor, : columns * factor]
    return np.asarray(cut.reshape(rows, factor, columns, factor).mean(axis=(1, 3)), np.float32)


def coarse_geometry(geometry: ConeGeometry, factor: int) -> ConeGeometry:
    """The same scan seen with binned pixels and voxels, the volume as high as displaced images see."""
    rows, columns = geometry.detector_shape
    offset = geometry.detector_offset_px
    shifts = None if geometry.view_shifts_px is None else geometry.view_shifts_px / factor
    reach = 1 if shifts is None else math.ceil(np.abs(shifts[:, 0]).max()) + 1
    nz, ny, nx = (max(1, round(n / factor)) for n in geometry.volume_shape)
    return replace(
        geometry,
        pixel_mm=geometry.pixel_mm * factor,
        voxel_um=geometry.voxel_um * factor,
        detector_shape=(rows // factor, columns // factor),
        volume_shape=(nz + 2 * reach, ny, nx),
        detector_offset_px=((offset[0] + rows % factor / 2) / factor, (offset[1] + columns % factor / 2) / factor),
        view_shifts_px=shifts,
    )


def quick_volume(images: Images, coarse: ConeGeometry, support_um: float | None) -> NDArray[np.float32]:
    """One sweep of SART over all views, (z, y, x)."""
    solver = Solver(coarse, support=support_um, nonnegative=False)  # clipping what noise made negative is a bias
    n = coarse.num_views
    for chosen in subset_order(coarse, min(n, max(n // VIEWS_PER_SUBSET, LEAST_SUBSETS))):
        trusted = None if images.weights is None else images.weights[chosen].astype(np.float32)
        solver.update(images.p[chosen], coarse.only(chosen), weights=trusted)
    return solver.volume


def departure(
    images: Images, volume: NDArray[np.float32], coarse: ConeGeometry, times_s: NDArray[np.float64], roll: bool
) -> Departure:
    """How the measured images depart from the reprojections of ``volume``; magnification as a smooth curve in time."""
    gram = np.concatenate(
        [
            _gram(images, volume, coarse, np.arange(first, min(first + step, coarse.num_views)))
            for step in [max(1, BLOCK_BYTES // images.p[0].nbytes)]
            for first in range(0, coarse.num_views, step)
        ]
    )
    seen = gram[:, ROW, ROW] * gram[:, COLUMN, COLUMN] > 0
    own = [ROW, COLUMN, SCALE, BRIGHTNESS]
    free, information, turned = _solved(gram[seen], own, roll)
    log_scale = np.zeros(len(gram))
    if seen.sum() >= LEAST_VIEWS:
        log_scale = _smooth(free[:, own.index(SCALE)], information[:, own.index(SCALE)], times_s[seen], times_s)
        gram[:, :, DIFFERENCE] -= log_scale[:, None] * gram[:, :, SCALE]
    rest, _, turned = _solved(gram[seen], [ROW, COLUMN, BRIGHTNESS], roll)
    shifts = np.zeros((len(gram), 2))
    shifts[seen] = np.clip(rest[:, :2], -LARGEST_STEP_PX, LARGEST_STEP_PX) * images.factor
    return Departure(shifts, log_scale, math.degrees(turned), seen)


def _gram(
    images: Images, volume: NDArray[np.float32], coarse: ConeGeometry, views: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, 6, 6) weighted products of the reprojection's derivatives and of the difference, in coarse pixels."""
    some = coarse.only(views)
    model = project(volume, some)
    n, rows, columns = model.shape
    shifts = np.zeros((n, 2)) if some.view_shifts_px is None else some.view_shifts_px
    centre = shifts + np.array(coarse.detector_offset_px) + (np.array([rows, columns]) - 1) / 2
    up = (np.arange(rows)[None, :] - centre[:, :1]).astype(np.float32)[:, :, None]
    right = (np.arange(columns)[None, :] - centre[:, 1:]).astype(np.float32)[:, None, :]
    along, across = np.gradient(model, axis=1), np.gradient(model, axis=2)
    terms = np.empty((n, 6, rows, columns), np.float32)
    terms[:, ROW], terms[:, COLUMN], terms[:, BRIGHTNESS] = -along, -across, model
    terms[:, SCALE] = -(right * across + up * along)
    terms[:, ROLL] = up * across - right * along
    terms[:, DIFFERENCE] = images.p[views] - model
    top, left = max(1, round(MARGIN * rows)), max(1, round(MARGIN * columns))
    terms = terms[:, :, top : rows - top, left : columns - left]
    weighted = terms
    if images.weights is not None:
        weighted = terms * images.weights[views][:, None, top : rows - top, left : columns - left]
    flat = terms.reshape(n, 6, -1)
    return np.asarray(weighted.reshape(n, 6, -1) @ flat.transpose(0, 2, 1), float)


def _solved(
    gram: NDArray[np.float64], own: list[int], roll: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Least squares: (n, own) unknowns of each view, the inverse of their variances (to a factor), and the roll."""
    normal = gram[:, own][:, :, own]
    scale = np.sqrt(np.einsum("nii->ni", normal)) + 1e-12
    inverse = np.linalg.pinv(normal / (scale[:, :, None] * scale[:, None, :]), rcond=1e-9, hermitian=True)
    inverse /= scale[:, :, None] * scale[:, None, :]
    right, common = gram[:, own, DIFFERENCE], gram[:, own, ROLL]
    turned = 0.0
    if roll:
        eliminated = np.einsum("nij,nj->ni", inverse, common)
        curvature = (gram[:, ROLL, ROLL] - (common * eliminated).sum(axis=1)).sum()
        turned = float((gram[:, ROLL, DIFFERENCE] - (right * eliminated).sum(axis=1)).sum() / max(curvature, 1e-12))
    found = np.einsum("nij,nj->ni", inverse, right - turned * common)
    return found, 1 / np.maximum(np.einsum("nii->ni", inverse), 1e-30), turned


def _smooth(
    values: NDArray[np.float64], information: NDArray[np.float64], times_s: NDArray[np.float64], at_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cubic smoothing spline through values at different times, as stiff as generalised cross-validation asks for
    (G. Wahba, Spline Models for Observational Data, 1990)."""
    order = np.argsort(times_s)
    unit = (times_s - times_s.min()) / max(np.ptp(times_s), 1e-12) * len(times_s)
    spline = make_smoothing_spline(unit[order], values[order], information[order] / information.mean())
    return np.asarray(spline((at_s - times_s.min()) / max(np.ptp(times_s), 1e-12) * len(times_s)), float)

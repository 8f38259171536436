"""Simultaneous algebraic reconstruction (SART) with ordered subsets, support, positivity and total variation.

Regularised as E. Y. Sidky, X. Pan, Phys. Med. Biol. 53 (2008) 4777: data steps (sweeps of SART over ordered subsets,
A. H. Andersen, A. C. Kak, Ultrasonic Imaging 6 (1984) 81) alternate with steps that lower the total variation, here
proximal ones. It starts from denoised filtered back projection, which has the detail that SART needs several sweeps
for. Without regularisation it starts from zero, because SART never removes the noise of its start.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.algorithms.checkpoint import Checkpoint, fingerprint
from recon.algorithms.fdk import VIEWS_AT_ONCE
from recon.algorithms.solver import Misfit, Solver
from recon.kernels.argument_checks import checked_scan, checked_weights
from recon.kernels.columns import PAD
from recon.kernels.progress import Fraction
from recon.kernels.total_variation import memory_of_denoising
from xrm_sims.geometry import Geometry

GOLDEN = (math.sqrt(5) - 1) / 2
VIEWS_PER_SUBSET = 4, 10  # least, for fine detail that needs many updates, and most; small subsets are slower
COLUMNS_PER_UPDATE = 6  # fine detail needs more updates in a sweep
LEAST_SUBSETS = 15  # enough updates from few views
RELAXATION = 1.0
SWEEPS = 2  # default maximum: from filtered back projection they are enough for the edges in the data
QUARTERS = 4  # of a sweep: the stopping rule compares each with the one before
RISEN = 0.02  # stop after a quarter that raised the shared misfit by a larger share; less may be chance
MISFIT_OF_MODEL = 4.0  # times the squared noise: more is an error of the model, which a second sweep would only fit
WHITE = 0.04  # largest share of the squared misfit in common to neighbours that is noise, for a million rays
MILLION = 1e6  # the share falls as one over the square root of the number of rays
SAMPLED_VIEWS = 16
NOISE_UNITS = 1.0  # steps no higher than the noise are smoothed as noise


@dataclass(frozen=True)
class SartResult:
    """A volume (z, y, x) in 1/um, z fastest in memory; residuals: weighted rms misfit of each sweep."""

    volume: NDArray[np.float32]
    residuals: NDArray[np.float64]
    seconds: float


def subset_order(geometry: Geometry, subsets: int) -> list[NDArray[np.int64]]:
    """Return the views of each subset, evenly over the turn; subsets in golden-ratio order, each far from the last."""
    by_angle = np.argsort(geometry.angles_deg % 360, kind="stable")
    order = np.argsort(np.arange(subsets) * GOLDEN % 1.0, kind="stable")
    return [by_angle[first::subsets] for first in np.argsort(order, kind="stable")]


def default_subsets(geometry: Geometry) -> int:
    """Return the number of subsets: one for every few columns of the detector."""
    views, (fewest, most) = geometry.num_views, VIEWS_PER_SUBSET
    wanted = min(max(geometry.detector_shape[1] // COLUMNS_PER_UPDATE, views // most), views // fewest)
    return min(views, max(wanted, LEAST_SUBSETS))


def data_noise(p: NDArray[np.float32], weights: NDArray[np.float32] | None = None) -> float:
    """Return the weighted rms of the noise in line integrals (angle, row, column), from second differences along rows.

    sigma^2 = median of weight |p[c-1] - 2 p[c] + p[c+1]|^2 / (6 * 0.6745^2) for a ray of weight 1; edges of the
    specimen hardly change the median.
    """
    some = slice(None, None, max(1, len(p) // SAMPLED_VIEWS))
    squares = np.diff(p[some], 2, axis=2) ** 2
    share = 1.0
    if weights is not None:
        trust = weights[some]
        trusted = (trust[..., :-2] > 0) & (trust[..., 1:-1] > 0) & (trust[..., 2:] > 0)
        squares, share = (squares * trust[..., 1:-1])[trusted], float(trust[trust > 0].mean()) if trusted.any() else 1.0
    return math.sqrt(float(np.median(squares)) / 6 / share) / 0.6745 if squares.size else 0.0


def _finished(misfits: list[Misfit], trust: NDArray[np.float64], noise: float) -> bool:
    """Whether the last quarter of a sweep found only noise or raised the misfit, or a whole sweep left far more.

    ``misfits`` of all subsets so far, ``trust`` (subsets of a sweep,) the sum of their weights.
    """
    quarter, done = math.ceil(len(trust) / QUARTERS), len(misfits)
    if done % len(trust) % quarter:
        return False
    last = np.arange(max(done - 2 * quarter, 0), done)
    rays = trust[last % len(trust)]
    found = np.array(misfits)[last] / rays[:, None]
    square, shared = found[-quarter:].mean(axis=0)
    if square <= noise**2 or shared <= WHITE * square * min(1.0, math.sqrt(MILLION / rays[-quarter:].sum())):
        return True
    if done >= len(trust) and square > MISFIT_OF_MODEL * noise**2:
        return True
    return len(found) == 2 * quarter and bool(shared > (1 + RISEN) * found[:quarter, 1].mean())


def memory_needed(geometry: Geometry, *, tv: bool = True, guided: bool = False) -> int:
    """Return the bytes that :func:`sart` allocates in addition to its arguments, result included."""
    nz, ny, nx = geometry.volume_shape
    n, (rows, columns) = geometry.num_views, geometry.detector_shape
    volume = 4 * (nx + 2) * (ny + 2) * (nz + PAD)
    at_once = max(math.ceil(n / default_subsets(geometry)), VIEWS_AT_ONCE)
    return (
        volume + 6 * 4 * at_once * 2 * columns * (rows + PAD) + (memory_of_denoising((nx, ny, nz), guided) if tv else 0)
    )


def sart(
    p: ArrayLike,
    geometry: Geometry,
    *,
    sweeps: int | None = None,
    subsets: int | None = None,
    relaxation: float = RELAXATION,
    tv: float = NOISE_UNITS,
    support: float | ArrayLike | None = None,
    nonnegative: bool = True,
    initial: ArrayLike | None = None,
    guide: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Fraction | None = None,
) -> SartResult:
    """Reconstruct a volume from line integrals by SART; the defaults suit measured data.

    Raises ValueError naming the argument, what it got and what it needs.

    Parameters
    ----------
    p : (angle, row, column) line integrals, dimensionless.
    geometry : the scan and the volume, with all offsets, shifts and the roll in effect.
    sweeps : passes over all views; None for at most two, which end where the residual is that of the noise (discrepancy
        principle, V. A. Morozov, Soviet Math. Dokl. 7 (1966) 414), where neighbouring rays no longer share any of it
        (M. S. C. Almeida, M. A. T. Figueiredo, IEEE Trans. Image Process. 22 (2013) 2751), where they share more than a
        quarter of a sweep before, or after a sweep that left far more than noise.
    subsets : subsets per sweep, at most one per view; default one for every six columns of the detector, with four to
        ten views each, at least 15.
    relaxation : fraction of the correction that is applied, 0 < relaxation < 2.
    tv : strength of the total-variation denoising of the start and after each sweep, in standard deviations of the
        volume's noise, so that it follows exposure, voxel size and number of views; 0 for none.
    support : radius in um of the cylinder that holds the specimen, or a mask (y, x); default the field of view.
    nonnegative : clip the volume at zero.
    initial : (z, y, x) start in 1/um; default filtered back projection (:func:`recon.fdk`), but zero where ``tv`` is 0.
    guide : (z, y, x) another volume of the same specimen, in any units and contrast: the total variation does not
        penalise edges at its edges (:mod:`recon.kernels.guided_variation`).
    weights : (angle, row, column) weight of each ray relative to the best, 0 to 1, default 1; 0 ignores the ray.
    checkpoint : file of the volume after each sweep until the last is done; the same call made again continues from it
        (:class:`recon.algorithms.checkpoint.Checkpoint`).
    progress : called with the finished fraction after each subset.
    """
    started = time.perf_counter()
    n = geometry.num_views
    subsets = default_subsets(geometry) if subsets is None else subsets
    if not 1 <= subsets <= n:
        raise ValueError(f"subsets: needs 1 to {n} (one view per subset), got {subsets}")
    if sweeps is not None and sweeps < 1:
        raise ValueError(f"sweeps: needs at least one, got {sweeps}")
    if not 0 < relaxation < 2:
        raise ValueError(f"relaxation: needs a number between 0 and 2, got {relaxation}")
    if not tv >= 0:
        raise ValueError(f"tv: needs a strength in units of the noise, 0 for none, got {tv}")
    data = checked_scan(p, geometry)
    trust = None if weights is None else checked_weights(weights, geometry)
    solver = Solver(geometry, support=support, nonnegative=nonnegative, initial=initial, guide=guide)
    residuals: list[float] = []
    kept = None
    if checkpoint is not None:
        options = {"subsets": subsets, "relaxation": relaxation, "tv": tv, "nonnegative": nonnegative}
        if guide is not None:
            options["guide"] = float(np.sum(guide, dtype=np.float64))
        kept = Checkpoint(checkpoint, fingerprint(data, geometry, solver.inside, **options))
        residuals = kept.load(solver.volume)
    if not residuals and initial is None and tv > 0:
        solver.start(data, geometry, trust)
        solver.smooth(tv)
    order = subset_order(geometry, subsets)
    most = SWEEPS if sweeps is None else sweeps
    total = np.array([len(v) * data[0].size if trust is None else trust[v].sum(dtype=float) for v in order])
    noise = data_noise(data, trust) if sweeps is None else 0.0
    misfits: list[Misfit] = []
    finished = False
    for sweep in range(len(residuals), most):
        for done, chosen in enumerate(order, 1):
            trusted = None if trust is None else trust[chosen]
            misfits.append(
                solver.update(
                    data[chosen], geometry.only(chosen), weights=trusted, relaxation=relaxation, shared=sweeps is None
                )
            )
            if progress is not None:
                progress((sweep + done / subsets) / most)
            if finished := sweeps is None and _finished(misfits, total, noise):
                break
        solver.smooth(tv)
        residuals.append(math.sqrt(sum(m.square for m in misfits[-done:]) / total[:done].sum()))
        if finished:
            break
        if kept is not None and sweep + 1 < most:
            kept.save(solver.volume, residuals)
    if kept is not None:
        kept.remove()
    if progress is not None and len(residuals) < most:
        progress(1.0)
    return SartResult(solver.volume, np.array(residuals), time.perf_counter() - started)

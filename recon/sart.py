"""Simultaneous algebraic reconstruction (SART) with ordered subsets, support, positivity and total variation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.checks import checked_scan, checked_weights
from recon.columns import PAD
from recon.solver import Solver
from xrm_sims.geometry import Geometry

GOLDEN = (math.sqrt(5) - 1) / 2
VIEWS_PER_SUBSET = 10  # one barrier per subset; more views save little time and converge slower
LEAST_SUBSETS = 30  # so that few views still make enough updates
RELAXATION = 1.0
SWEEPS = 2
NOISE_UNITS = 2.0


@dataclass(frozen=True)
class SartResult:
    """volume (z, y, x) in 1/um; residuals: weighted rms of measured minus projected per sweep; seconds in all."""

    volume: NDArray[np.float32]
    residuals: NDArray[np.float64]
    seconds: float


def subset_order(geometry: Geometry, subsets: int) -> list[NDArray[np.int64]]:
    """Views of each subset, evenly spread over the turn, subsets in golden-ratio order (each far from the last)."""
    by_angle = np.argsort(geometry.angles_deg % 360, kind="stable")
    order = np.argsort(np.arange(subsets) * GOLDEN % 1.0, kind="stable")
    return [by_angle[first::subsets] for first in np.argsort(order, kind="stable")]


def memory_needed(geometry: Geometry, *, tv: bool = True) -> int:
    """Bytes that :func:`sart` allocates beyond its arguments, result included."""
    nz, ny, nx = geometry.volume_shape
    n, (rows, columns) = geometry.num_views, geometry.detector_shape
    volume = 4 * (nx + 2) * (ny + 2) * (nz + PAD)
    data = 4 * n * columns * (rows + PAD)
    return volume + 2 * data + 4 * nx * ny * nz * (5 if tv else 1)


def sart(
    p: ArrayLike,
    geometry: Geometry,
    *,
    sweeps: int = SWEEPS,
    subsets: int | None = None,
    relaxation: float = RELAXATION,
    tv: float = NOISE_UNITS,
    support: float | ArrayLike | None = None,
    nonnegative: bool = True,
    initial: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    progress: Callable[[float], None] | None = None,
) -> SartResult:
    """Volume from line integrals by SART; with its defaults the right thing for measured data.

    Parameters
    ----------
    p : (angle, row, column) line integrals, dimensionless.
    geometry : the scan and the volume, with all offsets, shifts and the roll in effect.
    sweeps : passes over all views.
    subsets : subsets per sweep; ``len(angles)`` is one view per subset; default ten views each, 30 at least.
    relaxation : fraction of the correction that is applied, 0 < relaxation < 2.
    tv : total-variation denoising after each sweep in units of the volume's own noise; 0 for none.
    support : radius in um of the cylinder that holds the specimen, or a mask (y, x); default the field of view.
    nonnegative : clip the volume at zero.
    initial : (z, y, x) start in 1/um, default zero.
    weights : (angle, row, column) trust in each ray relative to the best, 0 to 1, default 1; 0 ignores the ray.
    progress : called with the finished fraction after each subset.

    Raises
    ------
    ValueError naming the argument, what it got and what it needs.
    """
    started = time.perf_counter()
    n = geometry.num_views
    subsets = min(n, max(n // VIEWS_PER_SUBSET, LEAST_SUBSETS)) if subsets is None else subsets
    if not 1 <= subsets <= n:
        raise ValueError(f"subsets: needs 1 to {n} (one view per subset), got {subsets}")
    if sweeps < 1:
        raise ValueError(f"sweeps: needs at least one, got {sweeps}")
    if not 0 < relaxation < 2:
        raise ValueError(f"relaxation: needs a number between 0 and 2, got {relaxation}")
    if not tv >= 0:
        raise ValueError(f"tv: needs a strength in units of the noise, 0 for none, got {tv}")
    data = checked_scan(p, geometry)
    trust = None if weights is None else checked_weights(weights, geometry)
    solver = Solver(geometry, support=support, nonnegative=nonnegative, initial=initial)
    order = subset_order(geometry, subsets)
    residuals = np.zeros(sweeps)
    for sweep in range(sweeps):
        for done, chosen in enumerate(order, start=1):
            trusted = None if trust is None else trust[chosen]
            residuals[sweep] += solver.update(
                data[chosen], geometry.only(chosen), weights=trusted, relaxation=relaxation
            )
            if progress is not None:
                progress((sweep + done / subsets) / sweeps)
        solver.smooth(tv)
    residuals = np.sqrt(residuals / (data.size if trust is None else trust.sum(dtype=np.float64)))
    return SartResult(np.ascontiguousarray(solver.volume), residuals, time.perf_counter() - started)

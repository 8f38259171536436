"""Counts along a line through a SIMS map, and lines across the boundaries between NCA's grains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy import ndimage
from skimage.feature import hessian_matrix, hessian_matrix_eigvals, peak_local_max
from skimage.measure import profile_line

from xrm_sims.correlate.phases.phase_statistics import well_inside
from xrm_sims.correlate.phases.phases import CHANNELS, Phase, PhaseMap
from xrm_sims.settings.section import Length, Section

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class LineProfile:
    """``mean`` (channel, n): counts per pixel, averaged across the line's width, with ``sigma`` from counting alone.

    ``start_px`` and ``end_px`` are (row, column).
    """

    distance_um: NDArray[np.float64]
    mean: NDArray[np.float64]
    sigma: NDArray[np.float64]
    start_px: Point
    end_px: Point
    width_px: int

    def as_rows(self, labels: tuple[str, ...] = CHANNELS) -> list[dict[str, Any]]:
        """Return a row for each distance: ``distance_um``, and the mean and ``sigma_`` of each channel."""
        return [
            {"distance_um": float(d)}
            | {name: float(m) for name, m in zip(labels, self.mean[:, n], strict=True)}
            | {f"sigma_{name}": float(s) for name, s in zip(labels, self.sigma[:, n], strict=True)}
            for n, d in enumerate(self.distance_um)
        ]


SPACING_UM = 1.0  # least distance between two lines


class BoundarySettings(Section):
    """Section ``[boundaries]``: lines across grain boundaries, where aluminium runs in narrow bands."""

    scale_um: Length = 0.05  # standard deviation of the band
    along_um: Length = 0.3  # length of boundary over which a profile is averaged
    length_um: Length = 0.8  # of the line
    count: Annotated[int, Field(ge=1)] = 3  # of lines at most


def line_profile(
    counts: ArrayLike, start_px: Point, end_px: Point, width_px: int = 1, *, pixel_um: float
) -> LineProfile:
    """Return counts ([channel,] row, column) along a line from ``start_px`` to ``end_px``, both (row, column).

    The nearest pixels are summed across the width, so that errors are those of Poisson counts. Raises ValueError for a
    width below one pixel, and for a line that leaves the map.
    """
    maps = np.asarray(counts, dtype=float)
    stack = maps[..., None] if maps.ndim == 2 else np.moveaxis(maps, 0, -1)
    if width_px < 1:
        raise ValueError(f"width_px: needs 1 pixel or more, got {width_px}")
    last = np.array(stack.shape[:2]) - 1
    for name, point in (("start_px", start_px), ("end_px", end_px)):
        if not (np.all(np.asarray(point) >= 0) and np.all(np.asarray(point) <= last)):
            raise ValueError(f"{name}: {point} is outside the map, which ends at (row, column) {tuple(last.tolist())}")
    sums = profile_line(stack, start_px, end_px, width_px, order=0, mode="nearest", reduce_func=np.sum).T
    length_px = float(np.hypot(*np.subtract(end_px, start_px)))
    return LineProfile(
        np.linspace(0.0, length_px, sums.shape[1]) * pixel_um,
        sums / width_px,
        np.sqrt(sums) / width_px,
        start_px,
        end_px,
        width_px,
    )


def boundary_profiles(
    phases: PhaseMap, counts: NDArray[np.float64], settings: BoundarySettings = BoundarySettings()
) -> list[LineProfile]:
    """Return profiles across the clearest bands of aluminium inside NCA, the clearest first.

    ``counts`` (channel, row, column) in the order of ``CHANNELS``, summed over frames.
    """
    pixel_um = phases.pixel_um
    sigma_px = max(settings.scale_um / pixel_um, 1.0)
    aluminium = np.sqrt(counts[CHANNELS.index("27Al")])
    hessian = hessian_matrix(aluminium, sigma=sigma_px, order="rc", use_gaussian_derivatives=False)
    across = -hessian_matrix_eigvals(hessian)[1]  # curvature across a band
    smooth = ndimage.gaussian_filter(across, 0.5 * settings.along_um / pixel_um)
    reach = 0.5 * settings.length_um / pixel_um
    there = well_inside(phases, Phase.NCA)
    inner = ndimage.distance_transform_edt(np.pad(there, 1))[1:-1, 1:-1] > reach
    noise = 1.4826 * np.median(np.abs(smooth[there] - np.median(smooth[there]))) if there.any() else 0.0
    level = (np.median(smooth[there]) if there.any() else 0.0) + 4.0 * noise
    peaks = peak_local_max(
        np.where(inner, smooth, 0.0),
        min_distance=max(1, round(SPACING_UM / pixel_um)),
        threshold_abs=max(float(level), 1e-9),
        num_peaks=settings.count,
        exclude_border=False,
    )
    width_px = max(1, round(settings.along_um / pixel_um))
    lines = []
    for row, column in peaks:
        rr, rc, cc = (element[row, column] for element in hessian)
        normal = np.linalg.eigh([[rr, rc], [rc, cc]])[1][:, 0]  # steepest descent on both sides
        start, end = np.array([row, column]) - reach * normal, np.array([row, column]) + reach * normal
        lines.append(
            line_profile(counts, (float(start[0]), float(start[1])), (float(end[0]), float(end[1])), width_px,
                         pixel_um=pixel_um)
        )  # fmt: skip
    return lines

"""Figures of one tomogram: slices, drift, resolution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xrm_sims.app.tomography.tomogram import Tomogram, pillar_of
from xrm_sims.correlate.figures import drawing, tomogram_figures
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.segment import PillarFit


def overview(
    tomogram: Tomogram,
    defects: Sequence[Defect] = (),
    pillar: PillarFit | None = None,
    chosen: Defect | None = None,
    top_view: tuple[Measured, NDArray[np.float64]] | None = None,
) -> Figure:
    """Draw slices of the volume; ``top_view`` is an SE image with the affine from its scan frame to the specimen's."""
    image, to_specimen = top_view or (None, None)
    return tomogram_figures.overview_figure(
        tomogram.volume,
        tomogram.voxel_um,
        defects,
        pillar,
        chosen,
        se_image=None if image is None else image[0][0],
        se_fov_um=None if image is None else image[1]["fov_um"],
        se_to_specimen=to_specimen,
    )


def draw_tomogram(tomogram: Tomogram, out: Path) -> list[Path]:
    """Draw slices and drift of a reconstructed run into a folder; return the paths."""
    slices = overview(tomogram, pillar=pillar_of(tomogram.volume, tomogram.voxel_um))
    return [drawing.save(slices, out / "slices.png"), *draw_drift(tomogram, out)]


def draw_drift(tomogram: Tomogram, out: Path) -> list[Path]:
    """Draw :func:`drift` into a folder; return the path, or nothing without a drift."""
    figure = drift(tomogram)
    return [] if figure is None else [drawing.save(figure, out / "drift.png")]


def drift(tomogram: Tomogram) -> Figure | None:
    """Draw the corrected shifts over the instrument's time; None when there are none, or no times of the views."""
    if tomogram.geometry.view_shifts_px is None or not np.isfinite(tomogram.times_s).all():
        return None
    return tomogram_figures.drift_figure(tomogram.geometry, tomogram.times_s)


Measured = tuple[NDArray[Any], dict[str, Any]]  # counts (of read_counts) or ions, and the start document

"""The pictures of an experiment: overlay, slices, drift, registration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from plans import Correlative
from xrm_sims.app.experiment import Analysis, raster_of
from xrm_sims.app.reconstruction import Tomogram
from xrm_sims.correlate import figures
from xrm_sims.correlate.register import Registration
from xrm_sims.data import read_counts


def draw(analysis: Analysis, result: Correlative, out: Path) -> list[Path]:
    """All pictures of a correlative experiment; their paths, the overlay first."""
    tomogram, segmentation = analysis.tomogram, analysis.segmentation
    registration = result.registration
    assert tomogram is not None and segmentation is not None and isinstance(registration, Registration)
    counts, start = read_counts(result.uids["sims"], "sector_counts", analysis.data)
    after, se = read_counts(result.uids["se_after"], "se_image", analysis.data)
    before, top = read_counts(result.uids["se_before"], "se_image", analysis.data)
    labels = [channel["label"] for channel in start["channels"]]
    raster = raster_of(start)
    overlay = figures.overlay_figure(
        tomogram.volume,
        tomogram.voxel_um,
        counts,
        labels,
        raster,
        registration,
        se_image=after[0],
        se_raster=(se["fov_um"], tuple(se["centre_um"])),
        defect=analysis.defect,
    )
    overview = figures.overview_figure(
        tomogram.volume,
        tomogram.voxel_um,
        analysis.defects,
        segmentation.pillar,
        analysis.defect,
        se_image=before[0],
        se_fov_um=top["fov_um"],
    )
    registered = figures.registration_figure(tomogram.volume, tomogram.voxel_um, counts, raster, registration)
    return [
        figures.save(overlay, out / "overlay.png"),
        figures.save(overview, out / "slices.png"),
        figures.save(registered, out / "registration.png"),
        *draw_drift(tomogram, out),
    ]


def draw_tomogram(tomogram: Tomogram, out: Path) -> list[Path]:
    """Slices and drift of one reconstructed run."""
    overview = figures.overview_figure(tomogram.volume, tomogram.voxel_um)
    return [figures.save(overview, out / "slices.png"), *draw_drift(tomogram, out)]


def draw_drift(tomogram: Tomogram, out: Path) -> list[Path]:
    """The shifts that were corrected, over the instrument's time."""
    shifts = tomogram.geometry.view_shifts_px
    if shifts is None:
        return []
    pixel_um = tomogram.geometry.pixel_mm * 1e3 / tomogram.geometry.magnification
    return [figures.save(figures.drift_figure(np.asarray(tomogram.times_s), shifts, pixel_um), out / "drift.png")]

"""The pictures of an experiment: overlay, slices, drift, registration."""

from __future__ import annotations

from pathlib import Path

from plans import Correlative
from xrm_sims.app.experiment import Findings, raster_of
from xrm_sims.app.reconstruction import Tomogram
from xrm_sims.correlate import figures
from xrm_sims.data import read_counts


def draw(result: Correlative, data: Path, out: Path) -> list[Path]:
    """All pictures of a correlative experiment; their paths, the overlay first."""
    assert result.aim is not None
    found: Findings = result.aim.about
    tomogram, registration = found.tomogram, result.registration
    counts, start = read_counts(result.uids["sims"], "sector_counts", data)
    after, close_up = read_counts(result.uids["se_after"], "se_image", data)
    before, top = read_counts(result.uids["se_before"], "se_image", data)
    labels = [channel["label"] for channel in start["channels"]]
    overlay = figures.overlay_figure(
        tomogram.volume,
        tomogram.voxel_um,
        counts,
        labels,
        raster_of(start),
        registration,
        se_image=after[0],
        se_raster=(close_up["fov_um"], tuple(close_up["centre_um"])),
        defect=found.defect,
    )
    overview = figures.overview_figure(
        tomogram.volume,
        tomogram.voxel_um,
        found.defects,
        found.segmentation.pillar,
        found.defect,
        se_image=before[0],
        se_fov_um=top["fov_um"],
        se_to_specimen=found.scan_to_specimen,
    )
    registered = figures.registration_figure(tomogram.volume, tomogram.voxel_um, counts, raster_of(start), registration)
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
    return [figures.save(figures.drift_figure(tomogram.times_s, shifts, pixel_um), out / "drift.png")]

"""The pictures of an experiment: overlay, slices, drift, registration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from plans import Correlative
from recon.fourier_shell import FIXED_THRESHOLDS
from xrm_sims.app.experiment import Findings, raster_of
from xrm_sims.app.reconstruction import Tomogram, pillar_of
from xrm_sims.app.sharpness import Sharpness
from xrm_sims.correlate import drawing, figures, tomogram_figures
from xrm_sims.data import read_counts, read_raster


def draw(result: Correlative, data: Path, out: Path) -> list[Path]:
    """All pictures of a correlative experiment; their paths, the overlay first."""
    assert result.aim is not None
    found: Findings = result.aim.about
    tomogram, registration = found.tomogram, result.registration
    counts, start = read_raster(result.uids["sims"], data)
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
    overview = tomogram_figures.overview_figure(
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
        drawing.save(overlay, out / "overlay.png"),
        drawing.save(overview, out / "slices.png"),
        drawing.save(registered, out / "registration.png"),
        *draw_drift(tomogram, out),
    ]


def draw_tomogram(tomogram: Tomogram, out: Path) -> list[Path]:
    """Slices and drift of one reconstructed run."""
    pillar = pillar_of(tomogram.volume, tomogram.voxel_um)
    overview = tomogram_figures.overview_figure(tomogram.volume, tomogram.voxel_um, pillar=pillar)
    return [drawing.save(overview, out / "slices.png"), *draw_drift(tomogram, out)]


def draw_drift(tomogram: Tomogram, out: Path) -> list[Path]:
    """The shifts that were corrected, over the instrument's time; nothing where nobody knows when views were taken."""
    if tomogram.geometry.view_shifts_px is None or not np.isfinite(tomogram.times_s).all():
        return []
    return [drawing.save(tomogram_figures.drift_figure(tomogram.geometry, tomogram.times_s), out / "drift.png")]


def draw_sharpness(sharpness: Sharpness, out: Path) -> Path:
    """Edge response with its line spread, and the shell correlation with its thresholds."""
    figure = drawing.new_figure(10.0, 4.2)
    left, right = figure.subplots(1, 2)
    if sharpness.edge is None:
        left.text(0.5, 0.5, "no free edge in the field", ha="center", transform=left.transAxes)
        left.set(xticks=[], yticks=[])
    else:
        curves = sharpness.edge.curves
        left.plot(curves.distance_um, curves.edge_response, ".", ms=2, color="0.5", label="edge response")
        peak = curves.line_spread_per_um.max()
        left.plot(curves.distance_um, curves.line_spread_per_um / peak, color="#0072b2", label="line spread")
        left.axhline(0.5, color="0.8", lw=0.8, zorder=0)
        width_nm, sigma_nm = 1e3 * sharpness.edge.fwhm_um, 1e3 * sharpness.edge.sigma_um
        left.set(xlim=(-1.5, 1.5), ylim=(-0.25, 1.25), xlabel="distance from the edge (µm)")
        left.set_title(f"edge: {width_nm:.0f} ± {sigma_nm:.0f} nm (FWHM)", fontsize=9)
        left.legend(fontsize=8, frameon=False)
    shell, crossing = sharpness.shell, sharpness.crossing
    right.plot(shell.frequency_per_um, shell.correlation, color="#d55e00", label="even against odd views")
    right.plot(shell.frequency_per_um, shell.half_bit, "--", lw=1.0, color="black", label="half bit")
    for level, style in zip(FIXED_THRESHOLDS, (":", "-."), strict=True):
        right.axhline(level, color="0.5", lw=0.8, ls=style, label=f"{level:g}")
    if crossing is not None:
        right.axvline(crossing.frequency_per_um, color="#d55e00", lw=0.8)
    said = "agree up to the voxels' limit" if crossing is None else f"part at {crossing}"
    right.set(xlabel="spatial frequency (1/µm)", ylabel="Fourier shell correlation", ylim=(-0.1, 1.05))
    right.set_title(f"halves {said.replace('+-', '±')}", fontsize=9)
    right.legend(fontsize=8, frameon=False)
    return drawing.save(figure, out / "resolution.png")

"""The pictures of an experiment: overlay, slices, drift, registration, phases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plans import Correlative
from recon.fourier_shell import FIXED_THRESHOLDS
from xrm_sims.app.experiment import Findings
from xrm_sims.app.phases import kept_phases
from xrm_sims.app.rasters import labels_of, raster_of
from xrm_sims.app.reconstruction import Ct, Tomogram, pillar_of
from xrm_sims.app.sharpness import Sharpness
from xrm_sims.app.sims_maps import kept_ions
from xrm_sims.correlate import drawing, figures, tomogram_figures
from xrm_sims.correlate.defects import Defect
from xrm_sims.correlate.phase_figures import phases_figure
from xrm_sims.correlate.phases import tells_phases
from xrm_sims.correlate.register import Registration
from xrm_sims.correlate.segment import PillarFit
from xrm_sims.data import find_run, read_counts
from xrm_sims.patterns import Raster

Measured = tuple[NDArray[Any], dict[str, Any]]  # counts as read_counts gives them, or ions, and the start document


def draw(result: Correlative, data: Path, out: Path) -> list[Path]:
    """All pictures of a correlative experiment; their paths, the overlay first."""
    assert result.aim is not None
    found: Findings = result.aim.about
    tomogram, registration = found.tomogram, result.registration
    uid = result.uids["sims"]
    sims = np.maximum(kept_ions(uid, data), 0.0), dict(find_run(uid, data).metadata["start"])
    after = read_counts(result.latest("se_after"), "se_image", data)
    before = read_counts(result.uids["se_before"], "se_image", data)
    pillar, top_view = found.segmentation.pillar, (before, found.scan_to_specimen)
    drawn = {
        "overlay": overlay(tomogram, registration, sims, after, found.defect),
        "slices": overview(tomogram, found.defects, pillar, found.defect, top_view),
        "registration": registered(tomogram, registration, sims),
        **phases(sims, data),
    }
    return [
        *(drawing.save(figure, out / f"{name}.png") for name, figure in drawn.items()),
        *draw_drift(tomogram, out),
    ]


def draw_registered(
    tomogram: Ct, registration: Registration, sims: Measured, defect: Defect | None, data: Path, out: Path
) -> list[Path]:
    """Pictures of one map that was placed in a tomogram; their paths, the overlay first."""
    drawn = {
        "overlay": overlay(tomogram, registration, sims, None, defect),
        "registration": registered(tomogram, registration, sims),
        **phases(sims, data),
    }
    return [drawing.save(figure, out / f"{name}.png") for name, figure in drawn.items()]


def draw_placed(
    tomogram: Ct, registration: Registration, image: NDArray[np.float64], raster: Raster, out: Path
) -> list[Path]:
    """The picture of an image (row, column) that was placed in a volume."""
    figure = figures.registration_figure(
        tomogram.volume, tomogram.voxel_um, np.clip(image, 0.0, None)[None], raster, registration, what="SE"
    )
    return [drawing.save(figure, out / "registration.png")]


def overlay(
    tomogram: Ct, registration: Registration, sims: Measured, se: Measured | None, defect: Defect | None
) -> Figure:
    """CT, SE and SIMS of one field; ``se`` is an image about that field."""
    counts, start = sims
    return figures.overlay_figure(
        tomogram.volume,
        tomogram.voxel_um,
        counts,
        labels_of(start),
        raster_of(start),
        registration,
        se_image=None if se is None else se[0][0],
        se_raster=None if se is None else (se[1]["fov_um"], tuple(se[1]["centre_um"])),
        defect=defect,
    )


def overview(
    tomogram: Tomogram,
    defects: Sequence[Defect] = (),
    pillar: PillarFit | None = None,
    chosen: Defect | None = None,
    top_view: tuple[Measured, NDArray[np.float64]] | None = None,
) -> Figure:
    """Slices of the volume; ``top_view`` is an SE image and how its scan frame lies in the specimen's."""
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


def registered(tomogram: Ct, registration: Registration, sims: Measured) -> Figure:
    """What the registration did."""
    counts, start = sims
    return figures.registration_figure(tomogram.volume, tomogram.voxel_um, counts, raster_of(start), registration)


def phases(sims: Measured, data: Path) -> dict[str, Figure]:
    """The picture ``phases`` of what is kept of a map; none where its channels do not tell them."""
    start = sims[1]
    if not tells_phases(labels_of(start)):
        return {}
    return {"phases": phases_figure(kept_phases(start["uid"], data), raster_of(start))}


def draw_tomogram(tomogram: Tomogram, out: Path) -> list[Path]:
    """Slices and drift of one reconstructed run."""
    slices = overview(tomogram, pillar=pillar_of(tomogram.volume, tomogram.voxel_um))
    return [drawing.save(slices, out / "slices.png"), *draw_drift(tomogram, out)]


def draw_drift(tomogram: Tomogram, out: Path) -> list[Path]:
    """:func:`drift` as a file, where there is one."""
    figure = drift(tomogram)
    return [] if figure is None else [drawing.save(figure, out / "drift.png")]


def drift(tomogram: Tomogram) -> Figure | None:
    """The shifts that were corrected, over the instrument's time; nothing where nobody knows when views were taken."""
    if tomogram.geometry.view_shifts_px is None or not np.isfinite(tomogram.times_s).all():
        return None
    return tomogram_figures.drift_figure(tomogram.geometry, tomogram.times_s)


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

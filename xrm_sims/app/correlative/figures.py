"""Figures of an experiment: overlay, slices, drift, registration, phases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xrm_sims.app.common.rasters import labels_of, raster_of
from xrm_sims.app.correlative.findings import Experiment
from xrm_sims.app.maps.phases import load_phases
from xrm_sims.app.maps.sims_maps import load_ions
from xrm_sims.app.tomography.figures import Measured, draw_drift, overview
from xrm_sims.app.tomography.tomogram import Ct
from xrm_sims.correlate.figures import drawing, map_figures
from xrm_sims.correlate.figures.phase_figures import phases_figure
from xrm_sims.correlate.phases.phases import has_phase_channels
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.data import find_run, read_counts
from xrm_sims.patterns import Raster


def draw(result: Experiment, data: Path, out: Path) -> list[Path]:
    """Draw all figures of a correlative experiment; return their paths, the overlay first."""
    found = result.chosen.about
    tomogram, registration = found.tomogram, result.registered
    uid = result.uids["sims"]
    sims = np.maximum(load_ions(uid, data), 0.0), dict(find_run(uid, data).metadata["start"])
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
    """Draw the figures of a map that was registered with a volume; return their paths, the overlay first."""
    drawn = {
        "overlay": overlay(tomogram, registration, sims, None, defect),
        "registration": registered(tomogram, registration, sims),
        **phases(sims, data),
    }
    return [drawing.save(figure, out / f"{name}.png") for name, figure in drawn.items()]


def draw_placed(
    tomogram: Ct, registration: Registration, image: NDArray[np.float64], raster: Raster, out: Path
) -> list[Path]:
    """Draw an image (row, column) that was registered with a volume; return the path."""
    figure = map_figures.registration_figure(
        tomogram.volume, tomogram.voxel_um, np.clip(image, 0.0, None)[None], raster, registration, what="SE"
    )
    return [drawing.save(figure, out / "registration.png")]


def overlay(
    tomogram: Ct, registration: Registration, sims: Measured, se: Measured | None, defect: Defect | None
) -> Figure:
    """Draw CT, SE and SIMS of one field; ``se`` is an image around that field."""
    counts, start = sims
    return map_figures.overlay_figure(
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


def registered(tomogram: Ct, registration: Registration, sims: Measured) -> Figure:
    """Draw the registration of a map."""
    counts, start = sims
    return map_figures.registration_figure(tomogram.volume, tomogram.voxel_um, counts, raster_of(start), registration)


def phases(sims: Measured, data: Path) -> dict[str, Figure]:
    """Draw the kept phases of a map, as ``phases``; return nothing when its channels cannot separate them."""
    start = sims[1]
    if not has_phase_channels(labels_of(start)):
        return {}
    return {"phases": phases_figure(load_phases(start["uid"], data), raster_of(start))}

"""Map elements by EDS after a SIMS map, register them with the tomogram, and compare them with SIMS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import plans
from plans import Aim
from xrm_sims.app.common.rasters import inner_field, labels_of, raster_of, raster_of_image
from xrm_sims.app.correlative.findings import Experiment, Findings, align_by_outline
from xrm_sims.app.maps.phases import load_phases
from xrm_sims.app.maps.sims_maps import load_ions
from xrm_sims.app.session.session import Session
from xrm_sims.app.tomography.tomogram import Ct
from xrm_sims.correlate.figures.drawing import save
from xrm_sims.correlate.figures.elements_figure import elements_figure
from xrm_sims.correlate.phases.elements import NAMING, Verdict, eds_on_raster, eds_verdicts
from xrm_sims.correlate.phases.phases import has_phase_channels
from xrm_sims.correlate.registration.active_material import se_active
from xrm_sims.correlate.registration.register import Registration, register_to_ct
from xrm_sims.correlate.settings import AnalysisSettings
from xrm_sims.data import find_run, read_counts, results
from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.patterns import Raster

KIND = "elements"
PICTURE = "elements.png"


def add_elements(session: Session, result: Experiment, elements: Sequence[str], out: Path) -> dict[str, Any]:
    """Measure an EDS map of the mapped field, register, compare and draw it; return its entry in ``summary.json``.

    An EDS map that cannot be registered has the reason under ``refused``; the SIMS map stays valid.
    """
    found = result.chosen.about

    def align(aim: Aim[Findings], se_uid: str) -> Aim[Findings]:
        back = invert_affine(align_by_outline(found, se_uid, session.data, session.analysis.outline))
        u, v = apply_affine(back, [found.defect.centre_um[:2]])[0]
        return replace(aim, centre_um=(float(u), float(v)))

    try:
        session.run(plans.map_elements(session.scope, result, align=align, elements=elements))
        placed = place(result, session.data, session.analysis)
    except ValueError as refusal:
        return {"refused": str(refusal)}
    return compare(result, placed, session.data, out)


def place(result: Experiment, data: Path, analysis: AnalysisSettings) -> Registration:
    """Register the electron beam's scan frame with the tomogram, by the SE image taken with the EDS map.

    The registration is kept as the EDS run's result ``registration``. Raises ValueError as :func:`register_to_ct`.
    """
    found = result.chosen.about
    image, start = read_counts(result.uids["sem"], "se_image", data)
    part, raster = inner_field(image[0], raster_of_image(start), result.chosen.fov_um)
    first = np.array(results.load(data, result.uids["sem_before"], "alignment").metadata["scan_to_specimen"])
    height_um = result.registered.exposed_z_um
    placed = register_to_ct(
        se_active(part),
        found.tomogram.volume,
        found.tomogram.voxel_um,
        raster,
        height_um,
        first,
        analysis.registration,
        analysis.segmentation,
    )
    parents = [result.uids["tomography"], result.uids["sem"]]
    results.save(data, result.uids["eds"], "registration", metadata=placed.as_dict(), parents=parents)
    return placed


@dataclass(frozen=True, eq=False)
class Beside:
    """Electron data at the pixels of a SIMS map: SE (row, column), EDS counts per EDS pixel (element, row, column)."""

    elements: list[str]
    eds: NDArray[np.float64]
    sem: NDArray[np.float64]
    eds_pixel_um: float


def look_beside(
    eds_uid: str, sem_uid: str, placed: Registration, sims: Registration, raster: Raster, data: Path
) -> Beside:
    """Resample EDS and SE to the raster of a map, by the registrations of both with the volume."""
    counts, eds_start = read_counts(eds_uid, "eds_counts", data)
    image, sem_start = read_counts(sem_uid, "se_image", data)
    eds_raster = raster_of(eds_start)
    return Beside(
        [str(name) for name in eds_start["elements"]],
        eds_on_raster(counts[0], eds_raster, placed, sims, raster.shape),
        eds_on_raster(image, raster_of_image(sem_start), placed, sims, raster.shape)[0],
        eds_raster.pixel_um,
    )


def draw_beside(ct: Ct, start: Mapping[str, Any], sims: Registration, beside: Beside, data: Path) -> Figure:
    """Draw the ions of the map with this start document beside SE and EDS."""
    ions = np.maximum(load_ions(start["uid"], data), 0.0)
    shown = (ions, labels_of(start), raster_of(start), sims)
    return elements_figure(ct.volume, ct.voxel_um, shown, beside.sem, beside.eds, beside.elements)


def compare(result: Experiment, placed: Registration, data: Path, out: Path) -> dict[str, Any]:
    """Compare EDS with SIMS: draw ``elements.png``, keep the verdicts on the particles as the EDS run's result
    ``elements``, return their counts."""
    import pandas

    found = result.chosen.about
    uid, sem_uid, registration = result.uids["sims"], result.uids["sem"], result.registered
    start = find_run(uid, data).metadata["start"]
    raster = raster_of(start)
    beside = look_beside(result.uids["eds"], sem_uid, placed, registration, raster, data)
    compared: list[Verdict] = []
    if set(NAMING) <= set(beside.elements) and has_phase_channels(labels_of(start)):
        chemistry = load_phases(uid, data)
        nickel, cobalt = (beside.eds[beside.elements.index(name)] for name in NAMING)
        compared = eds_verdicts(
            nickel, cobalt, chemistry.particle_labels, chemistry.particles, raster, beside.eds_pixel_um
        )
    summary: dict[str, Any] = {
        "elements": beside.elements,
        "sigma_nm": placed.sigma_nm,
        "apart_z_nm": 1e3 * (placed.exposed_z_um - registration.exposed_z_um),
        "particles_named": sum(each.agrees is not None for each in compared),
        "particles_named_alike": sum(each.agrees is True for each in compared),
    }
    table = pandas.DataFrame([each.as_row() for each in compared], columns=list(Verdict.__dataclass_fields__))
    results.save(data, result.uids["eds"], KIND, metadata=summary, parents=[uid, sem_uid], tables={"verdicts": table})
    save(draw_beside(found.tomogram, start, registration, beside, data), out / PICTURE)
    return summary

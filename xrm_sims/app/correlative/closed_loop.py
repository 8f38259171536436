"""The closed loop: go from a scan, or from a tomogram, to the chemistry at a buried defect without an operator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plans
from xrm_sims.app.common.rasters import labels_of
from xrm_sims.app.correlative.eds import PICTURE, add_elements
from xrm_sims.app.correlative.figures import draw
from xrm_sims.app.correlative.findings import Choices, Experiment, Findings
from xrm_sims.app.correlative.milled_away import check_not_milled_away
from xrm_sims.app.correlative.place_map import place_of, write_summary
from xrm_sims.app.correlative.rois import check_specimen, estimate_reach
from xrm_sims.app.correlative.transform_chain import keep_chain
from xrm_sims.app.correlative.workflow import FIELD_UM, Analysis
from xrm_sims.app.session.session import Session, open_session
from xrm_sims.app.tomography.selection import tomography_parts
from xrm_sims.app.tomography.tomogram import kept_tomogram
from xrm_sims.correlate.maps.field_maps import channel_statistics
from xrm_sims.correlate.volume.ranking import best_roi, numbered_roi
from xrm_sims.data import find_run, read_raster
from xrm_sims.data.figures import keep_figures
from xrm_sims.data.layout import Layout

TOMOGRAPHY = {"num": 1200, "step_deg": 0.3, "exposure_s": 90.0, "binning": 4}
DEFAULTS = Choices()


def run_closed_loop(
    out: Path,
    *,
    seed: int = 1,
    data: Path | None = None,
    tomography: Mapping[str, Any] = TOMOGRAPHY,
    choices: Choices = DEFAULTS,
    purpose: str = "closed loop",
) -> dict[str, Any]:
    """Run the whole experiment on a fresh specimen of this seed; return the content of ``summary.json``.

    Raises ValueError when no defect is worth milling to, and when a plane or a registration is not certain.
    """
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with open_session(data or out / "data", seed=seed, fresh=True, analysis=choices.analysis) as session:
        _check_elements(session, choices)
        analysis = Analysis(session.data, session.settings, choices)
        plan = plans.correlative(
            session.scope,
            reconstruct=analysis.reconstruct,
            choose=analysis.choose,
            **analysis.alignment,
            tomography_args=tomography,
            md={"sample_name": "LCO/NCA cathode pillar", "purpose": purpose},
        )
        return _summarise_and_draw(session, analysis, session.run(plan), out, began, seed=seed)


def map_roi(
    run: str,
    out: Path,
    *,
    data: Path | None = None,
    roi: int | None = None,
    choices: Choices = DEFAULTS,
) -> dict[str, Any]:
    """Mill to an ROI of a tomogram of the mounted specimen (the best, or number ``roi``) and map it.

    Raises ValueError, before anything moves, for a run of another kind or without a volume, for another specimen, for
    an unknown number, and for an ROI that the rule excludes, that is out of reach or that was milled away.
    """
    began = time.perf_counter()
    parts = tomography_parts(run, data)
    tomogram = kept_tomogram(parts[0].uid, data)
    with open_session(Layout.of(data).root, analysis=choices.analysis) as session:
        check_specimen(parts, session.scope.specimen.get(), float(session.scope.time_s.get()))
        _check_elements(session, choices)
        analysis = Analysis(session.data, session.settings, choices)
        segmentation, rois = analysis.find(tomogram)
        chosen = best_roi(rois, choices.analysis.rois) if roi is None else numbered_roi(rois, roi)
        aim = analysis.aim(Findings(tomogram, segmentation, rois, chosen))
        check_not_milled_away(session.data, parts, chosen, session.settings.mode_change)
        estimate_reach(session, aim, chosen.number)
        uids = {"tomography": tomogram.uid}
        so_far = Experiment(parts[0].start.get("experiment_uid", tomogram.uid), uids, tomogram, aim)
        out.mkdir(parents=True, exist_ok=True)
        plan = plans.dig_and_map(session.scope, so_far, **analysis.alignment)
        return _summarise_and_draw(session, analysis, session.run(plan), out, began)


def _check_elements(session: Session, choices: Choices) -> None:
    if choices.elements:
        fov_um = choices.fov_um or max(FIELD_UM)
        plans.eds_request(session.settings, elements=choices.elements, fov_um=fov_um).check(session.scope)


def _summarise_and_draw(
    session: Session, analysis: Analysis, result: Experiment, out: Path, began: float, **also: Any
) -> dict[str, Any]:
    """Map elements if wanted, write the pictures and ``summary.json``, print their paths."""
    elements = analysis.choices.elements
    found_elements = add_elements(session, result, elements, out) if elements else None
    pictures = draw(result, session.data, out)
    keep_figures(session.data, result.uids["sims"], pictures)
    summary = summarise(session, result) | also
    summary["chain"] = keep_chain(result, session.data, session.settings)
    if found_elements is not None:
        summary["elements"] = found_elements
        pictures += [out / PICTURE] if "refused" not in found_elements else []
    summary["seconds"] |= {**analysis.seconds, "everything": round(time.perf_counter() - began, 1)}
    return write_summary(summary, out, pictures)


def summarise(session: Session, result: Experiment) -> dict[str, Any]:
    """Return uids, the defect, the registration and the counts; the names of lengths end with their unit."""
    found = result.chosen.about
    counts, start = read_raster(result.uids["sims"], session.data)
    resolution = found.tomogram.resolution
    return {
        "experiment_uid": result.experiment_uid,
        "run_uids": result.uids,
        "seconds": {name: _duration_s(uid, session.data) for name, uid in result.uids.items()},
        "defect": found.defect.as_dict(),
        "roi": found.roi.number,
        "defects_found": len(found.defects),
        "defect_centre_um": list(found.defect.centre_um),
        **place_of(result.registered, start),
        "counts": {each.label: vars(each) for each in channel_statistics(counts, labels_of(start))},
        "resolution": None if resolution is None else resolution.as_dict(),
        "voxel_um": found.tomogram.voxel_um,
    }


def _duration_s(uid: str, data: Path) -> float:
    """Return the wall time between a run's start and stop documents."""
    documents = find_run(uid, data).metadata
    return round(float(documents["stop"]["time"] - documents["start"]["time"]), 1)

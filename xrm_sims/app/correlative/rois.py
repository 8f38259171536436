"""The command find-rois: find and number the pores and cracks of a reconstructed volume, and draw them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plans
from plans import Aim, Preflight
from xrm_sims.app.common.csv_table import write_csv
from xrm_sims.app.correlative.findings import Choices, Findings
from xrm_sims.app.correlative.workflow import Analysis
from xrm_sims.app.session.hardware import session_settings
from xrm_sims.app.session.session import Session, open_session
from xrm_sims.app.tomography.selection import tomography_parts
from xrm_sims.app.tomography.tomogram import Ct, kept_tomogram, kept_volume
from xrm_sims.atomic_write import write_whole
from xrm_sims.correlate.settings import load_analysis_settings
from xrm_sims.correlate.volume.ranking import COLUMNS, DefectRule, Roi, numbered_roi
from xrm_sims.correlate.volume.segment import Segmentation
from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import Part

SHOWN = 10  # lines on the screen; the table has all ROIs


def find_rois(
    run: str,
    *,
    data: Path | None,
    rule: Path | None = None,
    settings: Path | None = None,
    out: Path | None = None,
    roi: int | None = None,
) -> list[Roi]:
    """Find the ROIs, keep their table, print and draw them; with ``roi``, also estimate milling to it and mapping it.

    Raises ValueError for an unknown run, for one that is no tomography and for one without a volume. With ``roi``, also
    for an unknown number, for an ROI that the rule excludes, and when another specimen is mounted.
    """
    parts = tomography_parts(run, data, imported=roi is None)
    root = Layout.of(data).root
    choices = Choices(analysis=load_analysis_settings(root, settings, rule))
    analysis = Analysis(root, session_settings(root), choices)
    ct = kept_volume(parts[0].uid, data)
    segmentation, rois = analysis.find(ct)
    print("\n".join(in_words(rois)))
    if out is not None:
        for path in write(ct, segmentation, rois, choices.analysis.rois, out):
            print(path)
    print(f"table kept at /results/{ct.uid}/rois")
    if roi is not None:
        chosen, tomogram = numbered_roi(rois, roi), kept_tomogram(ct.uid, data)
        print(estimate(Findings(tomogram, segmentation, rois, chosen), analysis, parts))
    return rois


def check_specimen(parts: Sequence[Part], mounted: str, now_s: float) -> None:
    """Raise ValueError when the mounted specimen is not that of the runs.

    The instrument's clock ``now_s`` starts from 0 when a new specimen is mounted, even one of the same name.
    """
    for part in parts:
        if (measured := part.before.get("specimen", mounted)) != mounted:
            raise ValueError(
                f"run {part.uid}: shows {measured}, and {mounted} is mounted; mount the specimen of the run"
            )
        if (then_s := (part.after or part.before).get("instrument_time_s", now_s)) > now_s:
            raise ValueError(
                f"run {part.uid}: ended at {then_s:.0f} s of the instrument's clock, which is at {now_s:.0f} s: "
                "another specimen was mounted since; measure a tomogram of that one first"
            )


def estimate(found: Findings, analysis: Analysis, parts: Sequence[Part]) -> str:
    """Describe time and dose of milling to an ROI and mapping it, checked at the instrument without a beam."""
    with open_session(analysis.data) as session:
        check_specimen(parts, session.scope.specimen.get(), float(session.scope.time_s.get()))
        aim = analysis.aim(found)
        mill, sims = estimate_reach(session, aim, found.roi.number)
    u, v = aim.centre_um
    width_um, height_um = aim.mill.size_um
    return (
        f"ROI {found.roi.number}: a box of {width_um:g} x {height_um:g} um about ({u:.2f}, {v:.2f}) um of the specimen "
        f"and {aim.mill.depth_um:.2f} um deep, then a map of {aim.fov_um:g} um\n{mill}\n{sims}"
    )


def estimate_reach(session: Session, aim: Aim[Any], number: int) -> tuple[Preflight, Preflight]:
    """Estimate milling to an ROI and mapping it. ValueError when the instrument cannot reach it."""
    mill = plans.preflight(session.scope, plans.mill, pattern=aim.mill)
    where = {"fov_um": aim.fov_um, "centre_um": aim.centre_um}
    sims = plans.preflight(session.scope, plans.sims_raster, **where, **aim.sims_args)
    if refused := [*mill.problems, *sims.problems]:
        raise ValueError(f"roi: {number} is out of reach: {'; '.join(refused)}")
    return mill, sims


def in_words(rois: Sequence[Roi]) -> list[str]:
    """Return the best ROIs as lines of a table, and a line with their number."""
    lines = [f"{'ROI':>4} {'kind':5} {'x':>7} {'y':>7} {'depth':>6} {'across':>6} {'opening':>7} {'confid.':>7}  (um)"]
    for roi in rois[:SHOWN]:
        d = roi.defect
        x, y, _ = d.centre_um
        opening = f"{d.opening_um:7.2f}" if d.kind == "crack" else " " * 7
        excluded = f"  excluded: {roi.obstacle}" if roi.obstacle else ""
        lines.append(
            f"{roi.number:4d} {d.kind:5} {x:7.2f} {y:7.2f} {d.depth_um:6.2f} {d.diameter_um:6.2f} {opening} "
            f"{d.confidence:7.2f}{excluded}"
        )
    kinds = [roi.defect.kind for roi in rois]
    good = sum(roi.obstacle is None for roi in rois)
    lines.append(f"{kinds.count('pore')} pores, {kinds.count('crack')} cracks; {good} within the rule")
    return lines


def write(ct: Ct, segmentation: Segmentation, rois: Sequence[Roi], rule: DefectRule, out: Path) -> list[Path]:
    """Write ``rois.csv`` (lengths in um), the rule used as ``rule.toml``, and ``rois.png``."""
    from xrm_sims.correlate.figures import drawing, tomogram_figures

    out.mkdir(parents=True, exist_ok=True)
    table = write_csv(out / "rois.csv", [roi.as_row() for roi in rois], COLUMNS, digits=3)
    write_whole(out / "rule.toml", rule.as_toml())
    best = next((roi.defect for roi in rois if roi.obstacle is None), None)
    figure = tomogram_figures.overview_figure(
        ct.volume, ct.voxel_um, [roi.defect for roi in rois], segmentation.pillar, best
    )
    return [table, out / "rule.toml", drawing.save(figure, out / "rois.png")]

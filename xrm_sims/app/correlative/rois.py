"""The command find-rois: from a kept volume to a numbered table of pores and cracks, and pictures of where they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plans
from plans import Aim, Preflight
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

SHOWN = 10  # lines on the screen; the table has them all


def find_rois(
    run: str,
    *,
    data: Path | None,
    rule: Path | None = None,
    settings: Path | None = None,
    out: Path | None = None,
    roi: int | None = None,
) -> list[Roi]:
    """The command: find, keep the table, say what there is, draw it, and say what it takes to reach one.

    Raises ValueError for a run that is not there, is no tomography or has no volume yet; and with ``roi`` for a number
    that is none, one that the rule holds back, and when another specimen than the run's is mounted.
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
        print(way_to(Findings(tomogram, segmentation, rois, chosen), analysis, parts))
    return rois


def check_specimen(parts: Sequence[Part], mounted: str, now_s: float) -> None:
    """ValueError when the instrument holds another specimen than the one that the runs are of.

    An instrument that was begun anew counts from 0 again, whatever its specimen is called: ``now_s`` is its clock.
    """
    for part in parts:
        if (measured := part.before.get("specimen", mounted)) != mounted:
            raise ValueError(
                f"run {part.uid}: shows {measured}, and {mounted} is mounted, which has not its ROIs; bring that one in"
            )
        if (then_s := (part.after or part.before).get("instrument_time_s", now_s)) > now_s:
            raise ValueError(
                f"run {part.uid}: ended at {then_s:.0f} s of the instrument's clock, which says {now_s:.0f} s: another "
                "specimen was mounted since, which has not its ROIs; measure that one first"
            )


def way_to(found: Findings, analysis: Analysis, parts: Sequence[Part]) -> str:
    """What digging down to an ROI and mapping it takes, weighed at the instrument without a beam."""
    with open_session(analysis.data) as session:
        check_specimen(parts, session.scope.specimen.get(), float(session.scope.time_s.get()))
        aim = analysis.aim(found)
        mill, sims = weigh_reach(session, aim, found.roi.number)
    u, v = aim.centre_um
    width_um, height_um = aim.mill.size_um
    return (
        f"ROI {found.roi.number}: a box of {width_um:g} x {height_um:g} um about ({u:.2f}, {v:.2f}) um of the specimen "
        f"and {aim.mill.depth_um:.2f} um deep, then a map of {aim.fov_um:g} um\n{mill}\n{sims}"
    )


def weigh_reach(session: Session, aim: Aim[Any], number: int) -> tuple[Preflight, Preflight]:
    """What milling to an ROI and mapping it take. ValueError when the instrument cannot do it there."""
    mill = plans.preflight(session.scope, plans.mill, pattern=aim.mill)
    where = {"fov_um": aim.fov_um, "centre_um": aim.centre_um}
    sims = plans.preflight(session.scope, plans.sims_raster, **where, **aim.sims_args)
    if refused := [*mill.problems, *sims.problems]:
        raise ValueError(f"roi: {number} is out of reach: {'; '.join(refused)}")
    return mill, sims


def in_words(rois: Sequence[Roi]) -> list[str]:
    """The best ones as lines of a table, and how many there are."""
    lines = [f"{'ROI':>4} {'kind':5} {'x':>7} {'y':>7} {'depth':>6} {'across':>6} {'opening':>7} {'confid.':>7}  (um)"]
    for roi in rois[:SHOWN]:
        d = roi.defect
        x, y, _ = d.centre_um
        opening = f"{d.opening_um:7.2f}" if d.kind == "crack" else " " * 7
        held = f"  held back: {roi.obstacle}" if roi.obstacle else ""
        lines.append(
            f"{roi.number:4d} {d.kind:5} {x:7.2f} {y:7.2f} {d.depth_um:6.2f} {d.diameter_um:6.2f} {opening} "
            f"{d.confidence:7.2f}{held}"
        )
    kinds = [roi.defect.kind for roi in rois]
    good = sum(roi.obstacle is None for roi in rois)
    lines.append(f"{kinds.count('pore')} pores, {kinds.count('crack')} cracks; {good} within the rule")
    return lines


def as_csv(rois: Sequence[Roi]) -> str:
    """All of them, a line each; lengths in um, to the nanometre."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    for roi in rois:
        row = roi.as_row()
        writer.writerow({name: round(cell, 3) if isinstance(cell, float) else cell for name, cell in row.items()})
    return text.getvalue()


def write(ct: Ct, segmentation: Segmentation, rois: Sequence[Roi], rule: DefectRule, out: Path) -> list[Path]:
    """``rois.csv``, ``rule.toml`` as it was applied, ``rois.png``."""
    from xrm_sims.correlate.figures import drawing, tomogram_figures

    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "rois.csv", as_csv(rois))
    write_whole(out / "rule.toml", rule.as_toml())
    best = next((roi.defect for roi in rois if roi.obstacle is None), None)
    figure = tomogram_figures.overview_figure(
        ct.volume, ct.voxel_um, [roi.defect for roi in rois], segmentation.pillar, best
    )
    return [out / "rois.csv", out / "rule.toml", drawing.save(figure, out / "rois.png")]

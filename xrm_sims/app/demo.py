"""The demo: the paper's experiment on the twin, from an empty folder to pictures and ``summary.json``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plans
from plans import Correlative
from xrm_sims.app.experiment import Analysis, Findings
from xrm_sims.app.pictures import draw, labels_of
from xrm_sims.app.session import Session, open_session
from xrm_sims.correlate.maps import channel_statistics
from xrm_sims.correlate.register import Registration
from xrm_sims.data import find_run, read_raster
from xrm_sims.geometry import apply_affine
from xrm_sims.whole import write_whole

TOMOGRAPHY = {"num": 1200, "step_deg": 0.3, "exposure_s": 90.0, "binning": 4}
SIMS = {"shape": (512, 512), "dwell_ms": 0.55, "frames": 1}


def run_demo(
    out: Path, *, seed: int = 1, data: Path | None = None, tomography: Mapping[str, Any] = TOMOGRAPHY
) -> dict[str, Any]:
    """Run the experiment on a fresh specimen of this seed; returns what ``summary.json`` says.

    Raises ValueError in one sentence when a stage cannot do its work honestly (no defect worth digging for, a
    registration that is not certain).
    """
    out.mkdir(parents=True, exist_ok=True)
    root = data or out / "data"
    began = time.perf_counter()
    with open_session(root, seed=seed, fresh=True) as session:
        analysis = Analysis(session.data, session.settings)
        result = run_experiment(session, analysis, tomography)
        pictures = draw(result, session.data, out)
        summary = summarise(session, result)
    summary["seed"] = seed
    summary["seconds"] |= {**analysis.seconds, "everything": round(time.perf_counter() - began, 1)}
    summary["pictures"] = [path.name for path in pictures]
    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    for path in pictures:
        print(path)
    print(f"summary: {out / 'summary.json'}")
    program = os.path.relpath(sys.argv[0])
    print(f"one page about it: {program} report {summary['experiment_uid'][:8]} --data {root}")
    print(f"browse it: {program} serve --data {root}")
    return summary


def run_experiment(session: Session, analysis: Analysis, tomography: Mapping[str, Any]) -> Correlative:
    """The correlative plan with one raster frame of the paper's format."""
    plan = plans.correlative(
        session.scope,
        reconstruct=analysis.reconstruct,
        choose=analysis.choose,
        align=analysis.align,
        register=analysis.register,
        tomography_args=tomography,
        sims_args=SIMS,
        md={"sample_name": "LCO/NCA cathode pillar", "purpose": "demo"},
    )
    return session.run(plan)


def summarise(session: Session, result: Correlative) -> dict[str, Any]:
    """Uids, the defect, the registration, counts: every length says its unit."""
    assert result.aim is not None
    found: Findings = result.aim.about
    registration: Registration = result.registration
    counts, start = read_raster(result.uids["sims"], session.data)
    rows, columns = start["shape"]
    middle = apply_affine(registration.sims_to_specimen, [[(columns - 1) / 2, (rows - 1) / 2]])[0]
    resolution = found.tomogram.resolution
    return {
        "experiment_uid": result.experiment_uid,
        "run_uids": result.uids,
        "seconds": {name: _duration_s(find_run(uid, session.data)) for name, uid in result.uids.items()},
        "defect": found.defect.as_dict(),
        "defects_found": len(found.defects),
        "defect_centre_um": list(found.defect.centre_um),
        "sims_centre_um": middle.tolist(),
        "exposed_z_um": registration.exposed_z_um,
        "sims_to_specimen": registration.sims_to_specimen.tolist(),
        "sigma_nm": registration.sigma_nm,
        "registration_residual_nm": registration.residual_nm,
        "counts": {each.label: vars(each) for each in channel_statistics(counts, labels_of(start))},
        "resolution": None if resolution is None else resolution.as_dict(),
        "voxel_um": found.tomogram.voxel_um,
    }


def _duration_s(run: Any) -> float:
    """Seconds on the wall between a run's start and stop documents."""
    return round(run.metadata["stop"]["time"] - run.metadata["start"]["time"], 1)

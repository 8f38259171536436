"""The demo: the paper's experiment on the twin, from an empty folder to pictures and ``summary.json``."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import plans
from plans import Correlative
from xrm_sims.app.experiment import Analysis, raster_of
from xrm_sims.app.pictures import draw
from xrm_sims.app.session import Session, open_session
from xrm_sims.data import read_counts

TOMOGRAPHY = {"num": 1200, "step_deg": 0.3, "exposure_s": 90.0, "binning": 4}
SIMS = {"shape": (512, 512), "dwell_ms": 0.55, "frames": 1}


def run_demo(out: Path, *, seed: int = 1, data: Path | None = None) -> dict[str, Any]:
    """Run the experiment on a fresh specimen of this seed; returns what ``summary.json`` says.

    Raises ValueError in one sentence when a stage cannot do its work honestly (no defect worth digging for, a
    registration that is not certain).
    """
    out.mkdir(parents=True, exist_ok=True)
    root = data or out / "data"
    began = time.perf_counter()
    with open_session(root, seed=seed, fresh=True) as session:
        analysis = Analysis(session.data, session.settings)
        result = run_experiment(session, analysis)
        pictures = draw(analysis, result, out)
        summary = summarise(session, analysis, result)
    summary["seconds"]["everything"] = round(time.perf_counter() - began, 1)
    summary["pictures"] = [path.name for path in pictures]
    write_json(out / "summary.json", summary)
    for path in pictures:
        print(path)
    print(f"summary: {out / 'summary.json'}")
    print(f"browse it: xrm-sims serve --data {root}")
    return summary


def run_experiment(session: Session, analysis: Analysis) -> Correlative:
    """The correlative plan at demo scale."""
    plan = plans.correlative(
        session.scope,
        reconstruct=analysis.reconstruct,
        choose=analysis.choose,
        align=analysis.align,
        register=analysis.register,
        tomography_args=TOMOGRAPHY,
        sims_args=SIMS,
        md={"sample_name": "LCO/NCA cathode pillar", "purpose": "demo"},
    )
    return session.run(plan)


def summarise(session: Session, analysis: Analysis, result: Correlative) -> dict[str, Any]:
    """Uids, seconds, the defect, the registration, counts: every length says its unit."""
    assert analysis.defect is not None and analysis.tomogram is not None and result.aim is not None
    counts, start = read_counts(result.uids["sims"], "sector_counts", session.data)
    registration = result.registration
    affine = np.asarray(registration.sims_to_specimen)
    rows, columns = raster_of(start).shape
    centre = affine @ [(columns - 1) / 2, (rows - 1) / 2, 1.0]
    labels = [channel["label"] for channel in start["channels"]]
    return {
        "experiment_uid": result.experiment_uid,
        "run_uids": result.uids,
        "seconds": analysis.seconds,
        "defect": analysis.defect.as_dict(),
        "defects_found": len(analysis.defects),
        "defect_centre_um": [float(value) for value in analysis.defect.centre_um],
        "sims_centre_um": centre.tolist(),
        "exposed_z_um": float(registration.exposed_z_um),
        "sims_to_specimen": affine.tolist(),
        "sigma_nm": float(registration.sigma_nm),
        "registration_residual_nm": float(registration.residual_nm),
        "counts": {
            label: {"total": int(counts[:, n].sum()), "mean_per_pixel": float(counts[:, n].mean())}
            for n, label in enumerate(labels)
        },
        "resolution": None if analysis.tomogram.resolution is None else vars(analysis.tomogram.resolution),
        "voxel_um": analysis.tomogram.voxel_um,
    }


def write_json(path: Path, table: dict[str, Any]) -> None:
    """The whole file or none of it."""
    beside = path.with_suffix(".new")
    with open(beside, "w") as file:
        json.dump(table, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)

"""The chain of transforms from a voxel of the tomogram to a pixel of the map, each with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xrm_sims.app.correlative.findings import Experiment
from xrm_sims.correlate.registration.register import SYSTEMATIC_UM
from xrm_sims.data import results
from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import find_parts
from xrm_sims.settings import Settings

KIND = "chain"
STAGE = ("stage_x_um", "stage_y_um", "stage_z_um", "stage_tilt_deg", "rotation_angle_deg")


@dataclass(frozen=True)
class Link:
    """One transform of the chain.

    matrix : 2 x 3 (3 x 4 for voxels), from coordinates ``of`` to coordinates ``to``, lengths in um.
    by, run : method, and uid of the run that the transform was found with.
    sigma_nm : standard uncertainty.
    beside : further values from that run.
    """

    of: str
    to: str
    by: str
    run: str
    matrix: list[list[float]]
    sigma_nm: float
    beside: dict[str, float]


def links_of(result: Experiment, data: Path, settings: Settings) -> Iterator[Link]:
    """Yield the transforms of an experiment, from the tomogram to the map."""
    found = result.chosen.about
    ct, uids = found.tomogram, result.uids
    middle = (np.array(ct.volume.shape[::-1]) - 1) / 2
    grid = np.column_stack([ct.voxel_um * np.eye(3), -ct.voxel_um * middle])
    systematic_nm = 1e3 * SYSTEMATIC_UM
    yield Link("voxel (x, y, z)", "specimen", "CT geometry", uids["tomography"], grid.tolist(), systematic_nm, {})
    stage = _stage(uids["se_before"], data)
    moved = [[1.0, 0.0, stage.get("stage_x_um", 0.0)], [0.0, 1.0, stage.get("stage_y_um", 0.0)]]
    prior_nm = 1e3 * max(settings.mode_change.offset_um)
    yield Link(
        "specimen", "stage", "readings, known to what a change of mode does", uids["se_before"], moved, prior_nm, stage
    )
    outline = results.load(data, uids["se_before"], "alignment").metadata
    known = {name: outline[name] for name in ("sigma_um", "scatter_um", "seen")}
    # a round outline does not show the rotation, which stays as uncertain as after a change of mode
    turned_um = math.radians(settings.mode_change.rotation_deg) * math.hypot(*found.defect.centre_um[:2])
    yield Link(
        "ion scan", "specimen", "the pillar's outline", uids["se_before"],
        outline["scan_to_specimen"], 1e3 * math.hypot(outline["sigma_um"], turned_um), known,
    )  # fmt: skip
    for name, uid in uids.items():
        if name.startswith("se_after"):
            plane = results.load(data, uid, "plane").metadata
            height = {key: plane[key] for key in ("surface_z_um", "surface_sigma_um", "wanted_z_um")}
            yield Link(
                "ion scan", "specimen", "image of the plane", uid, plane["scan_to_specimen"], plane["sigma_nm"], height
            )
    map_ = result.registered
    height = {"exposed_z_um": map_.exposed_z_um, "sigma_z_um": map_.sigma_z_um}
    yield Link("map pixel", "specimen", "the map and the image together", uids["sims"],
               map_.sims_to_specimen.tolist(), map_.sigma_nm, height)  # fmt: skip


def keep_chain(result: Experiment, data: Path, settings: Settings) -> list[dict[str, Any]]:
    """Keep the transforms as the result ``chain`` of the map; return them as dictionaries."""
    links = [asdict(link) for link in links_of(result, data, settings)]
    results.save(data, result.uids["sims"], KIND, metadata={"links": links}, parents=[link["run"] for link in links])
    return links


def _stage(uid: str, data: Path) -> dict[str, float]:
    """Return the stage's position at the start of a run."""
    before = find_parts(Layout.of(data).journal, uid)[0].before
    return {name: float(before[name]) for name in STAGE if name in before}

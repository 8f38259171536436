"""Particles that CT with two targets identifies as LCO or NCA, compared with those of the specimen.

One plan scans seeded specimens with tungsten and with copper, as a user would (default motion, exchange of the target
in between), at demo scale: binning 4, 90 views of 90 s with each target, 3 h; options shorten the copper scan. Each is
reconstructed with its own geometry, the copper scan also on the grid of the tungsten volume, and the particles are
identified from both volumes alone.

A true particle counts when half of it, or ``LEAST_UM3`` of it, lies inside the pillar and in the field of both volumes.
It is right when the found particle that contains most of it has its phase. Further results: right particles that were
found separately (the centres agree within half the radius), the right share of the active volume, found particles that
lie mostly in their phase, and the rms deviation of the local ratio from the level of the true phase, relative to the
distance of both levels, at least ``INNER_UM`` from anything else.

python -m benchmarks.two_target --seeds 11 12 13 14
python -m benchmarks.two_target --seeds 12 --copper-num 15 --copper-exposure-s 9
python -m benchmarks.two_target --seeds 11 --keep /tmp/scans      # keeps runs and volumes, and reads existing ones
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import plans
from benchmarks.find import share
from xrm_sims.app.session.session import open_session
from xrm_sims.app.tomography.tomogram import kept_tomogram, reconstruct_tomogram
from xrm_sims.app.tomography.two_target import Compared, compare
from xrm_sims.app.validation.truth import ACTIVE, height_in
from xrm_sims.correlate.phases.phases import Phase
from xrm_sims.correlate.phases.two_target import squared_radius
from xrm_sims.correlate.volume.segment import Segmentation, voxel_to_um
from xrm_sims.data import find_run
from xrm_sims.data.catalog import parts_of
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material

SCAN: dict[str, Any] = {"num": 90, "step_deg": 4.0, "exposure_s": 90.0, "binning": 4}
LEAST_UM3 = 30.0  # the smallest whole particle has 34
INNER_UM = 0.4
SEEDS = (11, 12, 13, 14)
PHASE = {Material.LCO: Phase.LCO, Material.NCA: Phase.NCA, Material.NCA_BOUNDARY: Phase.NCA}


@dataclass
class Score:
    """For true particles: whether each is right, and found separately. For found ones (``told``): whether each is
    right. Right and total active volume in um^3; sum of squared errors of the local ratio, and its number of voxels."""

    right: list[bool] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)
    told: list[bool] = field(default_factory=list)
    right_um3: float = 0.0
    active_um3: float = 0.0
    squares: float = 0.0
    voxels: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __str__(self) -> str:
        return (
            f"particles right {share(self.right)}, and found separately {share(self.alone)}; of those found "
            f"{share(self.told)}; of the active volume {self.right_um3 / max(self.active_um3, 1e-9):.4f}; local ratio "
            f"off by {(self.squares / max(self.voxels, 1)) ** 0.5:.3f}"
        )


def scan(seed: int, copper: dict[str, Any], data: Path) -> list[str]:
    """Return the uids of both runs in a data root; scan if it has none."""
    uids_file = data / "two-target.json"
    if not uids_file.exists():
        with open_session(data, seed=seed) as session:
            uids = session.run(plans.two_target_tomography(session.scope, **SCAN, second_scan=copper))
        uids_file.write_text(json.dumps(uids))
    return list(json.loads(uids_file.read_text()))


def score(made: Compared, specimen: CathodePillar, raised_um: float) -> Score:
    """Compare found particles with the truth; ``raised_um``: height offset of the specimen in the volume."""
    told, segmentation = made.phases, made.segmentation
    phase, particle = _truth(segmentation, specimen, raised_um)
    phase[~np.isfinite(made.second)] = 0
    particle[phase == 0] = -1
    voxel_um3 = segmentation.voxel_um**3
    result = Score()
    result.right_um3 = float((told.classes == phase)[phase > 0].sum() * voxel_um3)
    result.active_um3 = float((phase > 0).sum() * voxel_um3)
    centres = np.array([p.centre_um for p in told.particles])
    for n, true in enumerate(specimen.particles):
        mine = np.argwhere(particle == n)
        volume_um3 = len(mine) * voxel_um3
        if volume_um3 < LEAST_UM3 and volume_um3 < 0.5 * np.pi / 6 * true["diameter_um"] ** 3:
            continue
        kind = PHASE[Material(true["phase"])]
        centre = voxel_to_um(mine.mean(axis=0), particle.shape, segmentation.voxel_um)
        away = np.linalg.norm(centres - centre, axis=1)
        near = told.particles[int(away.argmin())]
        radius = (volume_um3 * 3 / 4 / np.pi) ** (1 / 3)
        result.alone.append(bool(away.min() < 0.5 * radius and near.phase is kind))
        label = np.bincount(told.labels[tuple(mine.T)]).argmax()
        result.right.append(any(p.phase is kind for p in told.particles if p.label == label))
    result.squares, result.voxels = _off(made, phase, particle)
    for each in told.particles:
        true_phase = phase[told.labels == each.label]
        result.told.append(bool((true_phase == each.phase).sum() > 0.5 * max((true_phase > 0).sum(), 1)))
    return result


def _off(made: Compared, phase: NDArray[np.uint8], particle: NDArray[np.int64]) -> tuple[float, int]:
    """Return the sum of squared deviations of the local ratio from the true phase's level, and its number of voxels."""
    width = 2 * round(INNER_UM / made.segmentation.voxel_um) + 1
    alone = ndimage.minimum_filter(particle, width) == ndimage.maximum_filter(particle, width)
    position = made.phases.levels.position(made.phases.ratio, squared_radius(made.segmentation))
    away = (position - (phase == Phase.LCO))[alone & (particle >= 0) & np.isfinite(position)]
    return float((away**2).sum()), len(away)


def _truth(
    segmentation: Segmentation, specimen: CathodePillar, raised_um: float
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return phase (0 outside active material) and number of the particle (-1 for none) of each voxel."""
    shape = segmentation.active.shape
    index = np.indices(shape).reshape(3, -1).T.astype(float)
    points = voxel_to_um(index, shape, segmentation.voxel_um) - [0.0, 0.0, raised_um]
    within = np.hypot(points[:, 0], points[:, 1]) < 0.5 * specimen.settings.diameter_um
    codes = np.full(len(points), Material.VACUUM)
    codes[within] = specimen.material_at(points[within])
    phase = np.zeros(len(points), np.uint8)
    for code, kind in PHASE.items():
        phase[codes == code] = kind
    active, particle = np.isin(codes, ACTIVE), np.full(len(points), -1)
    for n, true in enumerate(specimen.particles):
        near = np.flatnonzero(
            active
            & (np.abs(points - true["centre_um"]).max(axis=1) <= true["radii_um"].max())
            & (phase == PHASE[Material(true["phase"])])
        )
        local = (points[near] - true["centre_um"]) @ true["axes"] / true["radii_um"]
        particle[near[(local**2).sum(axis=1) <= 1]] = n
    return phase.reshape(shape), particle.reshape(shape)


def measure(
    seed: int, copper: dict[str, Any], keep: Path | None = None, report: Callable[[str], object] = str
) -> Score:
    specimen = CathodePillar(seed)
    with tempfile.TemporaryDirectory() as folder:
        name = "-".join(["two-target", str(seed), *(f"{n}-{v:g}" for n, v in copper.items())])
        data = (Path(folder) if keep is None else keep) / name
        uids = scan(seed, copper, data)
        for uid in uids:
            try:
                kept_tomogram(uid, data)
            except ValueError:
                reconstruct_tomogram(uid, data)
        first, second = (kept_tomogram(uid, data) for uid in uids)
        compared = compare(first, second, parts_of(find_run(uids[1], data)), lambda stage, share: None)
    report(f"seed {seed}: {compared.fit}")
    return score(compared, specimen, height_in(first.volume, first.voxel_um, specimen))


def run(
    seeds: Sequence[int], copper: dict[str, Any], keep: Path | None = None, report: Callable[[str], object] = str
) -> Score:
    """Return the score of all seeds; ``copper``: arguments of its scan; call ``report`` with each score."""
    total = Score()
    for seed in seeds:
        one = measure(seed, copper, keep, report)
        report(f"seed {seed}: {one}")
        total += one
    return total


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    cli.add_argument("--copper-num", type=int, default=SCAN["num"], help="views of the copper scan, over the same turn")
    cli.add_argument("--copper-exposure-s", type=float, default=SCAN["exposure_s"])
    cli.add_argument("--keep", type=Path, help="folder that keeps runs and volumes; those in it are read")
    args = cli.parse_args()
    step_deg = SCAN["num"] * SCAN["step_deg"] / args.copper_num
    shorter = {"num": args.copper_num, "step_deg": step_deg, "exposure_s": args.copper_exposure_s}
    print(f"all: {run(args.seeds, shorter, args.keep, partial(print, flush=True))}")

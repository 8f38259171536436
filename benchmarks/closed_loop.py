"""The closed loop on new specimens, compared with the twin's truth.

``xrm-sims correlate --auto`` scans, reconstructs, searches, mills and maps each specimen, with the errors of mode
changes. A loop hits when three conditions hold: the true defect nearest to the chosen one lies inside the mapped field;
it lies within 300 nm laterally of its recorded position; and the exposed plane (median height over the parent particle
inside the field) lies within 200 nm of the defect's centre in depth. A loop that stops with a reason does not count as
a hit. The registration's error is the rms displacement of the field's four corners.

python -m benchmarks.closed_loop --seeds 11 12 13 --keep /tmp/loops     # uses loops that exist already
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.app.common.errors import sentence
from xrm_sims.app.correlative.closed_loop import run_closed_loop
from xrm_sims.data import find_run, results
from xrm_sims.geometry import apply_affine, invert_affine
from xrm_sims.specimen import CathodePillar
from xrm_sims.twin import Microscope
from xrm_sims.twin.microscope import Truth

SEEDS = tuple(range(11, 21))
LATERAL_UM, DEPTH_UM = 0.3, 0.2
LEAST_PORE_UM, MATCH_UM = 0.4, 0.4
GRID = 201  # points along each side of the field for the height of the plane


@dataclass(frozen=True)
class Loop:
    """Result of one loop. ``lateral_um`` : distance of true defect and recorded position; ``depth_um`` : height of the
    plane above the true defect's centre; ``map_nm``, ``sigma_nm`` : true and stated error of the registration."""

    seed: int
    kind: str = ""
    lateral_um: float = np.nan
    depth_um: float = np.nan
    inside: bool = False
    map_nm: float = np.nan
    sigma_nm: float = np.nan
    height_error_um: float = np.nan
    why: str = ""

    @property
    def hit(self) -> bool:
        return self.inside and self.lateral_um < LATERAL_UM and abs(self.depth_um) < DEPTH_UM

    @property
    def covered(self) -> bool:
        return self.map_nm <= self.sigma_nm

    def __str__(self) -> str:
        if self.why:
            return f"{self.seed}: stopped: {self.why}"
        return (
            f"{self.seed}: {'hit' if self.hit else 'MISSED'}, {self.kind}, {1e3 * self.lateral_um:.0f} nm aside, plane "
            f"{1e3 * self.depth_um:+.0f} nm above its middle; map off by {self.map_nm:.0f} nm, stated "
            f"{self.sigma_nm:.0f} nm; plane's stated height off by {1e3 * self.height_error_um:+.0f} nm"
        )


def measure(seed: int, folder: Path) -> Loop:
    """Run one loop, or read it from the folder, and judge it."""
    out = folder / str(seed)
    try:
        summary = out / "summary.json"
        record = json.loads(summary.read_text()) if summary.exists() else run_closed_loop(out, seed=seed)
    except (ValueError, RuntimeError) as refusal:
        return Loop(seed, why=sentence(refusal))
    raised_um = height_offset(record, out, seed)
    sims = find_run(record["run_uids"]["sims"], out / "data").metadata["start"]
    with Microscope(out / "data" / "twin") as twin:
        return judge(seed, record, sims, twin.truth(), raised_um)


def height_offset(record: dict[str, Any], out: Path, seed: int) -> float:
    """Return the height offset of the tomogram from all pores found; projections do not determine it."""
    table = results.load(out / "data", record["run_uids"]["tomography"], "rois").tables["rois"]
    pores = table[table["kind"] == "pore"][["x_um", "y_um", "z_um"]].to_numpy()
    known = CathodePillar(seed).pores
    true = known["centre_um"][known["diameter_um"] > LEAST_PORE_UM]
    apart = pores[:, None] - true
    distance = np.linalg.norm(apart, axis=2)
    nearest = distance.argmin(axis=1)
    matched = distance.min(axis=1) < MATCH_UM
    return float(np.median(apart[np.arange(len(pores)), nearest, 2][matched]))


def judge(seed: int, record: dict[str, Any], sims: dict[str, Any], truth: Truth, raised_um: float) -> Loop:
    """Compare a summary with the truth."""
    stated_um = np.array(record["defect_centre_um"]) - [0.0, 0.0, raised_um]
    centre, kind, parent = nearest_defect(truth.specimen, stated_um)
    rows, columns = sims["shape"]
    corners = np.array([[0, 0], [columns - 1, 0], [0, rows - 1], [columns - 1, rows - 1]], float)
    to_scan = (corners - corners.mean(axis=0)) * sims["fov_um"] / columns + sims["centre_um"]
    true = apply_affine(truth.scan_to_specimen, to_scan)
    recorded = apply_affine(record["sims_to_specimen"], corners)
    seen_at = apply_affine(invert_affine(truth.scan_to_specimen), centre[None, :2])[0]
    inside = bool((np.abs(seen_at - sims["centre_um"]) < 0.5 * sims["fov_um"]).all())
    # position in the map, placed as the record places the map
    pixel = (seen_at - sims["centre_um"]) * columns / sims["fov_um"] + corners.mean(axis=0)
    placed = apply_affine(record["sims_to_specimen"], pixel[None])[0]
    plane_um = exposed(truth, true, parent)
    return Loop(
        seed,
        kind,
        float(np.hypot(*(placed - stated_um[:2]))),
        plane_um - float(centre[2]),
        inside,
        1e3 * float(np.sqrt(((true - recorded) ** 2).sum(axis=1).mean())),
        record["sigma_nm"],
        record["exposed_z_um"] - raised_um - plane_um,
    )


def nearest_defect(specimen: CathodePillar, place_um: NDArray[np.float64]) -> tuple[NDArray[np.float64], str, Any]:
    """Return centre, kind and particle of the nearest true pore or crack."""
    kinds = (("pore", specimen.pores), ("crack", specimen.cracks))
    known = [(one["centre_um"], kind, specimen.particles[one["particle"]]) for kind, table in kinds for one in table]
    return min(known, key=lambda entry: float(np.linalg.norm(entry[0] - place_um)))


def exposed(truth: Truth, corners_um: NDArray[np.float64], parent: Any) -> float:
    """Return the median height of the surface over the parent particle, inside the field with these corners."""
    a, b = np.meshgrid(*[np.linspace(0.0, 1.0, GRID)] * 2)
    origin, u, v = corners_um[0], corners_um[1] - corners_um[0], corners_um[2] - corners_um[0]
    xy = (origin + a[..., None] * u + b[..., None] * v).reshape(-1, 2)
    points = np.column_stack([xy, truth.surface.height_at(xy)])
    local = (points - parent["centre_um"]) @ parent["axes"] / parent["radii_um"]
    return float(np.median(points[(local**2).sum(axis=1) < 1.0, 2]))


def run(seeds: Sequence[int], folder: Path) -> list[Loop]:
    loops = []
    for seed in seeds:
        loops.append(measure(seed, folder))
        print(loops[-1], flush=True)
    ended = [loop for loop in loops if not loop.why]
    print(
        f"{sum(loop.hit for loop in loops)} of {len(loops)} hit; registration off by "
        f"{np.median([loop.map_nm for loop in ended]):.0f} nm (median), within the stated uncertainty in "
        f"{sum(loop.covered for loop in ended)} of {len(ended)}, within twice in "
        f"{sum(loop.map_nm <= 2 * loop.sigma_nm for loop in ended)}"
    )
    return loops


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    cli.add_argument("--keep", type=Path, help="folder that keeps the loops; loops in it are not run again")
    args = cli.parse_args()
    with TemporaryDirectory() as folder:
        run(args.seeds, args.keep or Path(folder))

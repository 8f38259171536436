"""Phases of SIMS maps compared with the truth: share of pixels on active material with the right phase.

    python -m benchmarks.phases --seeds 11 12 13 --keep FOLDER

runs the demo on each specimen (or reads FOLDER/<seed>: a demo or a closed loop), computes the phases of its map again,
and compares them with the material under the beam, placed by the twin's true affine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xrm_sims.app.cli.demo import run_demo
from xrm_sims.app.common.rasters import labels_of, raster_of
from xrm_sims.app.session.hardware import session_settings
from xrm_sims.app.tomography.tomogram import kept_tomogram
from xrm_sims.correlate.phases.chemistry import Chemistry, analyse
from xrm_sims.correlate.phases.phases import Phase
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.correlate.volume.segment import segment
from xrm_sims.data import open_catalog, read_raster, results
from xrm_sims.data.catalog import disconnect
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster
from xrm_sims.specimen.materials import Material
from xrm_sims.twin import Microscope
from xrm_sims.twin.ions import Scan, pixel_points
from xrm_sims.twin.microscope import Truth

SEEDS = (11, 12, 13, 14, 15, 16)
PLANE_UM = 0.2  # a point within this depth of the exposed plane counts as lying on it
CERTAINTIES = (0.0, 0.6, 0.8, 0.95, 1.01)
ACTIVE = (Phase.LCO, Phase.NCA)
PHASE_OF = {
    Material.LCO: Phase.LCO,
    Material.NCA: Phase.NCA,
    Material.NCA_BOUNDARY: Phase.NCA,
    Material.BINDER: Phase.BINDER,
}

Codes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Score:
    """Shares of right pixels.

    plane : of active material on the exposed plane, the share whose most probable phase (of four) is right.
    registered : the same, with the truth at the position from the registration.
    depth : of active material at any depth, the share with the right choice between LCO and NCA.
    pixels : number of pixels behind ``plane``; particles : number with the right name, and of all.
    calibration : mean probability of the shown phase, share that is right, number of pixels; without binder below the
        plane, which can count as binder or pore.
    """

    plane: float
    registered: float
    depth: float
    pixels: int
    particles: tuple[int, int]
    calibration: list[tuple[float, float, int]]

    def __str__(self) -> str:
        calibration = ", ".join(f"{stated:.2f} stated {right:.2f} right ({n})" for stated, right, n in self.calibration)
        return (
            f"{self.plane:.4f} of {self.pixels} pixels, through the registration {self.registered:.4f}; LCO or NCA at "
            f"any depth {self.depth:.4f}; particles {self.particles[0]} of {self.particles[1]}; {calibration}"
        )


def true_phases(truth: Truth, xy_um: NDArray[np.float64]) -> tuple[Codes, Codes, NDArray[np.bool_]]:
    """Return phase of the exposed plane, phase under the beam, and whether that is on the plane, (row, column) each.

    ``xy_um`` are points (row, column, 2). Active material more than ``PLANE_UM`` below its median height is the bottom
    of a pore.
    """
    shape = xy_um.shape[:2]
    seen = truth.surface.look(truth.specimen, xy_um.reshape(-1, 2))
    table = np.full(max(Material) + 1, Phase.PORE, np.uint8)
    for material, phase in PHASE_OF.items():
        table[material] = phase
    met = table[seen.codes].reshape(shape)
    height_um = seen.points_um[:, 2].reshape(shape)
    level = height_um > np.median(height_um[np.isin(met, ACTIVE)]) - PLANE_UM
    return np.where(~level & np.isin(met, ACTIVE), np.uint8(Phase.PORE), met), met, level


def compute_phases(data: Path, summary: dict) -> tuple[Chemistry, Raster]:
    """Compute the phases of a data root's map from its counts, volume and registration."""
    uids = summary["run_uids"]
    counts, start = read_raster(uids["sims"], data)
    tomogram = kept_tomogram(uids["tomography"], data)
    raster, instrument = raster_of(start), session_settings(data)
    found = analyse(
        counts,
        labels_of(start),
        raster,
        current_pa=start["current_pa"],
        instrument=instrument,
        registration=Registration.from_dict(results.load(data, uids["sims"], "registration").metadata),
        segmentation=segment(tomogram.volume, tomogram.voxel_um),
    )
    disconnect(data)
    return found, raster


@contextmanager
def truth_of(twin: Path) -> Iterator[Truth]:
    """Give the truth of a copy of a stored instrument, so that the original stays free."""
    with tempfile.TemporaryDirectory() as scratch, Microscope(shutil.copytree(twin, Path(scratch) / "twin")) as copy:
        yield copy.truth()


def score(folder: Path) -> Score:
    """Return the score of a demo or a closed loop; ValueError when the instrument was used after the map."""
    summary = json.loads((folder / "summary.json").read_text())
    if open_catalog(folder / "data")[-1].metadata["start"]["uid"] != summary["run_uids"]["sims"]:
        raise ValueError(f"{folder}: the instrument was used after the map, so the twin has changed; make a fresh one")
    found, raster = compute_phases(folder / "data", summary)
    r, c = np.indices(raster.shape)
    pixels = np.stack([c.ravel(), r.ravel()], axis=1)
    with truth_of(folder / "data" / "twin") as truth:
        plane, met, level = true_phases(truth, pixel_points(Scan(raster, truth.scan_to_specimen, 0.0)))
        recorded = apply_affine(summary["sims_to_specimen"], pixels).reshape(*raster.shape, 2)
        registered, _, _ = true_phases(truth, recorded)
    codes, nca = found.codes, found.nca_share > 0.5
    active, again, below = (np.isin(phases, ACTIVE) for phases in (plane, registered, met))
    named = [_named(found, number, met, below) for number in range(1, len(found.particles) + 1)]
    known = level | (met != Phase.BINDER)
    return Score(
        float((codes == plane)[active].mean()),
        float((codes == registered)[again].mean()),
        float((nca == (met == Phase.NCA))[below].mean()),
        int(active.sum()),
        (sum(named), len(named)),
        _calibration(found.probabilities.max(axis=0)[known], (codes == plane)[known]),
    )


def _named(found: Chemistry, number: int, met: Codes, active: NDArray[np.bool_]) -> bool:
    """Return whether a particle has the phase of most of its pixels."""
    there = (found.particle_labels == number) & active
    particle = found.particles[number - 1]
    nca = bool(np.mean(met[there] == Phase.NCA) > 0.5)
    return bool(there.any()) and (particle.p_nca if nca else particle.p_lco) > 0.5


def _calibration(certainty: NDArray[np.float32], right: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    rows = []
    for low, high in pairwise(CERTAINTIES):
        here = (certainty >= low) & (certainty < high)
        if here.any():
            rows.append((float(certainty[here].mean()), float(right[here].mean()), int(here.sum())))
    return rows


def measure(seed: int, keep: Path | None = None) -> Score:
    """Return the score of one specimen; run the demo if ``keep`` does not contain it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = (keep or Path(scratch)) / str(seed)
        if not (folder / "summary.json").exists():
            run_demo(folder, seed=seed)
        return score(folder)


def run(seeds: Sequence[int], keep: Path | None = None) -> None:
    """Print the score of each seed, or why it has no map."""
    for seed in seeds:
        try:
            print(f"{seed}: {measure(seed, keep)}", flush=True)
        except ValueError as refusal:
            print(f"{seed}: no map: {refusal}", flush=True)


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    cli.add_argument("--keep", type=Path, help="folder that keeps the demos; demos in it are read")
    args = cli.parse_args()
    run(args.seeds, args.keep)

"""Pores and cracks found in a volume, compared with those of the specimen.

Seeded specimens are scanned and reconstructed as a user would (default motion, 1,200 views of 90 s, default
reconstruction), at full-resolution voxels on a reduced field (128 of 256 rows, all columns) and at demo scale (binning
4, all rows). Then :func:`find_defects` searches the volume.

A true pore counts when it is 0.6 um wide, closed (active material all around it) and wholly inside the volume; it is
found when a pore was found within 0.3 um of its centre. A pore found is right when a true pore of 0.4 um lies within
0.3 um. A true crack counts from an opening of 200 nm and a length of 2 um, when it lies inside pillar and volume; it is
found when a crack was found within 0.3 um of its centre. A crack found is right when its centre lies within 0.3 um of a
true crack of two thirds of those sizes.

python -m benchmarks.find --scale demo --seeds 31 32 33
python -m benchmarks.find --scale full --seeds 31 --keep /tmp/volumes    # keeps the volumes, and reads existing ones
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from numpy.typing import NDArray

import plans
import recon
from xrm_sims.app.session.session import open_session
from xrm_sims.app.validation.truth import height_in
from xrm_sims.correlate.volume.defects import Defect, find_defects
from xrm_sims.data import open_catalog
from xrm_sims.settings import Settings
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material

VIEWS, EXPOSURE_S = 1200, 90.0
FINE_ROWS, FINE_TOP_UM = 128, 2.2  # rows of the reduced field, height of the pillar's top above their middle
DEMO_BINNING = 4
FIELD_UM = 42.0  # side of what is kept of a volume
MATCH_UM = 0.3
PORE_UM, ANY_PORE_UM = 0.6, 0.4
CRACK_UM, ANY_CRACK_UM = (0.2, 2.0), (0.133, 1.33)  # opening and length
FACE_UM = 0.25  # margin at the volume's faces, which blur and missing rays of the cone disturb
SEEDS = {"full": (31, 32), "demo": (31, 32, 33, 34)}
SCALES = {"full": "voxels of 50 nm, 128 rows", "demo": "voxels of 200 nm, all rows"}
ACTIVE = (Material.LCO, Material.NCA, Material.NCA_BOUNDARY)


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume (z, y, x) in 1/um around the specimen's axis, and the specimen's height offset in it."""

    volume: NDArray[np.float32]
    voxel_um: float
    raised_um: float


@dataclass
class Score:
    """Whether each true defect that counts, and each defect found (``_finds``), was matched."""

    pores: list[bool] = field(default_factory=list)
    pore_finds: list[bool] = field(default_factory=list)
    large_pore_finds: list[bool] = field(default_factory=list)
    cracks: list[bool] = field(default_factory=list)
    crack_finds: list[bool] = field(default_factory=list)
    large_crack_finds: list[bool] = field(default_factory=list)
    seconds: float = 0.0

    def __add__(self, other: Score) -> Score:
        return Score(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def of(self, what: str) -> tuple[list[bool], list[bool], list[bool]]:
        """Return matches of "pores" or "cracks": true ones, all found, those found to be as large."""
        if what == "pores":
            return self.pores, self.pore_finds, self.large_pore_finds
        return self.cracks, self.crack_finds, self.large_crack_finds

    def __str__(self) -> str:
        return (
            f"pores: recall {share(self.pores)}, precision {share(self.pore_finds)} of all found, "
            f"{share(self.large_pore_finds)} of those found to be {PORE_UM:g} um wide; "
            f"cracks: recall {share(self.cracks)}, precision {share(self.crack_finds)} of all found, "
            f"{share(self.large_crack_finds)} of those found to be as large; search {self.seconds:.0f} s"
        )


def share(hits: Sequence[bool]) -> str:
    return f"{sum(hits)}/{len(hits)} = {np.mean(hits):.2f}" if hits else "0/0"


def scan(scale: str, seed: int, keep: Path | None = None) -> Scan:
    """Scan and reconstruct a specimen, or read the volume from ``keep``."""
    kept = None if keep is None else keep / f"{scale}-{seed}.npz"
    if kept is not None and kept.exists():
        with np.load(kept) as file:
            return Scan(file["volume"], float(file["voxel_um"]), float(file["raised_um"]))
    made = _scan(scale, seed)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, volume=made.volume, voxel_um=made.voxel_um, raised_um=made.raised_um)
    return made


def _scan(scale: str, seed: int) -> Scan:
    settings = Settings()
    arguments: dict[str, Any] = {"binning": DEMO_BINNING}
    if scale == "full":
        rows = settings.detector.model_copy(update={"rows": FINE_ROWS})
        settings = settings.model_copy(update={"detector": rows})
        del arguments["binning"]
    with tempfile.TemporaryDirectory() as folder, open_session(folder, seed=seed, settings=settings) as session:
        if scale == "full":
            session.run(bps.mv(session.scope.stage.z_um, FINE_TOP_UM - settings.specimen.top_um))
        arguments |= {"num": VIEWS, "step_deg": 360 / VIEWS, "exposure_s": EXPOSURE_S}
        uid = session.run(plans.tomography(session.scope, **arguments))
        done = recon.from_run(open_catalog(session.data).v1[uid])
    side = round(FIELD_UM / done.geometry.voxel_um / 2)
    middle = done.volume.shape[1] // 2
    cut = slice(middle - side, middle + side)
    volume = np.ascontiguousarray(done.volume[:, cut, cut])
    return Scan(volume, done.geometry.voxel_um, height_in(volume, done.geometry.voxel_um, CathodePillar(seed)))


def score(made: Scan, specimen: CathodePillar, found: Sequence[Defect]) -> Score:
    """Compare defects found with the truth."""
    half_um = 0.5 * len(made.volume) * made.voxel_um - FACE_UM
    low, high = -half_um - made.raised_um, half_um - made.raised_um
    pores, cracks = specimen.pores, specimen.cracks
    z, radius = pores["centre_um"][:, 2], 0.5 * pores["diameter_um"]
    inside = (z - radius > low) & (z + radius < high)
    counted = inside & (pores["diameter_um"] >= PORE_UM) & _closed(specimen)
    known = pores["diameter_um"] >= ANY_PORE_UM
    whole = (cracks["opening_um"] >= CRACK_UM[0]) & (cracks["length_um"] >= CRACK_UM[1])
    whole &= np.array([_whole(crack, specimen, low, high) for crack in cracks], bool)
    real = (cracks["opening_um"] >= ANY_CRACK_UM[0]) & (cracks["length_um"] >= ANY_CRACK_UM[1])

    def places(chosen: Sequence[Defect]) -> NDArray[np.float64]:
        return np.array([d.centre_um for d in chosen]).reshape(-1, 3) - [0.0, 0.0, made.raised_um]

    found_pores = [d for d in found if d.kind == "pore"]
    found_cracks = [d for d in found if d.kind == "crack"]
    right_pores = _near(places(found_pores), pores["centre_um"][known])
    right_cracks = [any(_on(place, crack) for crack in cracks[real]) for place in places(found_cracks)]
    large = [d.diameter_um >= PORE_UM for d in found_pores]
    wide = [d.opening_um >= CRACK_UM[0] and d.extents_um[0] >= CRACK_UM[1] for d in found_cracks]
    return Score(
        _near(pores["centre_um"][counted], places(found_pores)),
        right_pores,
        [r for r, chosen in zip(right_pores, large, strict=True) if chosen],
        _near(cracks["centre_um"][whole], places(found_cracks)),
        right_cracks,
        [r for r, chosen in zip(right_cracks, wide, strict=True) if chosen],
    )


def _near(places: NDArray[np.float64], others: NDArray[np.float64]) -> list[bool]:
    if not len(others):
        return [False] * len(places)
    return [bool(np.linalg.norm(others - place, axis=1).min() < MATCH_UM) for place in places]


def _closed(specimen: CathodePillar) -> NDArray[np.bool_]:
    """Return whether active material surrounds each pore, 50 nm off its wall."""
    rng = np.random.default_rng(0)
    ways = rng.normal(size=(64, 3))
    ways /= np.linalg.norm(ways, axis=1)[:, None]
    reach = 0.5 * specimen.pores["diameter_um"] + 0.05
    points = specimen.pores["centre_um"][:, None] + ways * reach[:, None, None]
    active = np.isin(specimen.material_at(points.reshape(-1, 3)), ACTIVE)
    return np.asarray(active.reshape(len(reach), -1).all(axis=1))


def _whole(crack: Any, specimen: CathodePillar, low: float, high: float) -> bool:
    """Return whether a crack lies between two heights and inside the pillar."""
    phi = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    rim = np.stack([np.cos(phi), np.sin(phi)], axis=1) * crack["radii_um"][:2] @ crack["axes"][:, :2].T
    rim = rim + crack["centre_um"]
    s = specimen.settings
    within = np.hypot(rim[:, 0], rim[:, 1]).max() < 0.5 * s.diameter_um and rim[:, 2].max() < s.top_um
    return bool(within and low < rim[:, 2].min() and rim[:, 2].max() < high)


def _on(place: NDArray[np.float64], crack: Any) -> bool:
    """Return whether a point lies within the crack's ellipsoid, ``MATCH_UM`` wider in all directions."""
    local = (place - crack["centre_um"]) @ crack["axes"] / (crack["radii_um"] + MATCH_UM)
    return bool((local**2).sum() < 1)


def measure(scale: str, seed: int, keep: Path | None = None) -> Score:
    made = scan(scale, seed, keep)
    began = time.perf_counter()
    found = find_defects(made.volume, made.voxel_um)
    seconds = time.perf_counter() - began
    result = score(made, CathodePillar(seed), found)
    result.seconds = seconds
    return result


def run(scale: str, seeds: Sequence[int], keep: Path | None = None, report: Callable[[str], object] = str) -> Score:
    """Return the score of all seeds; call ``report`` with that of each."""
    total = Score()
    for seed in seeds:
        one = measure(scale, seed, keep)
        report(f"{scale} {seed}: {one}")
        total += one
    return total


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--scale", choices=tuple(SEEDS), default="demo")
    cli.add_argument("--seeds", type=int, nargs="*")
    cli.add_argument("--keep", type=Path, help="folder that keeps the volumes; volumes in it are read")
    args = cli.parse_args()
    total = run(args.scale, args.seeds or SEEDS[args.scale], args.keep, partial(print, flush=True))
    print(f"{args.scale}, all: {total}")

"""The twin's true specimen in the frame of a reconstructed volume, for the validation and for labelled data sets only.

Projections do not determine a specimen's height, so it is found by comparing the volume with the true specimen. In x
and y the frame of a reconstruction is anchored on the pillar's axis, as is the specimen's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from xrm_sims.app.session.hardware import session_settings
from xrm_sims.data.layout import Layout
from xrm_sims.data.parts import find_parts
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material
from xrm_sims.specimen.tracing import solids_at

ACTIVE = (Material.LCO, Material.NCA, Material.NCA_BOUNDARY)
CLASSES = {"outside": 0, "binder": 1, "LCO": 2, "NCA": 3, "pore": 4, "crack": 5, "void": 6, "other": 7}
MIN_CORRELATION = 0.4  # of a volume with its specimen's active material; other specimens reach 0.2
_SAMPLES = 40_000


def height_in(volume: NDArray[np.float32], voxel_um: float, specimen: CathodePillar) -> float:
    """Return by how many um a volume shows the specimen above its own frame; drift and stage move it by micrometres."""
    return height_and_correlation(volume, voxel_um, specimen)[0]


def height_and_correlation(
    volume: NDArray[np.float32], voxel_um: float, specimen: CathodePillar
) -> tuple[float, float]:
    """Return the height at which a volume correlates best with its specimen's active material, and that correlation."""
    rng = np.random.default_rng(0)
    s = specimen.settings
    half_um = 0.5 * len(volume) * voxel_um
    points = np.column_stack(
        [
            rng.uniform(-0.3, 0.3, (_SAMPLES, 2)) * s.diameter_um,
            s.top_um + rng.uniform(-2.0 * half_um, 1.0, _SAMPLES),
        ]
    )
    active = np.isin(specimen.material_at(points), ACTIVE).astype(float)

    def correlation(raised_um: float) -> float:
        where = indices(volume.shape, voxel_um, points, raised_um)
        seen = (where[0] > 0) & (where[0] < len(volume) - 1)
        if seen.sum() < 0.2 * _SAMPLES:
            return -1.0
        values = map_coordinates(volume, where[:, seen], order=1, mode="nearest")
        return float(np.corrcoef(values, active[seen])[0, 1])

    best = 0.0
    for reach_um, step_um in ((6.0, 0.25), (0.4, 0.05), (0.06, 0.01)):
        tries = best + np.arange(-reach_um, reach_um + 0.5 * step_um, step_um)
        best = float(tries[np.argmax([correlation(t) for t in tries])])
    return best, correlation(best)


def indices(
    shape: tuple[int, ...], voxel_um: float, points_um: NDArray[np.float64], raised_um: float
) -> NDArray[np.float64]:
    """Return voxel indices (3, n), (z, y, x), in a volume of this shape, of specimen points (n, 3), (x, y, z)."""
    lifted = points_um + np.array([0.0, 0.0, raised_um])
    middle = (np.array(shape) - 1) / 2
    return np.asarray((lifted[:, ::-1] / voxel_um + middle).T)


def specimen_of(uid: str, data: Path) -> CathodePillar:
    """Return the twin's true specimen of a tomography.

    Raises ValueError as :func:`specimen_name` does, and if ions had milled the specimen before.
    """
    name = specimen_name(uid, data)
    if _before(uid, data).get("fib_dose_nc", 0.0) > 0:
        raise ValueError(f"run {uid[:8]}: ions had milled the specimen before, and the true surface is not stored")
    return CathodePillar(int(name.partition(":")[2]), session_settings(data).specimen)


def specimen_name(uid: str, data: Path) -> str:
    """Return the twin's specimen in the instrument during a run, with its seed: ``cathode_pillar:7``.

    A name without a seed gets that of the specimen in the instrument now, if its name is the same. Raises ValueError
    when the run is not from the twin of this data root, or the seed is unknown.
    """
    from xrm_sims.twin.specimen_registry import SAMPLES
    from xrm_sims.twin.state_store import StateStore

    kind, _, seed = str(_before(uid, data).get("specimen", "")).partition(":")
    if kind not in SAMPLES or not (data / "twin").is_dir():
        raise ValueError(f"run {uid[:8]} is not from the twin of this data root: its true specimen is unknown")
    if seed:
        return f"{kind}:{seed}"
    store = StateStore(data / "twin")
    try:
        state = store.load()
    finally:
        store.close()
    if state is None or state.sample != kind:
        raise ValueError(f"run {uid[:8]}: another specimen is mounted now, and this run's seed is unknown")
    return f"{kind}:{state.seed}"


def _before(uid: str, data: Path) -> dict[str, Any]:
    """Return the instrument's readings at the start of a measurement; empty without a journal."""
    try:
        return find_parts(Layout(data).journal, uid)[0].before
    except (ValueError, IndexError):
        return {}


@dataclass(frozen=True, eq=False)
class Labelled:
    """The true contents of each voxel of a volume (z, y, x), at the voxel's centre."""

    specimen: CathodePillar
    raised_um: float
    shape: tuple[int, int, int]
    voxel_um: float

    def arrays(self) -> dict[str, LazyLabels]:
        """Return ``truth_material`` (codes of ``CLASSES``), ``truth_particle``, ``truth_defect`` (numbers from 1)."""
        s = self.specimen
        cylinders, voids, particles = len(s.solids.cylinders), len(s.voids), len(s.particles)
        pores, cracks = len(s.pores), len(s.cracks)
        nothing = np.zeros(1 + cylinders + voids, np.uint32)
        defects = np.arange(1, pores + cracks + 1, dtype=np.uint32)
        particle = np.concatenate([nothing, np.arange(1, particles + 1, dtype=np.uint32), np.zeros_like(defects)])
        defect = np.concatenate([nothing, np.zeros(particles, np.uint32), defects])
        material = np.concatenate(
            [
                [CLASSES["outside"], *[CLASSES["other"]] * (cylinders - 1), CLASSES["binder"]],
                [CLASSES["void"]] * voids,
                np.where(s.particles["phase"] == Material.NCA, CLASSES["NCA"], CLASSES["LCO"]),
                [CLASSES["pore"]] * pores + [CLASSES["crack"]] * cracks,
            ]
        ).astype(np.uint8)
        names = {"truth_material": material, "truth_particle": particle, "truth_defect": defect}
        return {name: LazyLabels(self, of_solid) for name, of_solid in names.items()}

    def solids(self, slice_: int) -> NDArray[np.int64]:
        """Return the indices (y, x) of the solids in one slice, -1 in free space."""
        z, y, x = ((np.arange(n) - 0.5 * (n - 1)) * self.voxel_um for n in self.shape)
        points = np.empty((len(y), len(x), 3))
        points[..., 0], points[..., 1], points[..., 2] = x[None, :], y[:, None], z[slice_] - self.raised_um
        return solids_at(self.specimen.solids, points.reshape(-1, 3)).reshape(len(y), len(x))

    def defects(self) -> list[dict[str, Any]]:
        """Return the pores and cracks centred in the volume, numbered as in ``truth_defect``."""
        half_um = 0.5 * np.array(self.shape[::-1]) * self.voxel_um
        rows: list[dict[str, Any]] = []
        for kind, table in (("pore", self.specimen.pores), ("crack", self.specimen.cracks)):
            offset = 1 if kind == "pore" else 1 + len(self.specimen.pores)
            for number, one in enumerate(table, offset):
                x, y, z = one["centre_um"] + [0.0, 0.0, self.raised_um]
                if (np.abs([x, y, z]) > half_um).any():
                    continue
                sizes = [float(one[n]) if n in (table.dtype.names or ()) else None for n in _SIZES]
                host = "NCA" if one["phase"] == Material.NCA else "LCO"
                place = {"x_um": float(x), "y_um": float(y), "z_um": float(z)}
                rows.append(
                    {"number": number, "kind": kind, **place, **dict(zip(_SIZES, sizes, strict=True))}
                    | {"particle": int(one["particle"]) + 1, "phase": host}
                )
        return rows


_SIZES = ("diameter_um", "opening_um", "length_um")


@dataclass(frozen=True, eq=False)
class LazyLabels:
    """An array (z, y, x) of numbers that are computed when they are read, slice by slice."""

    volume: Labelled
    of_solid: NDArray[Any]  # label of each solid, free space first

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.of_solid.dtype

    def __getitem__(self, place: slice) -> NDArray[Any]:
        chosen = range(*place.indices(self.shape[0]))
        slab = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for n, k in enumerate(chosen):
            slab[n] = self.of_solid[self.volume.solids(k) + 1]
        return slab

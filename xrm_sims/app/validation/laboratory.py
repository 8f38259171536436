"""The specimen of a seed on instruments of its own, and the scans that several rows share, each taken once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import bluesky.plan_stubs as bps
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

import plans
import recon
from xrm_sims.app.progress import stages
from xrm_sims.app.session import Session, open_session
from xrm_sims.correlate import drawing
from xrm_sims.data import open_catalog
from xrm_sims.geometry import ConeGeometry
from xrm_sims.settings import Detector, Settings
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material
from xrm_sims.twin.microscope import Microscope, Truth

T = TypeVar("T")
ACTIVE = (Material.LCO, Material.NCA, Material.NCA_BOUNDARY)
FINE_ROWS, FINE_VIEWS = 128, 300  # of single pixels, in full columns
FINE_TOP_UM = 1.6  # height of the pillar's top above the middle of those rows
FINE: dict[str, Any] = {
    "sweeps": 2,
    "subsets": FINE_VIEWS,
    "tv": 0.5,
}  # what it takes to resolve what the focal spot allows; see the row ``edge``
COARSE_BINNING, COARSE_VIEWS = 4, 400
FIELD_UM = 42.0  # side of the square that is reconstructed
_SAMPLES = 40_000


@dataclass(frozen=True, eq=False)
class Tomogram:
    """A reconstructed scan. ``raised_um``: how much higher the specimen stands in the volume than in its own frame."""

    volume: NDArray[np.float32]
    geometry: ConeGeometry
    raised_um: float

    @property
    def voxel_um(self) -> float:
        return self.geometry.voxel_um

    @property
    def z_um(self) -> NDArray[np.float64]:
        """Heights of the slices in the specimen frame."""
        n = len(self.volume)
        return np.asarray((np.arange(n) - 0.5 * (n - 1)) * self.voxel_um - self.raised_um)

    def indices(self, points_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, n) places (z, y, x) in voxels of (n, 3) points (x, y, z) of the specimen."""
        return _indices(self.volume, self.voxel_um, points_um, self.raised_um)

    def at(self, points_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (n,) of the voxels nearest to points of the specimen."""
        return np.asarray(map_coordinates(self.volume, self.indices(points_um), order=0, mode="nearest"), float)


class Laboratory:
    """Measurements on the specimen of one seed; data and pictures go to folders below ``out``."""

    def __init__(self, out: Path, seed: int) -> None:
        self.out = out
        self.seed = seed
        self.settings = Settings()
        self.pictures: list[Path] = []
        self._known: dict[Callable[[Laboratory], Any], Any] = {}

    def once(self, measure: Callable[[Laboratory], T]) -> T:
        """The result of a measurement, which is made when it is first asked for."""
        if measure not in self._known:
            self._known[measure] = measure(self)
        return self._known[measure]

    @cached_property
    def specimen(self) -> CathodePillar:
        return CathodePillar(self.seed, self.settings.specimen)

    @contextmanager
    def session(self, name: str, settings: Settings | None = None) -> Iterator[Session]:
        """A fresh instrument with this seed's specimen in it, on a data root of its own."""
        root = self.out / "data" / name
        with open_session(root, seed=self.seed, fresh=True, settings=settings or self.settings) as opened:
            yield opened

    def picture(self, name: str, figure: Figure) -> None:
        self.pictures.append(drawing.save(figure, self.out / f"{name}.png"))

    @cached_property
    def fine(self) -> Tomogram:
        """Tungsten, single pixels of 50 nm in full columns, 90 s, default motion corrected from the data."""
        settings = self.settings.model_copy(
            update={"detector": self.settings.detector.model_copy(update={"rows": FINE_ROWS})}
        )
        with self.session("fine", settings) as session:
            session.RE(bps.mv(session.scope.stage.z_um, FINE_TOP_UM - settings.specimen.top_um))
            return self._tomogram(session, {"num": FINE_VIEWS}, FINE)

    @cached_property
    def tungsten(self) -> Tomogram:
        """The whole window in voxels of 200 nm, tungsten target."""
        with self.session("tungsten") as session:
            return self._tomogram(session, {"num": COARSE_VIEWS, "binning": COARSE_BINNING}, {})

    @cached_property
    def copper(self) -> Tomogram:
        """The same scan with a copper target."""
        with self.session("copper") as session:
            return self._tomogram(session, {"num": COARSE_VIEWS, "binning": COARSE_BINNING, "target": "Cu"}, {})

    def _tomogram(self, session: Session, scan: dict[str, Any], options: dict[str, Any]) -> Tomogram:
        uid = session.run(plans.tomography(session.scope, step_deg=360.0 / scan["num"], **scan))
        run = open_catalog(session.data).v1[uid]
        detector: Detector = session.settings.detector
        binning = scan.get("binning", 1)
        side = round(FIELD_UM / (session.settings.voxel_um * binning))
        with stages() as progress:
            done = recon.from_run(
                run, volume_shape=(detector.rows // binning, side, side), progress=progress, **options
            )
        volume = np.ascontiguousarray(done.volume)
        return Tomogram(volume, done.geometry, height_in(volume, done.geometry.voxel_um, self.specimen))


def truth_of(session: Session) -> Truth:
    """What no instrument tells."""
    assert isinstance(session.drivers, Microscope)
    return session.drivers.truth()


def height_in(volume: NDArray[np.float32], voxel_um: float, specimen: CathodePillar) -> float:
    """How much higher a volume shows the specimen than it stands in its own frame: no projection tells that.

    The height at which the volume agrees best with where active material is; drift and stage make it micrometres.
    """
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

    def likeness(raised_um: float) -> float:
        where = _indices(volume, voxel_um, points, raised_um)
        seen = (where[0] > 0) & (where[0] < len(volume) - 1)
        if seen.sum() < 0.2 * _SAMPLES:
            return -1.0
        values = map_coordinates(volume, where[:, seen], order=1, mode="nearest")
        return float(np.corrcoef(values, active[seen])[0, 1])

    best = 0.0
    for reach_um, step_um in ((6.0, 0.25), (0.4, 0.05), (0.06, 0.01)):
        tries = best + np.arange(-reach_um, reach_um + 0.5 * step_um, step_um)
        best = float(tries[np.argmax([likeness(t) for t in tries])])
    return best


def _indices(
    volume: NDArray[np.float32], voxel_um: float, points_um: NDArray[np.float64], raised_um: float
) -> NDArray[np.float64]:
    lifted = points_um + np.array([0.0, 0.0, raised_um])
    middle = (np.array(volume.shape) - 1) / 2
    return np.asarray((lifted[:, ::-1] / voxel_um + middle).T)

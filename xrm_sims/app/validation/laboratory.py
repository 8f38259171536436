"""The specimen of one seed, and the scans that several rows share, each taken once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from recon.frames.prepare import correct_beam_hardening
from recon.runs import reconstruct
from xrm_sims.app.common.progress import stages
from xrm_sims.app.session.session import Session, open_session
from xrm_sims.app.validation.truth import height_in, indices
from xrm_sims.correlate.figures import drawing
from xrm_sims.data import open_catalog
from xrm_sims.geometry import Geometry
from xrm_sims.settings import Settings
from xrm_sims.specimen import CathodePillar
from xrm_sims.twin.microscope import Microscope, Truth

T = TypeVar("T")
PAPER_VIEWS, PAPER_ROWS = 1200, 160  # the paper's scan in single pixels and full columns, of fewer rows
PAPER_TOP_UM = 3.0  # height of the pillar's top above the middle of those rows: source and stage drift by up to 2 um
TARGET_VIEWS, TARGET_BINNING = 400, 2  # the scans that compare target materials
FIELD_UM = 42.0  # side of the reconstructed square


@dataclass(frozen=True, eq=False)
class Tomogram:
    """A motion-corrected scan, reconstructed twice, (z, y, x) in 1/um.

    volume : regularised, with the default arguments; raw : by filtered back projection, with all the noise of the data;
    raised_um : height of the specimen in both above that in its own frame.
    """

    volume: NDArray[np.float32]
    raw: NDArray[np.float32]
    geometry: Geometry
    raised_um: float

    @property
    def voxel_um(self) -> float:
        return self.geometry.voxel_um

    @property
    def z_um(self) -> NDArray[np.float64]:
        """Heights (z,) of the slices in the specimen frame."""
        n = len(self.volume)
        return np.asarray((np.arange(n) - 0.5 * (n - 1)) * self.voxel_um - self.raised_um)

    def indices(self, points_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return voxel indices (3, n), (z, y, x), of points (n, 3), (x, y, z), of the specimen."""
        return indices(self.volume.shape, self.voxel_um, points_um, self.raised_um)

    def at(self, points_um: NDArray[np.float64], volume: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the values (n,) of a volume in the voxels nearest to points (n, 3) of the specimen."""
        return np.asarray(map_coordinates(volume, self.indices(points_um), order=0, mode="nearest"), float)


class Laboratory:
    """Measurements on the specimen of one seed; data and pictures go to folders below ``out``."""

    def __init__(self, out: Path, seed: int) -> None:
        self.out = out
        self.seed = seed
        self.settings = Settings()
        self.pictures: list[Path] = []
        self._known: dict[Callable[[Laboratory], Any], Any] = {}

    def once(self, measure: Callable[[Laboratory], T]) -> T:
        """Return the result of a measurement, made at the first call."""
        if measure not in self._known:
            self._known[measure] = measure(self)
        result: T = self._known[measure]
        return result

    @cached_property
    def specimen(self) -> CathodePillar:
        return CathodePillar(self.seed, self.settings.specimen)

    @contextmanager
    def session(self, name: str, settings: Settings | None = None) -> Iterator[Session]:
        """Open a fresh instrument with this seed's specimen, on its own data root."""
        root = self.out / "data" / name
        with open_session(root, seed=self.seed, fresh=True, settings=settings or self.settings) as opened:
            yield opened

    def picture(self, name: str, figure: Figure) -> None:
        self.pictures.append(drawing.save(figure, self.out / f"{name}.png"))

    @cached_property
    def paper(self) -> Tomogram:
        """The paper's scan of the pillar's top: tungsten, 1,200 views of 90 s, pixels of 50 nm, all columns.

        Reconstructed only by filtered back projection, which compensates the blur of its interpolation.
        """
        settings = self.settings.model_copy(
            update={"detector": self.settings.detector.model_copy(update={"rows": PAPER_ROWS})}
        )
        with self.session("paper", settings) as session:
            session.RE(bps.mv(session.scope.stage.z_um, PAPER_TOP_UM - settings.specimen.top_um))
            return self._tomogram(session, num=PAPER_VIEWS, window="sharp")

    @cached_property
    def tungsten(self) -> Tomogram:
        """The whole field in voxels of 100 nm, tungsten target."""
        with self.session("tungsten") as session:
            return self._tomogram(session, num=TARGET_VIEWS, binning=TARGET_BINNING)

    @cached_property
    def copper(self) -> Tomogram:
        """The same scan with a copper target."""
        with self.session("copper") as session:
            return self._tomogram(session, num=TARGET_VIEWS, binning=TARGET_BINNING, target="Cu")

    def _tomogram(
        self, session: Session, *, num: int, binning: int = 1, window: str | None = None, **scan: Any
    ) -> Tomogram:
        """Take a scan; reconstruct it as ``recon.from_run`` by default and by filtered back projection.

        With a ``window``, only by filtered back projection.
        """
        uid = session.run(plans.tomography(session.scope, num=num, step_deg=360.0 / num, binning=binning, **scan))
        run = open_catalog(session.data).v1[uid]
        side = round(FIELD_UM / (session.settings.voxel_um * binning))
        shape = (session.settings.detector.rows // binning, side, side)
        with stages() as progress:
            prepared = recon.prepare_run(run, progress)
            prepared = replace(prepared, geometry=recon.correct_run(prepared, progress))
            correct_beam_hardening(prepared)
            geometry = replace(prepared.geometry, volume_shape=shape)
            raw = recon.fdk(prepared.p, geometry, window=window or "ramp", support=0.5 * FIELD_UM)
            volume = raw
            if window is None:
                done = reconstruct(prepared, volume_shape=shape, progress=progress)
                volume = np.ascontiguousarray(done.volume)
        return Tomogram(volume, raw, geometry, height_in(volume, geometry.voxel_um, self.specimen))


def truth_of(session: Session) -> Truth:
    """Return the twin's true state, which no instrument reveals."""
    assert isinstance(session.drivers, Microscope)
    return session.drivers.truth()

"""A small instrument, and simple specimens: one cylinder of one material, with optional spherical holes."""

import numpy as np
import pytest

from xrm_sims.settings import Settings
from xrm_sims.specimen import CathodePillar, tracing
from xrm_sims.specimen.materials import Material
from xrm_sims.specimen.tracing import Solids
from xrm_sims.twin import Microscope

DEFAULTS = Settings()


def small(**sections):
    """Return settings with a perfect detector of 32 x 160 pixels, a coarse height map and the given sections."""
    detector = DEFAULTS.detector.model_copy(
        update={"rows": 32, "columns": 160, "chip_columns": 32, "pixel_mm": 0.44, "bad_pixel_fraction": 0.0}
    )
    surface = DEFAULTS.surface.model_copy(update={"pitch_um": 0.2})
    return DEFAULTS.model_copy(update={"detector": detector, "surface": surface} | sections)


def for_xrays(scope, exposure_s=90.0):
    scope.target.put("x_um", -400.0)
    scope.widepix.put("exposure_s", exposure_s)
    scope.beam.put("blanked", False)


def for_sims(scope, side=32, fov_um=10.0):
    scope.instrument.put("mode", "fib")
    scope.stage.put("bias_v", 500.0)
    for name, value in {"rows": side, "columns": side, "fov_um": fov_um}.items():
        scope.fib.put(name, value)
    scope.fib.put("blanked", False)


class Slab:
    """A cylinder from z = 4.5 um to -40 um in free space, with the pillar's interface.

    ``spheres`` are (x, y, z, radius, material).
    """

    def __init__(self, material=Material.LCO, *, aluminium=0.005, radius_um=20.0, spheres=()):
        self.aluminium = aluminium
        balls = np.array([s[:4] for s in spheres], float).reshape(-1, 4)
        self.solids = Solids(
            cylinders=np.array([[radius_um, 4.5, -40.0]]),
            centre=balls[:, :3].copy(),
            half=np.repeat(balls[:, 3:], 3, axis=1),
            whiten=np.eye(3) / balls[:, 3, None, None],
            material=np.array([material, *(s[4] for s in spheres)], np.uint8),
            cell_um=2.0 * radius_um,  # one bucket holds everything
            start=np.array([0, len(balls)]),
            items=np.arange(len(balls), dtype=np.int32),
            grains=np.array([0.5, 0.02, 0.04, 0.0]),
            nca=255,  # no Voronoi grains: every material stays as declared
            nca_boundary=255,
        )

    def material_at(self, points_um):
        return tracing.materials_at(self.solids, np.ascontiguousarray(points_um, dtype=float))

    def binder_al_fraction(self, points_um):
        return np.full(len(points_um), self.aluminium)

    def grain_id(self, points_um):
        return np.floor(np.asarray(points_um)[:, 0]).astype(np.int64).astype(np.uint32)


@pytest.fixture(scope="session")
def slab_of():
    """The class :class:`Slab`."""
    return Slab


@pytest.fixture(scope="module")
def pillar():
    return CathodePillar(seed=1)


@pytest.fixture
def scope(tmp_path, pillar):
    with Microscope(tmp_path, settings=small(), specimen=pillar) as microscope:
        yield microscope

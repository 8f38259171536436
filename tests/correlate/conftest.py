"""A small analytic pillar of ellipsoids with planted pores and cracks, and what CT and SIMS would see of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from xrm_sims.specimen import CathodePillar

ACTIVE_PER_UM = 0.0577  # LCO under the W spectrum behind nothing, 1/um
RADIUS_UM = 10.0
TOP_UM = 4.0


@dataclass
class Solid:
    centre_um: np.ndarray
    radii_um: np.ndarray
    axes: np.ndarray  # rows are the ellipsoid's axes

    def contains(self, points: np.ndarray) -> np.ndarray:
        local = ((points - self.centre_um) @ self.axes.T) / self.radii_um
        return (local**2).sum(axis=-1) <= 1.0


def random_axes(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


@dataclass
class Phantom:
    """Touching ellipsoids cut by a cylinder; ``codes`` 0 void, 1 LCO, 2 NCA, 3 binder; ``per_um`` of LCO and NCA."""

    particles: list[Solid]
    phases: list[int]
    pores: list[Solid]
    cracks: list[Solid]
    centre_um: tuple[float, float]
    radius_um: float = RADIUS_UM
    top_um: float = TOP_UM
    per_um: tuple[float, float] = (ACTIVE_PER_UM, ACTIVE_PER_UM)

    def codes(self, points_um: np.ndarray) -> np.ndarray:
        points = np.asarray(points_um, float)
        code = np.zeros(len(points), np.uint8)
        cells = np.floor(points / 1.3).astype(int)
        code[(cells.sum(axis=1) % 3) == 0] = 3
        for solid, phase in zip(self.particles, self.phases, strict=True):
            near = np.abs(points - solid.centre_um).max(axis=1) <= solid.radii_um.max()
            code[np.flatnonzero(near)[solid.contains(points[near])]] = phase
        for hole in [*self.pores, *self.cracks]:
            near = np.abs(points - hole.centre_um).max(axis=1) <= hole.radii_um.max()
            code[np.flatnonzero(near)[hole.contains(points[near])]] = 0
        off = points[:, :2] - self.centre_um
        code[((off**2).sum(axis=1) > self.radius_um**2) | (points[:, 2] > self.top_um)] = 0
        return code

    def volume(self, shape: tuple[int, int, int], voxel_um: float, noise: float, seed: int) -> np.ndarray:
        """Attenuation (z, y, x) in 1/um: supersampled twice, blurred like the source spot, with white noise."""
        fine = np.array(shape) * 2
        z, y, x = ((np.arange(n) - (n - 1) / 2) * voxel_um / 2 for n in fine)
        active = np.zeros(fine, np.float32)
        for solid in [*self.particles, *self.pores, *self.cracks]:
            reach = solid.radii_um.max()
            box = tuple(
                slice(*np.searchsorted(axis, [solid.centre_um[n] - reach, solid.centre_um[n] + reach]))
                for axis, n in ((z, 2), (y, 1), (x, 0))
            )
            points = np.stack(np.meshgrid(x[box[2]], y[box[1]], z[box[0]], indexing="ij"), -1).transpose(2, 1, 0, 3)
            which = next((n for n, p in enumerate(self.particles) if solid is p), None)
            active[box][solid.contains(points)] = 0.0 if which is None else self.per_um[self.phases[which] - 1]
        active[:, np.hypot(y[:, None] - self.centre_um[1], x - self.centre_um[0]) > self.radius_um] = 0
        active[z > self.top_um] = 0
        active = ndimage.gaussian_filter(active, 0.11 / (voxel_um / 2))
        coarse = active.reshape(shape[0], 2, shape[1], 2, shape[2], 2).mean(axis=(1, 3, 5))
        rng = np.random.default_rng(seed)
        return (coarse + rng.normal(0, noise * ACTIVE_PER_UM, shape)).astype(np.float32)


def grow(seed: int, defects: bool = True) -> Phantom:
    rng = np.random.default_rng(seed)
    centre = (0.8, -0.5)
    particles: list[Solid] = []
    phases: list[int] = []
    for _ in range(6000):
        size = rng.uniform(1.5, 3.2)
        phase = int(rng.integers(1, 3))
        radii = np.full(3, size) if phase == 2 else size * rng.uniform(0.75, 1.2, 3)
        spot = np.append(rng.uniform(-RADIUS_UM - 1, RADIUS_UM + 1, 2) + centre, rng.uniform(-8, TOP_UM))
        gaps = [np.linalg.norm(spot - p.centre_um) - 0.98 * (radii.max() + p.radii_um.max()) for p in particles]
        if all(gap > 0 for gap in gaps):
            particles.append(Solid(spot, radii, random_axes(rng)))
            phases.append(phase)
    pores: list[Solid] = []
    cracks: list[Solid] = []
    if defects:
        for index, parent in enumerate(particles):
            inside = np.linalg.norm(parent.centre_um[:2] - centre) < RADIUS_UM - 2 and -3 < parent.centre_um[2] < 2
            if not inside:
                continue
            offset = rng.normal(size=3)
            offset *= 0.4 * parent.radii_um.min() * rng.random() ** (1 / 3) / np.linalg.norm(offset)
            if index % 3:
                radius = rng.uniform(0.3, 0.5)
                pores.append(Solid(parent.centre_um + offset, np.full(3, radius), np.eye(3)))
            else:
                cracks.append(Solid(parent.centre_um + 0.5 * offset, np.array([0.14, 1.1, 1.0]), random_axes(rng)))
    return Phantom(particles, phases, pores, cracks, centre)


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return grow(seed=4)


@pytest.fixture(scope="session")
def phantom_volume(phantom: Phantom) -> np.ndarray:
    """(64, 128, 128) at 0.2 um with noise of 6 % of the active material's attenuation."""
    return phantom.volume((64, 128, 128), 0.2, 0.06, seed=11)


@pytest.fixture(scope="session")
def clean_volume() -> np.ndarray:
    """The same pillar without a pore or crack."""
    return grow(seed=4, defects=False).volume((64, 128, 128), 0.2, 0.06, seed=12)


@pytest.fixture(scope="session")
def pillar() -> CathodePillar:
    return CathodePillar(seed=7)


@pytest.fixture(scope="session")
def pillar_volume(pillar: CathodePillar) -> np.ndarray:
    """The cathode pillar (64, 210, 210) at 0.2 um: supersampled twice, blurred as by the source, noise of 8 %."""
    shape, voxel_um = (64, 210, 210), 0.2
    z, y, x = ((np.arange(2 * n) - (2 * n - 1) / 2) * voxel_um / 2 for n in shape)
    xx, yy = np.meshgrid(x, y)
    fine = np.empty((len(z), *xx.shape), np.float32)
    for k, height in enumerate(z):
        code = pillar.material_at(np.column_stack([xx.ravel(), yy.ravel(), np.full(xx.size, height)]))
        fine[k] = np.isin(code, (1, 2, 3)).reshape(xx.shape) * ACTIVE_PER_UM
    fine = ndimage.gaussian_filter(fine, 0.11 / (voxel_um / 2))
    coarse = fine.reshape(shape[0], 2, shape[1], 2, shape[2], 2).mean(axis=(1, 3, 5))
    noise = np.random.default_rng(0).normal(0, 0.08 * ACTIVE_PER_UM, shape)
    return (coarse + noise).astype(np.float32)

"""A dense random packing of LCO ellipsoids and NCA spheres in a periodic box, and the pillar cut from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xrm_sims.settings import Specimen

_SWEEPS = 120  # more sweeps do not reduce the overlaps
_GRID_UM = 0.8  # of the map that determines the pillar's position


@dataclass
class Packing:
    """Particles: centre and radii (n, 3) in um, axes (n, 3, 3) with the principal axes as columns, is_nca (n,)."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    axes: NDArray[np.float64]
    is_nca: NDArray[np.bool_]

    @property
    def whiten(self) -> NDArray[np.float64]:
        return whitening(self.radii, self.axes)


def whitening(radii: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 3, 3) matrices that map each ellipsoid, relative to its centre, onto the unit sphere."""
    return np.ascontiguousarray(np.swapaxes(axes, 1, 2) / radii[:, :, None])


def half_edges(radii: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 3) half edges of the ellipsoids' bounding boxes."""
    return np.sqrt(((axes * radii[:, None, :]) ** 2).sum(axis=2))


def random_axes(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Draw (n, 3, 3) uniform rotations."""
    return Rotation.random(n, rng=rng).as_matrix() if n else np.empty((0, 3, 3))


def pack(settings: Specimen, rng: np.random.Generator) -> Packing:
    """Draw particles that fill a cylinder around the axis, with its top at z = 0, in the given volume fractions.

    The packing is relaxed in a periodic box. The pillar is cut where the composition is closest to the volume
    fractions; particles outside are dropped.
    """
    margin = 1.35 * max(settings.lco_diameter_um[1], settings.nca_diameter_um[1])
    size = np.array([settings.diameter_um, settings.diameter_um, settings.detail_depth_um]) + margin
    size = np.ceil(size / _GRID_UM) * _GRID_UM
    radii, is_nca = _draw_particles(settings, float(np.prod(size)), rng)
    axes = random_axes(rng, len(radii))
    centre = rng.random((len(radii), 3)) * size
    _relax(centre, radii.max(axis=1), whitening(radii, axes), size, _SWEEPS)
    centre = (centre - _best_place(Packing(centre, radii, axes, is_nca), size, settings)) % size
    return _cut(Packing(centre, radii, axes, is_nca), size, settings)


def _draw_particles(
    settings: Specimen, volume_um3: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draw radii (n, 3) and phase of particles that fill their share of the box, largest first."""
    kinds = [
        (settings.fraction_lco, settings.lco_diameter_um, settings.lco_aspect, False),
        (settings.fraction_nca, settings.nca_diameter_um, (1.0, 1.0), True),
    ]
    radii, is_nca = [], []
    for fraction, diameters, aspects, nca in kinds:
        filled = 0.0
        while filled < fraction * volume_um3:
            diameter, aspect, middle = rng.uniform(*diameters), rng.uniform(*aspects), rng.random()
            shape = np.array([1.0, aspect**-middle, 1.0 / aspect])
            radii.append(0.5 * diameter * shape / np.prod(shape) ** (1 / 3))
            is_nca.append(nca)
            filled += np.pi / 6 * diameter**3
    order = np.argsort([-r.max() for r in radii])
    return np.array(radii)[order], np.array(is_nca)[order]


@njit(cache=True)
def _relax(centre, reach, whiten, size, sweeps):  # type: ignore[no-untyped-def]
    """Push overlapping particles apart in a periodic box; contact along the line of centres, exact for spheres."""
    n = len(centre)
    step = np.empty(3)
    for _ in range(sweeps):
        for i in range(n):
            for j in range(i + 1, n):
                distance2 = 0.0
                for k in range(3):
                    step[k] = centre[j, k] - centre[i, k]
                    step[k] -= size[k] * np.round(step[k] / size[k])
                    distance2 += step[k] * step[k]
                if distance2 >= (reach[i] + reach[j]) ** 2 or distance2 == 0.0:
                    continue
                distance = np.sqrt(distance2)
                contact = 0.0
                for p in (i, j):
                    norm = 0.0
                    for k in range(3):
                        along = whiten[p, k, 0] * step[0] + whiten[p, k, 1] * step[1] + whiten[p, k, 2] * step[2]
                        norm += along * along
                    contact += distance / np.sqrt(norm)
                if contact > distance:
                    for k in range(3):
                        push = 0.25 * (contact - distance) / distance * step[k]
                        centre[i, k] -= push
                        centre[j, k] += push


@njit(cache=True)
def _label_map(centre, reach, whiten, is_nca, size, grid_um):  # type: ignore[no-untyped-def]
    """Return the box on a coarse grid: 0 matrix, 1 LCO, 2 NCA."""
    shape = (int(np.round(size[0] / grid_um)), int(np.round(size[1] / grid_um)), int(np.round(size[2] / grid_um)))
    labels = np.zeros(shape, np.uint8)
    for p in range(len(centre)):
        lo = np.floor((centre[p] - reach[p]) / grid_um)
        hi = np.ceil((centre[p] + reach[p]) / grid_um)
        for i in range(int(lo[0]), int(hi[0]) + 1):
            for j in range(int(lo[1]), int(hi[1]) + 1):
                for k in range(int(lo[2]), int(hi[2]) + 1):
                    d0, d1, d2 = i * grid_um - centre[p, 0], j * grid_um - centre[p, 1], k * grid_um - centre[p, 2]
                    norm = 0.0
                    for m in range(3):
                        norm += (whiten[p, m, 0] * d0 + whiten[p, m, 1] * d1 + whiten[p, m, 2] * d2) ** 2
                    if norm <= 1.0:
                        labels[i % shape[0], j % shape[1], k % shape[2]] = 2 if is_nca[p] else 1
    return labels


def _best_place(packing: Packing, size: NDArray[np.float64], settings: Specimen) -> NDArray[np.float64]:
    """Return the centre of the pillar's top for which both phases are closest to their volume fractions."""
    labels = _label_map(packing.centre, packing.radii.max(axis=1), packing.whiten, packing.is_nca, size, _GRID_UM)
    x, y, z = (((np.arange(n) + n // 2) % n - n // 2) * _GRID_UM for n in labels.shape)
    # the pillar extends below its top centre; depth counts from 0 to the box height
    depth = (-z) % size[2]
    disc = x[:, None] ** 2 + y[None, :] ** 2 <= (0.5 * settings.diameter_um) ** 2
    mask = disc[:, :, None] & (depth <= settings.detail_depth_um)[None, None, :]
    mask_ft = np.conj(np.fft.rfftn(mask)) / mask.sum()
    error = np.zeros(labels.shape)
    for label, wanted in ((1, settings.fraction_lco), (2, settings.fraction_nca)):
        share = np.fft.irfftn(np.fft.rfftn(labels == label) * mask_ft, s=labels.shape)
        error += (share - wanted) ** 2
    return _GRID_UM * np.array(np.unravel_index(error.argmin(), error.shape), dtype=np.float64)


def _cut(packing: Packing, size: NDArray[np.float64], settings: Specimen) -> Packing:
    """Return all periodic images of particles that reach into the pillar's detailed part."""
    half = half_edges(packing.radii, packing.axes)
    reach = packing.radii.max(axis=1)
    images = np.array(np.meshgrid([-1, 0], [-1, 0], [-1, 0])).reshape(3, -1).T * size
    keep: list[tuple[int, NDArray[np.float64]]] = []
    for i in range(len(reach)):
        for centre in packing.centre[i] + images:
            near_axis = np.hypot(centre[0], centre[1]) < 0.5 * settings.diameter_um + reach[i]
            if near_axis and centre[2] - half[i, 2] < 0 and centre[2] + half[i, 2] > -settings.detail_depth_um:
                keep.append((i, centre))
    chosen = np.array([i for i, _ in keep])
    return Packing(np.array([c for _, c in keep]), packing.radii[chosen], packing.axes[chosen], packing.is_nca[chosen])

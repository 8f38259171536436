"""The cathode pillar: a continuous object from a seed, with its material at points and along lines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrm_sims.settings import Specimen
from xrm_sims.specimen import tracing
from xrm_sims.specimen.defects import CRACK, PORE, draw_cracks, draw_pores
from xrm_sims.specimen.grains import grain_ids
from xrm_sims.specimen.materials import Material
from xrm_sims.specimen.packing import Packing, half_edges, pack, whitening
from xrm_sims.specimen.voids import draw_voids

PARTICLE = np.dtype(
    [
        ("centre_um", float, 3),
        ("radii_um", float, 3),
        ("axes", float, (3, 3)),
        ("diameter_um", float),
        ("phase", np.uint8),
    ]
)
_BUCKET_UM = 0.5  # few solids share a bucket, and there are not too many buckets
_CALIBRATION_POINTS = 200_000
_AS_PUBLISHED = Specimen()


class CathodePillar:
    """A FIB-cut pillar of blended cathode on its pedestal, in the specimen frame (um).

    Particles (LCO ellipsoids, NCA spheres) lie in a matrix of binder with interstitial voids, pores and cracks in the
    particles. Seed and settings determine the specimen.

    Attributes
    ----------
    particles : structured (n,): centre_um, radii_um, axes (columns are the principal axes), diameter_um (of equal
        volume), phase (a ``Material``).
    pores : structured (n,): centre_um, diameter_um, phase of the parent, particle (its index); closed, down to 50 nm.
    cracks : structured (n,): centre_um, radii_um (the last is half the opening), normal, opening_um, length_um, phase,
        particle.
    voids : (n, 4) centre and radius of the interstitial voids.
    solids : compiled arrays for ``xrm_sims.specimen.tracing``.
    """

    def __init__(self, seed: int = 1, settings: Specimen = _AS_PUBLISHED) -> None:
        self.seed = seed
        self.settings = settings
        packing_rng, void_rng, pore_rng, crack_rng, binder_rng = (
            np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5)
        )
        packing = pack(settings, packing_rng)
        packing.centre[:, 2] += settings.top_um
        self.voids = np.empty((0, 4))
        self.pores = np.empty(0, PORE)
        self.cracks = np.empty(0, CRACK)
        self._set_particles(packing)
        points = self._points_in_detail(_CALIBRATION_POINTS, void_rng)
        self._calibrate_particles(packing, points)
        self.pores = draw_pores(self.particles, settings, pore_rng)
        self.cracks = draw_cracks(self.particles, self.pores, settings, crack_rng)
        self.solids = self._compile()
        self.voids = draw_voids(points, self.material_at(points), settings, void_rng)
        self.solids = self._compile()
        self._binder_al = binder_rng.uniform(*settings.binder_al_fraction, len(self.particles))

    def material_at(self, points_um: ArrayLike) -> NDArray[np.uint8]:
        """Return codes of ``Material`` at (n, 3) points; ValueError for another shape."""
        return tracing.materials_at(self.solids, _points(points_um))

    def grain_id(self, points_um: ArrayLike) -> NDArray[np.uint32]:
        """Return a number per crystal grain at (n, 3) points, 0 outside crystals; LCO particles are single crystals."""
        points = _points(points_um)
        solid = tracing.solids_at(self.solids, points) - len(self.solids.cylinders)
        material = self.solids.material[len(self.solids.cylinders) :]
        return grain_ids(
            solid,
            material == Material.NCA,
            material == Material.LCO,
            self.solids.centre,
            self.solids.whiten,
            self.settings.grain_um,
            points,
        )

    def binder_al_fraction(self, points_um: ArrayLike) -> NDArray[np.float64]:
        """Return the Al fraction in binder at (n, 3) points, which decays with the distance from NCA; 0 elsewhere."""
        points = _points(points_um)
        nca = np.flatnonzero(self.particles["phase"] == Material.NCA)
        fraction = np.zeros(len(points))
        binder = np.flatnonzero(self.material_at(points) == Material.BINDER)
        if len(nca) and len(binder):
            distance, nearest = tracing.nearest_sphere(
                points[binder], self.particles["centre_um"][nca], self.particles["radii_um"][nca, 0]
            )
            decay = np.exp(-distance / self.settings.binder_al_length_um)
            fraction[binder] = self._binder_al[nca[nearest]] * decay
        return fraction

    def _points_in_detail(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw uniform points in the detailed part of the pillar."""
        radius = 0.5 * self.settings.diameter_um * np.sqrt(rng.random(n))
        phi = 2 * np.pi * rng.random(n)
        z = self.settings.top_um - self.settings.detail_depth_um * rng.random(n)
        return np.column_stack([radius * np.cos(phi), radius * np.sin(phi), z])

    def _set_particles(self, packing: Packing) -> None:
        self.particles = np.zeros(len(packing.centre), PARTICLE)
        self.particles["centre_um"] = packing.centre
        self.particles["radii_um"] = packing.radii
        self.particles["axes"] = packing.axes
        self.particles["diameter_um"] = 2 * np.cbrt(packing.radii.prod(axis=1))
        self.particles["phase"] = np.where(packing.is_nca, Material.NCA, Material.LCO)
        self.solids = self._compile()

    def _calibrate_particles(self, packing: Packing, points: NDArray[np.float64]) -> None:
        """Scale the particles of each phase by a few per cent until both volume fractions are right."""
        s = self.settings
        for _ in range(3):
            codes = self.material_at(points)
            codes[codes == Material.NCA_BOUNDARY] = Material.NCA
            for phase, fraction in ((Material.LCO, s.fraction_lco), (Material.NCA, s.fraction_nca)):
                if fraction > 0:
                    scale = np.cbrt(fraction / (codes == phase).mean())
                    packing.radii[packing.is_nca == (phase == Material.NCA)] *= scale
            self._set_particles(packing)

    def _compile(self) -> tracing.Solids:
        """Return all solids in order of priority: cylinders, voids, particles, pores, cracks."""
        s = self.settings
        foot = s.top_um - s.height_um
        disk = s.top_um - s.disk_below_top_um
        detail = s.top_um - s.detail_depth_um
        cylinders = [
            (0.5 * s.disk_diameter_um, disk, disk - s.disk_thickness_um, Material.CARBON),
            (0.5 * s.pedestal_um, foot, disk, Material.STEEL),
            (0.5 * s.deposit_diameter_um, foot + s.deposit_height_um, foot, Material.DEPOSIT),
            (0.5 * s.diameter_um, detail, foot, Material.PILLAR_AVERAGE),
            (0.5 * s.diameter_um, s.top_um, detail, Material.BINDER),
        ]
        groups = [
            _spheres(self.voids[:, :3], self.voids[:, 3]),
            tuple(self.particles[name] for name in ("centre_um", "radii_um", "axes", "phase")),
            _spheres(self.pores["centre_um"], 0.5 * self.pores["diameter_um"]),
            (*(self.cracks[name] for name in ("centre_um", "radii_um", "axes")), _empty(len(self.cracks))),
        ]
        centre, radii, axes, material = (np.concatenate(parts) for parts in zip(*groups, strict=True))
        half = half_edges(radii, axes)
        start, items = _buckets(centre, half, 0.5 * s.diameter_um)
        return tracing.Solids(
            cylinders=np.array([c[:3] for c in cylinders]),
            centre=np.ascontiguousarray(centre),
            half=half,
            whiten=whitening(radii, axes),
            material=np.concatenate([np.array([m for *_, m in cylinders], np.uint8), material]),
            cell_um=_BUCKET_UM,
            start=start,
            items=items,
            grains=np.array([s.grain_um, *s.grain_boundary_um, s.decorated_boundary_share]),
            nca=int(Material.NCA),
            nca_boundary=int(Material.NCA_BOUNDARY),
        )


def _empty(n: int) -> NDArray[np.uint8]:
    return np.full(n, Material.VACUUM, np.uint8)


def _spheres(centre: NDArray[np.float64], radius: NDArray[np.float64]) -> tuple[NDArray[Any], ...]:
    """Return centre, radii, axes and material of empty spheres."""
    n = len(radius)
    return centre, np.repeat(radius[:, None], 3, axis=1), np.broadcast_to(np.eye(3), (n, 3, 3)), _empty(n)


def _points(points_um: ArrayLike) -> NDArray[np.float64]:
    points = np.ascontiguousarray(points_um, dtype=float)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points_um: needs shape (n, 3), got {points.shape}")
    return points


def _buckets(
    centre: NDArray[np.float64], half: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return square buckets over x and y as (start, items): the bounding boxes in each, ascending."""
    cells = int(np.ceil(2 * radius / _BUCKET_UM))
    low = np.clip(np.floor((centre - half + radius) / _BUCKET_UM), 0, cells).astype(int)
    high = np.clip(np.floor((centre + half + radius) / _BUCKET_UM), -1, cells - 1).astype(int)
    spans = np.maximum(high - low + 1, 0)[:, :2]
    counts = spans[:, 0] * spans[:, 1]
    item = np.repeat(np.arange(len(centre)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    bucket = (low[item, 1] + within // spans[item, 0]) * cells + low[item, 0] + within % spans[item, 0]
    order = np.argsort(bucket, kind="stable")
    start = np.zeros(cells * cells + 1, np.int64)
    np.cumsum(np.bincount(bucket, minlength=cells * cells), out=start[1:])
    return start, item[order].astype(np.int32)

"""Find and measure pores and cracks inside particles.

A void inside a particle is a deficit of attenuation. A void of a few voxels never reaches zero, so voids are measured
on the deficit itself, not on the thresholded volume: its depth decides whether there is a void, its sum gives the size
(blur keeps the sum), its weighted centre the position. There are two kinds: basins closed on all sides (pores, buried
cracks), and slits narrower than a box (cracks open to the particle's surface). Voids between particles are neither
closed nor within the ellipsoid of a particle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import feature, filters
from skimage.segmentation import watershed

from xrm_sims.correlate.volume.segment import Segmentation, Volume, merge_shallow, segment, um_to_voxel, voxel_to_um
from xrm_sims.settings.section import Length, Positive, Section, Share

LEVEL = 0.05  # steps in which basins are closed off, as shares of the active material's attenuation
SMOOTH_UM = 0.14  # Gaussian sigma before neighbours are separated: less than the blur, enough against noise
LEAST_SHARE = 0.4  # of the contrast needed: shallower voxels belong to no defect
RIM_SHARE = 0.3  # a defect reaches out to this share of its own deepest deficit
SPLIT_SHARE = 0.8  # neighbours are two below this share of the lesser; chosen on 422 pores of six of the seeds 11 to 17
CRACK_WIDTH = 0.3  # middle over longest extent of a crack; a narrower one is a string of pores
WITHIN_PARTICLE = 1.0  # largest mean radius, in units of the particle's own ellipsoid
SHELL_UM = 0.2  # width of the rim; the shell that encloses a defect lies two to three times as far out
BORDER_UM = 0.5  # closer to the volume's faces a defect may be cut off
COMPARISON_AREA_UM2 = 4.0  # of a particle that can be compared, in the same plane


@dataclass(frozen=True)
class Defect:
    """One void inside a particle; positions in the specimen frame.

    ``extents_um`` are the full lengths of the uniform ellipsoid with the same second moments, longest first, ``normal``
    its shortest axis; ``opening_um`` is the thickness in the middle of an ellipsoid with the same volume and the other
    two extents. ``contrast`` is the deepest deficit (1 is empty), ``enclosure`` the share of the surrounding shell that
    is the parent particle, ``confidence`` their product, with the contrast limited by the noise. ``comparison`` is the
    particle that the same map can show beside it (0: none), ``comparison_intact`` is 1, halved for every defect in it.
    """

    label: int
    kind: str
    centre_um: tuple[float, float, float]
    diameter_um: float
    volume_um3: float
    extents_um: tuple[float, float, float]
    normal: tuple[float, float, float]
    opening_um: float
    depth_um: float
    edge_um: float
    particle: int
    contrast: float
    enclosure: float
    confidence: float
    comparison: int = 0
    comparison_intact: float = 0.0

    @property
    def elongation(self) -> float:
        return self.extents_um[0] / self.extents_um[2]

    @property
    def hollow_um(self) -> float:
        """Excess of the thickness over the opening: voids that cross or touch leave their ellipsoid partly filled."""
        return max(0.0, self.extents_um[2] - self.opening_um)

    def as_dict(self) -> dict[str, object]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """Return the defect that :meth:`as_dict` gave."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
        return cls(**fields)


class DefectSettings(Section):
    """Section ``[defects]``: what counts as a defect; contrasts are shares of the active material's attenuation."""

    least_contrast: Share = 0.1
    noise_factor: Positive = 2.0  # deepest deficit over the noise
    largest_void_um3: Positive = 15.0  # a larger void does not lie inside a particle
    slit_um: Length = 0.8  # largest width of a void that is open to the particle's surface
    psf_sigma_um: Length = 0.2  # blur that is subtracted from the second moments
    crack_length_um: Length = 1.0  # least length of a crack
    crack_flatness: Share = 0.55  # largest ratio of a crack's shortest to its middle extent
    least_enclosure: Share = 0.75  # share of the surrounding shell that is the parent particle
    comparison_um: Length = 7.0  # largest distance to another particle that the same map can show


def find_defects(
    volume: Volume,
    voxel_um: float,
    settings: DefectSettings = DefectSettings(),
    segmentation: Segmentation | None = None,
) -> list[Defect]:
    """Return pores and cracks of a volume (z, y, x) in 1/um, the most certain first.

    ``segmentation`` is that of the same volume; it is computed when left out. Raises ValueError for a volume without
    contrast or particles.
    """
    seg = segmentation or segment(volume, voxel_um)
    box = _box(seg.particles > 0, margin=4)
    origin = np.array([s.start for s in box])
    deficit = 1.0 - np.clip(seg.normalised[box], 0.0, 1.0)
    particles = seg.particles[box]
    response = _response(deficit, particles, voxel_um, settings)
    high = max(settings.least_contrast, settings.noise_factor * seg.noise)
    labels = _grow(response, high, seg.voxel_um)
    shapes = _ellipsoids(particles)
    found = []
    for n, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None:
            continue
        defect = _measure(n, labels, where, deficit, response, particles, shapes, origin, seg, settings)
        if defect is not None:
            found.append(defect)
    found.sort(key=lambda d: (-d.confidence, -d.volume_um3))
    many = Counter(d.particle for d in found)
    return [_beside_another(replace(d, label=n), many, seg, settings) for n, d in enumerate(found, start=1)]


def _beside_another(defect: Defect, many: Counter[int], seg: Segmentation, settings: DefectSettings) -> Defect:
    """Add the particle that a map of the defect's plane can show too: the most intact one nearby, then the largest."""
    z, y, x = um_to_voxel(np.array(defect.centre_um), seg.particles.shape, seg.voxel_um)
    plane = seg.particles[int(np.clip(round(z), 0, len(seg.particles) - 1))]
    rows, columns = np.ogrid[: plane.shape[0], : plane.shape[1]]
    near = np.hypot(rows - y, columns - x) * seg.voxel_um <= settings.comparison_um
    areas_um2 = np.bincount(plane[near], minlength=defect.particle + 1) * seg.voxel_um**2
    areas_um2[[0, defect.particle]] = 0.0
    wide = np.flatnonzero(areas_um2 >= COMPARISON_AREA_UM2)
    if not wide.size:
        return defect
    best = max(wide.tolist(), key=lambda label: (-many[label], areas_um2[label]))
    return replace(defect, comparison=best, comparison_intact=0.5 ** many[best])


def _box(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    if not mask.any():
        raise ValueError("volume: contains no particle, so it cannot be searched for defects")
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(box, mask.shape, strict=True))


def _response(
    deficit: Volume, particles: NDArray[np.int32], voxel_um: float, settings: DefectSettings
) -> NDArray[np.float32]:
    """Return the depth of closed basins, or of slits narrower than a box, at the voxels of particles."""
    basin = np.maximum(deficit - passes(deficit, round(settings.largest_void_um3 / voxel_um**3)), 0.0)
    slit = deficit - ndimage.grey_opening(deficit, size=(max(2, round(settings.slit_um / voxel_um)),) * 3)
    return np.where(particles > 0, np.maximum(basin, slit), 0.0).astype(np.float32)


def passes(deficit: Volume, most_voxels: int) -> Volume:
    """Return the greatest deficit at which each voxel is connected to the outside, in steps of ``LEVEL``; 0 for none.

    The outside is the volume's faces, and voids of more than ``most_voxels``.
    """
    lowest = np.zeros_like(deficit)
    for level in np.arange(1, round(1 / LEVEL)) * LEVEL:
        labels, count = ndimage.label(deficit > level)
        outside = np.bincount(labels.ravel(), minlength=count + 1) > most_voxels
        for axis in range(3):
            for face in (0, -1):
                outside[labels.take(face, axis=axis)] = True
        outside[0] = False
        lowest[outside[labels]] = level
    return lowest


def _grow(response: NDArray[np.float32], high: float, voxel_um: float) -> NDArray[np.int32]:
    """Label voxels above ``LEAST_SHARE`` of ``high`` by the separate peaks above ``high``."""
    mask = filters.apply_hysteresis_threshold(response, LEAST_SHARE * high, high)
    smooth = ndimage.gaussian_filter(response, SMOOTH_UM / voxel_um)
    peaks = feature.peak_local_max(np.where(mask, smooth, 0.0), min_distance=1, exclude_border=False)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    basins = watershed(-smooth, markers, mask=mask)
    # on a logarithmic scale a step is a share
    labels = merge_shallow(basins, np.log(np.maximum(smooth, 1e-3)), peaks, -np.log(SPLIT_SHARE))
    deepest = ndimage.maximum(smooth, labels, np.arange(labels.max() + 1))
    labels[smooth < RIM_SHARE * np.asarray(deepest)[labels]] = 0
    return labels


def _ellipsoids(particles: NDArray[np.int32]) -> dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return centre and inverse covariance of each particle, in voxels."""
    shapes = {}
    for n, where in enumerate(ndimage.find_objects(particles), start=1):
        if where is None:
            continue
        points = np.argwhere(particles[where] == n) + [s.start for s in where]
        if len(points) > 30:
            spread = np.cov(points.T) + 1e-3 * np.eye(3)
            shapes[n] = (points.mean(axis=0), np.asarray(np.linalg.inv(spread), dtype=np.float64))
    return shapes


def _measure(
    n: int,
    labels: NDArray[np.int32],
    where: tuple[slice, ...],
    deficit: Volume,
    response: NDArray[np.float32],
    particles: NDArray[np.int32],
    shapes: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]],
    origin: NDArray[np.intp],
    seg: Segmentation,
    settings: DefectSettings,
) -> Defect | None:
    """Measure a defect; None when it is not inside a particle or too close to a face of the volume."""
    reach = max(1, round(SHELL_UM / seg.voxel_um))
    wide = tuple(slice(max(0, s.start - 3 * reach), s.stop + 3 * reach) for s in where)
    own = labels[wide] == n
    parts = particles[wide]
    parent = int(np.bincount(parts[own]).argmax())
    if parent not in shapes:
        return None
    halo = ndimage.binary_dilation(own, iterations=reach) & (parts == parent)
    points = np.argwhere(halo) + [s.start for s in wide]
    weight = np.where(own, deficit[wide], np.minimum(deficit[wide], response[wide]))[halo].astype(float)
    if weight.sum() <= 0:
        return None
    centre = np.average(points, axis=0, weights=weight)
    mid, inverse = shapes[parent]
    # A solid ellipsoid has covariance semi-axis^2 / 5.
    radial = np.sqrt(np.einsum("ni,ij,nj->n", points - mid, inverse, points - mid) / 5)
    around = ndimage.binary_dilation(own, iterations=2 * reach)
    shell = ndimage.binary_dilation(own, iterations=3 * reach) & ~around
    solid = (parts == parent) & (deficit[wide] < 0.5)
    enclosure = float(solid[shell].mean()) if shell.any() else 0.0
    whole = np.array(seg.normalised.shape)
    margin = min((centre + origin).min(), (whole - 1 - centre - origin).min()) * seg.voxel_um
    if (
        np.average(radial, weights=weight) > WITHIN_PARTICLE
        or enclosure < settings.least_enclosure
        or margin < BORDER_UM
    ):
        return None
    covariance = np.cov((points - centre).T, aweights=weight, bias=True) * seg.voxel_um**2
    spread, axes = np.linalg.eigh(covariance)
    spread = np.maximum(spread - settings.psf_sigma_um**2, (0.1 * seg.voxel_um) ** 2)[::-1]
    extents = 2 * np.sqrt(5 * spread)
    # blur spreads the deficit around the rim; further out the deficit is the particle's own level
    spread_out = deficit[wide][around & (parts == parent) & (own | (labels[wide] == 0))]
    level = float(np.median(deficit[wide][shell & solid])) if (shell & solid).any() else 0.0
    volume = max(float((spread_out - level).sum()), float(weight.max())) * seg.voxel_um**3
    x, y, z = voxel_to_um(centre + origin, seg.normalised.shape, seg.voxel_um)
    flat = extents[2] < settings.crack_flatness * extents[1] and extents[1] > CRACK_WIDTH * extents[0]
    crack = extents[0] > settings.crack_length_um and flat
    contrast = float(deficit[wide][own].max())
    pillar = seg.pillar
    return Defect(
        label=n,
        kind="crack" if crack else "pore",
        centre_um=(float(x), float(y), float(z)),
        diameter_um=float((6 * volume / np.pi) ** (1 / 3)),
        volume_um3=volume,
        extents_um=(float(extents[0]), float(extents[1]), float(extents[2])),
        normal=tuple(float(c) for c in axes[::-1, 0] * (1 if axes[0, 0] >= 0 else -1)),  # type: ignore[arg-type]
        opening_um=float(volume / (np.pi / 6 * extents[0] * extents[1])),
        depth_um=pillar.top_z_um - float(z),
        edge_um=pillar.radius_um - float(np.hypot(x - pillar.centre_um[0], y - pillar.centre_um[1])),
        particle=parent,
        contrast=contrast,
        enclosure=enclosure,
        confidence=enclosure * min(1.0, contrast / max(2 * settings.noise_factor * seg.noise, 1e-6)),
    )

"""Pores and cracks inside particles, and which of them to go and look at.

A void inside a particle shows as a deficit of attenuation. Below a few voxels it never reaches zero, so voids are not
cut out of the thresholded volume but measured on the deficit itself: its depth says whether there is one, its sum how
large it is (blur keeps the sum), its weighted centre where it lies. Two things are looked for: basins closed on all
sides (pores, buried cracks) and slits narrower than a ball (cracks open to the particle's surface). Voids between
particles are neither closed nor within a particle's own ellipsoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, morphology
from skimage.segmentation import watershed

from xrm_sims.correlate.segment import Segmentation, Volume, segment, voxel_to_um


@dataclass(frozen=True)
class Defect:
    """One void inside a particle; positions in the specimen frame.

    ``extents_um`` are the full lengths of the uniform ellipsoid with the same second moments, longest first, ``normal``
    its shortest axis; ``opening_um`` is volume over the area of the other two. ``contrast`` is the deepest deficit
    (1 is empty), ``enclosure`` the share of the surrounding shell that is the parent particle, ``confidence`` their
    product after the contrast is held against the noise.
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

    @property
    def elongation(self) -> float:
        return self.extents_um[0] / self.extents_um[2]

    def as_dict(self) -> dict[str, object]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class DefectSettings:
    """What counts as a defect; contrasts are shares of the active material's attenuation."""

    least_contrast: float = 0.18
    noise_factor: float = 2.5  # the deepest deficit stands this many times above the noise
    rim_share: float = 0.4  # a defect reaches out to this share of its deepest deficit
    split_contrast: float = 0.15  # neighbours are two when the pass between them is shallower by this
    slit_um: float = 0.5  # voids open to the particle's surface count when narrower than twice this
    psf_sigma_um: float = 0.13  # blur taken off the second moments
    crack_length_um: float = 1.0
    crack_flatness: float = 0.55  # shortest over middle extent below this: a crack
    within_particle: float = 0.85  # mean radius in units of the particle's own ellipsoid
    least_enclosure: float = 0.75
    border_um: float = 0.6  # nothing is believed this close to the volume's faces


def find_defects(
    volume: Volume,
    voxel_um: float,
    settings: DefectSettings = DefectSettings(),
    segmentation: Segmentation | None = None,
) -> list[Defect]:
    """Pores and cracks of a volume (z, y, x) in 1/um, the most certain first.

    Pass the ``segmentation`` of the same volume, when there is one already. Raises ValueError for a volume without
    contrast (see :func:`segment`).
    """
    seg = segmentation or segment(volume, voxel_um)
    box = _box(seg.particles > 0, margin=4)
    origin = np.array([s.start for s in box])
    deficit = 1.0 - np.clip(seg.normalised[box], 0.0, 1.0)
    particles = seg.particles[box]
    response = _response(deficit, particles, voxel_um, settings)
    high = max(settings.least_contrast, settings.noise_factor * seg.noise)
    labels = _grow(response, high, settings)
    shapes = _ellipsoids(particles)
    found = []
    for n, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None:
            continue
        defect = _measure(n, labels, where, deficit, response, particles, shapes, origin, seg, settings)
        if defect is not None:
            found.append(defect)
    found.sort(key=lambda d: (-d.confidence, -d.volume_um3))
    return [_relabelled(d, n) for n, d in enumerate(found)]


def _relabelled(defect: Defect, label: int) -> Defect:
    return Defect(**({f.name: getattr(defect, f.name) for f in fields(Defect)} | {"label": label}))


def _box(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    if not mask.any():
        raise ValueError("volume: no particle found, so there is nothing to search for defects")
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(box, mask.shape, strict=True))


def _response(
    deficit: Volume, particles: NDArray[np.int32], voxel_um: float, settings: DefectSettings
) -> NDArray[np.float32]:
    """How much darker than what closes it in each voxel of a particle is: closed basins, or slits under a ball."""
    seed = deficit.copy()
    inner = (slice(1, -1),) * 3
    seed[inner] = deficit.min()
    basin = deficit - morphology.reconstruction(seed, deficit, method="dilation").astype(np.float32)
    ball = morphology.ball(max(1, round(settings.slit_um / voxel_um)), decomposition="sequence")
    slit = deficit - morphology.opening(deficit, ball)
    return np.where(particles > 0, np.maximum(basin, slit), 0.0).astype(np.float32)


def _grow(response: NDArray[np.float32], high: float, settings: DefectSettings) -> NDArray[np.int32]:
    """Voxels above ``rim_share`` of ``high``, divided among the peaks above ``high`` that stand out by themselves."""
    mask = filters.apply_hysteresis_threshold(response, settings.rim_share * high, high)
    smooth = ndimage.gaussian_filter(response, 0.7)
    flooded = morphology.reconstruction(smooth - settings.split_contrast, smooth, method="dilation")
    # A peak is a plateau of the flooded image: everything within split_contrast of the peak's height.
    peaks, _ = ndimage.label((smooth >= flooded + 0.999 * settings.split_contrast) & mask)
    whole, count = ndimage.label(mask)
    bare = np.setdiff1d(np.arange(1, count + 1), whole[peaks > 0])
    markers = np.where(peaks > 0, peaks, np.where(np.isin(whole, bare), whole + peaks.max(), 0))
    return np.asarray(watershed(-smooth, markers, mask=mask), dtype=np.int32)


def _ellipsoids(particles: NDArray[np.int32]) -> dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Centre and inverse covariance of each particle, in voxels."""
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
    """The defect's numbers, or None when it is not inside a particle or too close to a face of the volume."""
    wide = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in where)
    own = labels[wide] == n
    parts = particles[wide]
    parent = int(np.bincount(parts[own]).argmax())
    if parent not in shapes:
        return None
    halo = ndimage.binary_dilation(own, iterations=1) & (parts == parent)
    points = np.argwhere(halo) + [s.start for s in wide]
    weight = np.where(own, deficit[wide], np.minimum(deficit[wide], response[wide]))[halo].astype(float)
    if weight.sum() <= 0:
        return None
    centre = np.average(points, axis=0, weights=weight)
    mid, inverse = shapes[parent]
    # A solid ellipsoid has covariance semi-axis^2 / 5.
    radial = np.sqrt(np.einsum("ni,ij,nj->n", points - mid, inverse, points - mid) / 5)
    shell = ndimage.binary_dilation(own, iterations=3) & ~ndimage.binary_dilation(own, iterations=2)
    solid = (parts == parent) & (deficit[wide] < 0.5)
    enclosure = float(solid[shell].mean()) if shell.any() else 0.0
    whole = np.array(seg.normalised.shape)
    margin = min((centre + origin).min(), (whole - 1 - centre - origin).min()) * seg.voxel_um
    if (
        np.average(radial, weights=weight) > settings.within_particle
        or enclosure < settings.least_enclosure
        or margin < settings.border_um
    ):
        return None
    covariance = np.cov((points - centre).T, aweights=weight, bias=True) * seg.voxel_um**2
    spread, axes = np.linalg.eigh(covariance)
    spread = np.maximum(spread - settings.psf_sigma_um**2, (0.1 * seg.voxel_um) ** 2)[::-1]
    extents = 2 * np.sqrt(5 * spread)
    volume = float(weight.sum()) * seg.voxel_um**3
    x, y, z = voxel_to_um(centre + origin, seg.normalised.shape, seg.voxel_um)
    crack = extents[0] > settings.crack_length_um and extents[2] < settings.crack_flatness * extents[1]
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
        opening_um=float(volume / (np.pi / 4 * extents[0] * extents[1])),
        depth_um=pillar.top_z_um - float(z),
        edge_um=pillar.radius_um - float(np.hypot(x - pillar.centre_um[0], y - pillar.centre_um[1])),
        particle=parent,
        contrast=contrast,
        enclosure=enclosure,
        confidence=enclosure * min(1.0, contrast / max(2 * settings.noise_factor * seg.noise, 1e-6)),
    )


@dataclass(frozen=True)
class DefectRule:
    """Which defect is worth milling to. Those outside a range are out; the rest are ranked by a weighted sum.

    Each term is between 0 and 1: the diameter over ``good_diameter_um``, the closeness to the surface within the depth
    range (less to mill), the distance to the pillar's side over ``good_edge_um``, the confidence.
    """

    kinds: tuple[str, ...] = ("pore", "crack")
    depth_um: tuple[float, float] = (1.0, 6.0)
    least_diameter_um: float = 0.4
    least_edge_um: float = 3.0
    least_confidence: float = 0.5
    good_diameter_um: float = 1.0
    good_edge_um: float = 10.0
    size_weight: float = 1.0
    shallow_weight: float = 0.5
    edge_weight: float = 0.5
    confidence_weight: float = 1.0

    def obstacle(self, defect: Defect) -> str | None:
        """Why this one is out, or None."""
        low, high = self.depth_um
        if defect.kind not in self.kinds:
            return f"is a {defect.kind}"
        if not low <= defect.depth_um <= high:
            return "depth"
        if defect.diameter_um < self.least_diameter_um:
            return "size"
        if defect.edge_um < self.least_edge_um:
            return "distance to the side"
        if defect.confidence < self.least_confidence:
            return "confidence"
        return None

    def score(self, defect: Defect) -> float:
        low, high = self.depth_um
        return (
            self.size_weight * min(1.0, defect.diameter_um / self.good_diameter_um)
            + self.shallow_weight * (high - defect.depth_um) / (high - low)
            + self.edge_weight * min(1.0, defect.edge_um / self.good_edge_um)
            + self.confidence_weight * defect.confidence
        )


def rank_defects(defects: Sequence[Defect], rule: DefectRule = DefectRule()) -> list[Defect]:
    """Those the rule lets through, best first."""
    return sorted((d for d in defects if rule.obstacle(d) is None), key=rule.score, reverse=True)


class NoDefectError(ValueError):
    """There is none worth milling to; the sentence says what stood in the way."""


def choose_defect(defects: Sequence[Defect], rule: DefectRule = DefectRule()) -> Defect:
    """The best by the rule; NoDefectError with the count of what stood in the way when none qualifies."""
    ranked = rank_defects(defects, rule)
    if ranked:
        return ranked[0]
    if not defects:
        raise NoDefectError("defects: none was found in the volume, so there is nothing to mill to")
    reasons = [rule.obstacle(d) for d in defects]
    tally = ", ".join(f"{reasons.count(r)} by {r}" for r in dict.fromkeys(reasons))
    raise NoDefectError(
        f"defects: none of {len(defects)} qualifies ({tally}); the rule asks for a depth of {rule.depth_um[0]:g} to "
        f"{rule.depth_um[1]:g} um, at least {rule.least_diameter_um:g} um across, {rule.least_edge_um:g} um from the "
        f"side and a confidence of {rule.least_confidence:g}"
    )

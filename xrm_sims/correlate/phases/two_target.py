"""Classify particles as LCO or NCA in 3D by the ratio of their attenuations with two X-ray targets.

With tungsten both phases absorb alike. Cu K alpha lies between the K edges of cobalt and nickel, so that LCO absorbs
about twice as much as NCA with a copper target. Blur of the rim and small voids cancel in the ratio. Beam hardening
lowers it towards the axis; this is fitted and subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters

from xrm_sims.correlate.phases.phases import Phase
from xrm_sims.correlate.volume.segment import (
    Segmentation,
    SegmentSettings,
    Volume,
    coordinates_um,
    label_particles,
    voxel_to_um,
)
from xrm_sims.settings.section import Length, Positive, Section

Array = NDArray[np.float64]

GUARD_UM = 0.4  # from another particle: nearer voxels contain its blur
LEAST_INNER = 0.2  # share of a particle that far inside; with less, all of the particle is used
BLOCK_UM = 1.0  # noise and blur of two blocks are independent
MAX_ROUNDS = 4  # of levels and classes
MAX_STEPS = 200  # of the mixture's fit


class TwoTargetSettings(Section):
    """Section ``[two_target]``: particles of each phase, and the contrast that is needed."""

    denoise_um: Length = 0.15  # Gaussian sigma of the second volume, as of the first
    local_um: Length = 0.4  # Gaussian sigma over which the ratio of attenuations is taken
    # less than where both phases are in one mask, as fewer particles touch
    particle_spacing_um: Length = 1.6
    neck_um: Length = 0.1
    least_volume_um3: Positive = 4.0  # of a particle: a smaller one is a splinter
    least_contrast: Positive = 1.2  # ratio of the two levels
    least_scatter: Positive = 0.03  # of a phase's particles, in units of the distance between both


@dataclass(frozen=True)
class Particle:
    """One particle.

    ratio : of attenuations, second over first target, with its standard error.
    position : 0 at the level of NCA and 1 at that of LCO, cupping subtracted, with its standard error.
    lco : probability. centre_um : of the part in the volume; whole : nothing is cut off.
    """

    label: int
    ratio: float
    ratio_sigma: float
    position: float
    position_sigma: float
    lco: float
    centre_um: tuple[float, float, float]
    volume_um3: float
    whole: bool

    @property
    def phase(self) -> Phase:
        return Phase.LCO if self.lco > 0.5 else Phase.NCA

    @property
    def probability(self) -> float:
        """Probability of ``phase``."""
        return max(self.lco, 1 - self.lco)

    def as_row(self) -> dict[str, object]:
        x, y, z = self.centre_um
        return {
            "particle": self.label,
            "phase": self.phase.name,
            "probability": self.probability,
            "ratio": self.ratio,
            "ratio_sigma": self.ratio_sigma,
            "position": self.position,
            "position_sigma": self.position_sigma,
            "x_um": x,
            "y_um": y,
            "z_um": z,
            "volume_um3": self.volume_um3,
            "diameter_um": (6 * self.volume_um3 / np.pi) ** (1 / 3),
            "whole": self.whole,
        }


@dataclass(frozen=True, eq=False)
class Levels:
    """Ratio of attenuations of both phases as a + b r^2, r in um from the pillar's axis, and a phase's own scatter."""

    lco: tuple[float, float]
    nca: tuple[float, float]

    def distance(self, r2_um2: NDArray[np.floating]) -> Array:
        """Return the distance of the levels (LCO less NCA) at squared radii."""
        return np.asarray(self.lco[0] - self.nca[0] + (self.lco[1] - self.nca[1]) * r2_um2, np.float64)

    def position(self, ratio: NDArray[np.floating], r2_um2: NDArray[np.floating]) -> Array:
        """Return positions of ratios: 0 at the level of NCA, 1 at that of LCO."""
        return np.asarray((ratio - self.nca[0] - self.nca[1] * r2_um2) / self.distance(r2_um2), np.float64)


@dataclass(frozen=True, eq=False)
class TwoTarget:
    """All volumes (z, y, x) on the grid of the segmentation.

    classes : uint8 codes of ``Phase``: PORE (including binder), LCO, NCA.
    labels : int32 numbers of the particles, 0 elsewhere and for splinters.
    ratio : local ratio of attenuations, NaN outside active material.
    scatter : of the positions of a phase's particles, beyond their errors.
    """

    classes: NDArray[np.uint8]
    labels: NDArray[np.int32]
    ratio: Volume
    particles: list[Particle]
    levels: Levels
    scatter: float

    @property
    def contrast(self) -> float:
        """Ratio of the two levels on the pillar's axis."""
        return self.levels.lco[0] / self.levels.nca[0]


def classify_particles(
    segmentation: Segmentation, second: Volume, settings: TwoTargetSettings = TwoTargetSettings()
) -> TwoTarget:
    """Classify every particle of a segmented volume with a second volume on its grid, NaN outside its field.

    Raises ValueError for another grid, and if the particles do not form two groups.
    """
    if second.shape != segmentation.active.shape:
        raise ValueError(f"second: got shape {second.shape}, needs that of the first, {segmentation.active.shape}")
    voxel_um, seen = segmentation.voxel_um, np.isfinite(second)
    image = ndimage.gaussian_filter(np.where(seen, second, 0), settings.denoise_um / voxel_um)
    seen = ndimage.binary_erosion(seen, border_value=1) & segmentation.active
    first = segmentation.normalised * np.float32(segmentation.level_per_um)
    ratio = _local_ratio(first, image, seen, settings.local_um / voxel_um)
    r2 = squared_radius(segmentation)
    levels = _levels(ratio[seen], r2[seen], settings)
    lco, known = _of_lco(segmentation, levels.position(ratio, r2) > 0.5, seen)
    labels = _labelled((known & lco, known & ~lco), voxel_um, settings)
    particles, scatter = _particles(labels, seen, first, image, r2, levels, segmentation, settings)
    phase = np.zeros(int(labels.max()) + 1, np.uint8)
    for particle in particles:
        phase[particle.label] = particle.phase
    named = np.where(labels > 0, phase[labels], np.where(lco, Phase.LCO, Phase.NCA))
    ratio[~seen] = np.nan
    return TwoTarget(np.where(known, named, Phase.PORE).astype(np.uint8), labels, ratio, particles, levels, scatter)


def _of_lco(
    segmentation: Segmentation, lco: NDArray[np.bool_], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the active voxels that are LCO, and those with a known phase.

    Voxels outside the second volume get the phase of most voxels of their particle inside it.
    """
    label = segmentation.particles
    count = int(label.max()) + 1
    size = np.bincount(label[seen], minlength=count)
    mostly = 2 * np.bincount(label[seen & lco], minlength=count) > size
    known = seen | (segmentation.active & (label > 0) & (size > 0)[label])
    return np.where(seen, lco, mostly[label]), known


def _local_ratio(first: Volume, second: Volume, active: NDArray[np.bool_], sigma: float) -> Volume:
    """Return the least-squares slope of the second volume over the first around each voxel."""
    square = ndimage.gaussian_filter(np.where(active, first * first, 0), sigma)
    product = ndimage.gaussian_filter(np.where(active, first * second, 0), sigma)
    return np.asarray(product / np.maximum(square, 1e-12), dtype=np.float32)


def squared_radius(segmentation: Segmentation) -> NDArray[np.float32]:
    """Return the squared distance (z, y, x) in um^2 from the pillar's axis."""
    _, y, x = coordinates_um(segmentation.active.shape, segmentation.voxel_um)
    cx, cy = segmentation.pillar.centre_um
    r2 = (x[None, :] - cx) ** 2 + (y[:, None] - cy) ** 2
    return np.broadcast_to(r2.astype(np.float32), segmentation.active.shape)


def _levels(ratio: NDArray[np.float32], r2: NDArray[np.float32], settings: TwoTargetSettings) -> Levels:
    """Fit the level of each phase over the distance from the axis, and the voxels' phases, in turns."""
    high = ratio > filters.threshold_otsu(ratio)
    for _ in range(MAX_ROUNDS):
        levels = Levels(_line(r2[high], ratio[high]), _line(r2[~high], ratio[~high]))
        high = levels.position(ratio, r2) > 0.5
        if high.all() or not high.any():
            break
    if not levels.lco[0] > settings.least_contrast * levels.nca[0]:
        raise ValueError(
            f"particles: do not form two groups (ratios of attenuations {levels.nca[0]:.3g} and {levels.lco[0]:.3g}); "
            "is there only one phase, or do both targets show the same contrast?"
        )
    return levels


def _line(r2: NDArray[np.float32], ratio: NDArray[np.float32]) -> tuple[float, float]:
    """Fit a + b r^2 through the medians of rings of equal area."""
    if len(ratio) < 10:
        return float(np.median(ratio)) if len(ratio) else 0.0, 0.0
    edges = np.quantile(r2, np.linspace(0, 1, 9))
    ring = np.clip(np.digitize(r2, edges[1:-1]), 0, 7)
    rings = [n for n in range(8) if np.count_nonzero(ring == n) > 1]
    x = [float(np.median(r2[ring == n])) for n in rings]
    y = [float(np.median(ratio[ring == n])) for n in rings]
    if len(rings) < 3:
        return float(np.median(ratio)), 0.0
    b, a = np.polyfit(x, y, 1)
    return float(a), float(b)


def _labelled(phases: Sequence[NDArray[np.bool_]], voxel_um: float, settings: TwoTargetSettings) -> NDArray[np.int32]:
    """Label the particles of each phase by itself; splinters get 0."""
    labels = np.zeros(phases[0].shape, np.int32)
    alone = SegmentSettings(particle_spacing_um=settings.particle_spacing_um, neck_um=settings.neck_um)
    for phase in phases:
        found = label_particles(phase, voxel_um, alone) * phase
        labels += np.where(found > 0, found + labels.max(), 0).astype(np.int32)
    large = np.bincount(labels.ravel()) >= settings.least_volume_um3 / voxel_um**3
    large[0] = False
    if not large.any():
        raise ValueError("particles: none is large enough to be classified")
    return np.where(large, np.cumsum(large), 0).astype(np.int32)[labels]


def _particles(
    labels: NDArray[np.int32],
    seen: NDArray[np.bool_],
    first: Volume,
    second: Volume,
    r2: NDArray[np.float32],
    levels: Levels,
    segmentation: Segmentation,
    settings: TwoTargetSettings,
) -> tuple[list[Particle], float]:
    """Return the particles, with their phases from a mixture of two Gaussians, and the scatter of a phase."""
    voxel_um = segmentation.voxel_um
    count = int(labels.max()) + 1
    place = np.flatnonzero(seen & (labels > 0))
    label, inner = labels.flat[place], _inner(labels, GUARD_UM / voxel_um).flat[place]
    size = np.bincount(label, minlength=count)
    inner |= (np.bincount(label, inner, count) < LEAST_INNER * size)[label]
    used, of = place[inner], label[inner]
    w, c = first.flat[used].astype(float), second.flat[used].astype(float)
    square = np.maximum(np.bincount(of, w * w, count), 1e-12)
    ratio = np.bincount(of, w * c, count) / square
    index = np.column_stack(np.unravel_index(used, labels.shape))
    sigma = _errors(of, w * (c - ratio[of] * w), np.floor(index * voxel_um / BLOCK_UM), count) / square
    r2_mean = np.bincount(of, w * w * r2.flat[used], count) / square
    position = levels.position(ratio, r2_mean)
    position_sigma = sigma / levels.distance(r2_mean)
    present = np.flatnonzero(size)
    lco, scatter = _mixture(position[present], position_sigma[present], settings)
    centre = np.array(ndimage.center_of_mass(labels > 0, labels, present))
    centre_um = voxel_to_um(centre, labels.shape, voxel_um)
    cut = _cut(labels, segmentation)
    volume_um3 = np.bincount(labels.ravel()) * voxel_um**3
    return [
        Particle(
            int(n), float(ratio[n]), float(sigma[n]), float(position[n]), float(position_sigma[n]), float(p),
            (float(x), float(y), float(z)), float(volume_um3[n]), n not in cut,
        )
        for n, p, (x, y, z) in zip(present, lco, centre_um, strict=True)
    ], scatter  # fmt: skip


def _inner(labels: NDArray[np.int32], guard: float) -> NDArray[np.bool_]:
    """Return the voxels with no other particle within ``guard`` voxels along the axes."""
    width = 2 * max(1, round(guard)) + 1
    most = ndimage.maximum_filter(labels, width)
    least = ndimage.minimum_filter(np.where(labels > 0, labels, np.iinfo(np.int32).max), width)
    return np.asarray((labels > 0) & (most == least))


def _errors(of: NDArray[np.int32], score: Array, cell: NDArray[np.floating], count: int) -> Array:
    """Return the standard error of each particle's sum of scores by the scatter of blocks; inf for one block."""
    _, block = np.unique(np.column_stack([of, cell]), axis=0, return_inverse=True)
    total = np.bincount(block.ravel(), score)
    owner = np.zeros(len(total), np.int64)
    owner[block.ravel()] = of
    blocks = np.bincount(owner, minlength=count)
    square = np.bincount(owner, total**2, count)
    return np.where(blocks > 1, np.sqrt(square * blocks / np.maximum(blocks - 1, 1)), np.inf)


def _mixture(position: Array, sigma: Array, settings: TwoTargetSettings) -> tuple[Array, float]:
    """Return the probability of LCO (n,) and the scatter: Gaussians at 0 and 1 of one scatter, plus each error.

    Shares and scatter by expectation maximisation (A. P. Dempster, N. M. Laird, D. B. Rubin, J. R. Stat. Soc. B 39
    (1977) 1). With a scatter for each phase, a particle half-way would widen one phase and be assigned to it.
    """
    position = np.clip(position, -0.5, 1.5)  # beyond its level a particle is not more certain
    away = position[:, None] - np.array([0.0, 1.0])
    error = np.minimum(sigma, 0.5)[:, None] ** 2
    share, scatter = np.array([0.5, 0.5]), 0.1
    for _ in range(MAX_STEPS):
        density = share * np.exp(-0.5 * away**2 / (scatter**2 + error))
        lies = density / density.sum(axis=1, keepdims=True)
        share = lies.mean(axis=0)
        before = scatter
        scatter = float(np.sqrt(max((lies * (away**2 - error)).sum() / len(position), settings.least_scatter**2)))
        if abs(scatter - before) < 1e-5:
            break
    return lies[:, 1], scatter


def _cut(labels: NDArray[np.int32], segmentation: Segmentation) -> set[int]:
    """Return the particles that touch the volume's faces or the pillar's side or top."""
    z, y, x = coordinates_um(labels.shape, segmentation.voxel_um)
    pillar, near_um = segmentation.pillar, 1.5 * segmentation.voxel_um
    across = np.hypot(x[None, :] - pillar.centre_um[0], y[:, None] - pillar.centre_um[1])
    side = labels[:, across > pillar.radius_um - near_um]
    ends = labels[(z > pillar.top_z_um - near_um) | (np.abs(z) > z[-1] - near_um)]
    return set(np.unique(side).tolist()) | set(np.unique(ends).tolist())

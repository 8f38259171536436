"""Segmentation of a CT volume: active material, the pillar, and particles.

Binder is as dark as air in nanoCT, so there are two classes only. Volumes are (z, y, x) attenuation in 1/um in the
specimen frame; voxel (k, j, i) is centred at ((i, j, k) - (n - 1) / 2) * voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import feature, filters, segmentation

from xrm_sims.correlate.volume.outline import Outline, fit_outline, largest_body, sample_rays
from xrm_sims.settings.section import Length, Section

Volume = NDArray[np.float32]

PARTICLE_VOXEL_UM = 0.2  # separate particles in voxels of at least this size: distances need nothing finer
CUPPING_ORDER = (
    2  # powers of r^2 fitted to the active material's level: r^2 and r^4 follow the cupping of a round pillar
)
OUTLINE_BINS = 180  # directions in which the pillar's outline is measured: every 2 degrees
LEAST_RADIUS_UM = 1.0  # of a pillar: a smaller outline is a single particle or noise
LEAST_SEPARATION = 3.5  # class means over pooled spread; noise cut in halves gives 2.65


class SegmentSettings(Section):
    """Section ``[segmentation]``: how a volume is divided into active material and particles."""

    least_voxel_um: Length = 0.1  # average finer voxels to this size: the focal spot blurs by 0.22 um
    denoise_um: Length = 0.15  # Gaussian sigma before the threshold
    closing_um: Length = 0.5  # bridge slits up to twice this width before particles are separated
    particle_spacing_um: Length = 2.0  # least distance between the centres of two particles
    neck_um: Length = 0.35  # two cores are two particles when the neck is narrower by this in radius


@dataclass(frozen=True)
class PillarFit:
    """The vertical cylinder that envelops the active material."""

    centre_um: tuple[float, float]
    radius_um: float
    top_z_um: float
    stretch: tuple[float, float] = (0.0, 0.0)  # departure from a circle, as in ``Outline``


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A volume divided into active material and particles, (z, y, x) in voxels of ``voxel_um`` about the same middle.

    ``normalised`` is the attenuation over the level of active material, without cupping (0 void or binder, 1 active
    material); ``active`` ends at the pillar; ``particles`` are labels, 0 outside, with closed pores and cracks filled.
    """

    normalised: Volume
    active: NDArray[np.bool_]
    particles: NDArray[np.int32]
    pillar: PillarFit
    level_per_um: float
    noise: float
    voxel_um: float


def check_volume(volume: Volume, voxel_um: float) -> Volume:
    """Return the volume as float32. Raises ValueError for a wrong shape, NaN, or a voxel that is not a length."""
    array = np.asarray(volume, dtype=np.float32)
    if array.ndim != 3 or min(array.shape) < 4:
        raise ValueError(f"volume: got shape {array.shape}, needs (z, y, x) with at least 4 voxels each way")
    if not np.isfinite(array).all():
        raise ValueError(f"volume: {np.count_nonzero(~np.isfinite(array))} voxels are not finite numbers")
    if not (np.isfinite(voxel_um) and voxel_um > 0):
        raise ValueError(f"voxel_um: needs a positive length, got {voxel_um}")
    return array


def coordinates_um(shape: tuple[int, int, int], voxel_um: float) -> list[NDArray[np.float64]]:
    """Return the voxel centres along z, y and x."""
    return [np.asarray((np.arange(n) - (n - 1) / 2) * voxel_um, dtype=np.float64) for n in shape]


def voxel_to_um(index: NDArray[np.float64], shape: tuple[int, ...], voxel_um: float) -> NDArray[np.float64]:
    """Convert fractional (k, j, i) to (x, y, z) in the specimen frame, along the last axis."""
    return ((np.asarray(index, float) - (np.array(shape) - 1) / 2) * voxel_um)[..., ::-1]


def um_to_voxel(point_um: NDArray[np.float64], shape: tuple[int, ...], voxel_um: float) -> NDArray[np.float64]:
    """Convert (x, y, z) in the specimen frame to fractional (k, j, i), along the last axis."""
    return np.asarray(point_um, float)[..., ::-1] / voxel_um + (np.array(shape) - 1) / 2


def gather(volume: Volume, voxel_um: float, least_um: float) -> tuple[Volume, float]:
    """Return the volume averaged to voxels of at least ``least_um``, and their size; coarser voxels stay.

    Unlike ``skimage.measure.block_reduce`` it keeps the middle of the volume in place for any number of voxels.
    """
    step = math.ceil(least_um / voxel_um - 1e-6)
    if step <= 1:
        return volume, voxel_um
    shape = tuple(n // step for n in volume.shape)
    offset = [(n - 1 - step * (m - 1)) / 2 for n, m in zip(volume.shape, shape, strict=True)]
    # linear interpolation half-way between two voxels is their mean; the filter adds the other voxels of a larger step
    mean = ndimage.uniform_filter(volume, step - 1 + step % 2) if step > 2 else volume
    return ndimage.affine_transform(mean, [step] * 3, offset, shape, order=1, mode="nearest"), voxel_um * step


def flatten_cupping(volume: Volume, mask: NDArray[np.bool_], order: int) -> tuple[Volume, float]:
    """Return the volume over the active material's local level, and that level at the axis.

    A polynomial in the squared distance from the mask's axis is fitted to the voxels of the mask (beam hardening
    darkens the middle of a round sample).
    """
    _, j, i = np.nonzero(mask)
    mid = np.array([j.mean(), i.mean()])
    reach = max(volume.shape[1:]) / 2
    yy, xx = np.indices(volume.shape[1:])
    r2 = (((yy - mid[0]) ** 2 + (xx - mid[1]) ** 2) / reach**2).astype(np.float32)
    fit = np.polynomial.Polynomial.fit(r2[j, i], volume[mask], order)
    limit = r2[j, i].max()
    level = fit(np.minimum(r2, limit)).astype(np.float32)
    return volume / level, float(fit(0.0))


def fit_pillar(normalised: Volume, voxel_um: float) -> PillarFit:
    """Return the cylinder around the active material of a normalised volume.

    Particles that reach the side face, which is cut by FIB, end on one circle; the others end inside it. So the outline
    is where the shadow along z falls to one half, and points inside the circle are dropped in turn. Raises ValueError
    when there is no round outline.
    """
    body = largest_body(ndimage.binary_fill_holes(np.quantile(normalised, 0.9, axis=0) > 0.5))
    if not body.any():
        raise ValueError("volume: contains no active material, so no pillar can be fitted")
    row, column = ndimage.center_of_mass(body)
    reach = np.arange(0, min(body.shape) * 0.75, 0.25)
    rays, _, _, phi = sample_rays(normalised.max(axis=0) * body, (row, column), reach, OUTLINE_BINS, "constant")
    outer = np.array([_last_crossing(line, reach, 0.5) for line in rays])
    points = np.column_stack([column + np.cos(phi) * outer, row + np.sin(phi) * outer])[np.isfinite(outer)]
    if len(points) < OUTLINE_BINS // 2:
        raise ValueError("volume: the active material has no closed outline, so no pillar can be fitted")
    # voxels: a particle that ends inside the face lies further in than its roughness
    outline, _ = fit_outline(points, 0.5, lambda distance: (distance > -0.75) & (distance < 2), least=13, rounds=8)
    radius_um = outline.radius * voxel_um
    if radius_um < LEAST_RADIUS_UM:
        raise ValueError(f"volume: the outline has a radius of {radius_um:.2f} um, which is too small for a pillar")
    centre = voxel_to_um(np.array([0.0, outline.v, outline.u]), normalised.shape, voxel_um)
    return PillarFit((float(centre[0]), float(centre[1])), radius_um, _top_um(normalised, outline, voxel_um))


def _last_crossing(line: NDArray[np.float64], reach: NDArray[np.float64], level: float) -> float:
    above = np.flatnonzero(line >= level)
    if not above.size or above[-1] + 1 >= line.size:
        return float("nan")
    n = above[-1]
    return float(reach[n] + (line[n] - level) / (line[n] - line[n + 1]) * (reach[n + 1] - reach[n]))


def _top_um(normalised: Volume, outline: Outline, voxel_um: float) -> float:
    """Return the height at which the share of active material inside the outline falls to half of its plateau."""
    yy, xx = np.indices(normalised.shape[1:])
    share = normalised[:, np.hypot(yy - outline.v, xx - outline.u) < outline.radius - 1].mean(axis=1)
    plateau = np.median(share[share > 0.5 * share.max()])
    index = _last_crossing(share, np.arange(share.size, dtype=float), 0.5 * plateau)
    z = coordinates_um(normalised.shape, voxel_um)[0]
    return float(z[-1] + voxel_um / 2) if np.isnan(index) else float(z[0] + index * voxel_um)


def label_particles(
    active: NDArray[np.bool_], voxel_um: float, settings: SegmentSettings = SegmentSettings()
) -> NDArray[np.int32]:
    """Label particles by a watershed on the distance to the surface, after closed holes and slits are filled."""
    fine, (coarse, size_um) = active, gather(active.astype(np.float32), voxel_um, PARTICLE_VOXEL_UM)
    active, step = coarse >= 0.5, round(size_um / voxel_um)
    voxel_um = size_um
    solid = fill_defects(active, voxel_um, settings)
    distance = ndimage.distance_transform_edt(solid, sampling=voxel_um).astype(np.float32)
    smooth = ndimage.gaussian_filter(distance, 1.0)
    spacing = max(1, round(settings.particle_spacing_um / 2 / voxel_um))
    peaks = feature.peak_local_max(smooth, min_distance=spacing, threshold_abs=2 * voxel_um, exclude_border=False)
    markers = np.zeros(active.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = segmentation.watershed(-smooth, markers, mask=solid)
    return _spread(merge_shallow(labels, smooth, peaks, settings.neck_um), fine.shape, step)


def _spread(labels: NDArray[np.int32], shape: tuple[int, ...], step: int) -> NDArray[np.int32]:
    """Return labels in voxels ``step`` times finer about the same middle."""
    for axis, n in enumerate(shape):
        place = (np.arange(n) - (n - 1) / 2) / step + (labels.shape[axis] - 1) / 2
        labels = labels.take(np.clip(np.rint(place).astype(int), 0, labels.shape[axis] - 1), axis=axis)
    return labels


def fill_defects(active: NDArray[np.bool_], voxel_um: float, settings: SegmentSettings) -> NDArray[np.bool_]:
    """Bridge thin slits of the active material (closing by a ball), and fill everything that it encloses.

    The volume's faces are open: a void that they cut is not enclosed.
    """
    steps = settings.closing_um / voxel_um
    pad = int(np.ceil(steps)) + 1
    void = np.pad(~active, pad, constant_values=True)
    grown = ndimage.distance_transform_edt(void) <= steps
    closed = ndimage.distance_transform_edt(grown) > steps
    inner = tuple(slice(pad, -pad) for _ in range(3))
    return np.asarray(ndimage.binary_fill_holes(closed[inner] | active))


def merge_shallow(
    labels: NDArray[np.int32], height: NDArray[np.float32], peaks: NDArray[np.intp], step: float
) -> NDArray[np.int32]:
    """Join basins of a watershed across shallow passes, and number the basins again.

    A pass is the greatest height on the common face of two basins; it is shallow when it lies less than ``step`` below
    the lower of their peaks (n, 3), which have the labels 1 to n.
    """
    count = len(peaks)
    if count < 2:
        return labels
    keys, depth = [], []
    for axis in range(3):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        face = (labels[low] != labels[high]) & (labels[low] > 0) & (labels[high] > 0)
        a, b = labels[low][face], labels[high][face]
        keys.append(np.minimum(a, b).astype(np.int64) * (count + 1) + np.maximum(a, b))
        depth.append(np.minimum(height[low][face], height[high][face]))
    key, where = np.unique(np.concatenate(keys), return_inverse=True)
    passes = np.full(len(key), -np.inf)
    np.maximum.at(passes, where, np.concatenate(depth))
    core = np.concatenate([[0.0], height[tuple(peaks.T)]])
    parent = np.arange(count + 1)

    def root(n: int) -> int:
        while parent[n] != n:
            n = parent[n]
        return n

    for n in np.argsort(-passes):
        a, b = (root(int(m)) for m in divmod(int(key[n]), count + 1))
        if a != b and min(core[a], core[b]) - passes[n] < step:
            low_core, high_core = sorted((a, b), key=lambda m: core[m])
            parent[low_core] = high_core
    roots = np.array([root(n) for n in range(count + 1)])
    _, renumbered = np.unique(roots, return_inverse=True)
    return renumbered[labels].astype(np.int32)


def segment(volume: Volume, voxel_um: float, settings: SegmentSettings = SegmentSettings()) -> Segmentation:
    """Divide a reconstructed volume (z, y, x) in 1/um into active material and the rest, and into particles.

    Voxels finer than ``least_voxel_um`` are averaged first: the result has its own shape and voxel, and the volume's
    middle. Raises ValueError when the volume has no contrast between the two.
    """
    gathered, voxel_um = gather(check_volume(volume, voxel_um), voxel_um, settings.least_voxel_um)
    flat, level, core = _flatten(gathered, voxel_um, settings)
    active = flat > filters.threshold_otsu(np.clip(flat, -0.5, 1.5))
    pillar = fit_pillar(flat, voxel_um)
    active &= inside_pillar(active.shape, voxel_um, pillar)
    noise = float(1.4826 * np.median(np.abs(flat[core] - np.median(flat[core]))))
    return Segmentation(flat, active, label_particles(active, voxel_um, settings), pillar, level, noise, voxel_um)


def normalise(volume: Volume, voxel_um: float, settings: SegmentSettings = SegmentSettings()) -> Volume:
    """Return the volume denoised and normalised, without cupping: 0 void or binder, 1 active material.

    Raises ValueError when the volume has no contrast between the two.
    """
    return _flatten(check_volume(volume, voxel_um), voxel_um, settings)[0]


def _flatten(raw: Volume, voxel_um: float, settings: SegmentSettings) -> tuple[Volume, float, NDArray[np.bool_]]:
    """Return the normalised volume, the level of active material at the axis in 1/um, and voxels surely active."""
    smooth = ndimage.gaussian_filter(raw, settings.denoise_um / voxel_um)
    if np.ptp(smooth) <= 0:
        raise ValueError(f"volume: every voxel is {raw.flat[0]:.4g} 1/um, so there is nothing to segment")
    first = smooth > filters.threshold_otsu(smooth)
    if _separation(smooth, first) < LEAST_SEPARATION:
        raise ValueError("volume: no contrast between active material and void; is the reconstruction empty or failed?")
    core = ndimage.binary_erosion(first)
    if not core.any():
        core = first
    flat, level = flatten_cupping(smooth, core, CUPPING_ORDER)
    return flat, level, core


def _separation(values: Volume, mask: NDArray[np.bool_]) -> float:
    """Return the distance of the class means over their pooled spread; a Gaussian cut at its mean gives 1.6 / 0.6."""
    high, low = values[mask], values[~mask]
    return float((high.mean() - low.mean()) / np.sqrt(0.5 * (high.var() + low.var())))


def inside_pillar(
    shape: tuple[int, ...], voxel_um: float, pillar: PillarFit, grow_um: float = 0.0
) -> NDArray[np.bool_]:
    """Return the voxels (z, y, x) within the cylinder, ``grow_um`` wider and higher."""
    z, y, x = coordinates_um((shape[0], shape[1], shape[2]), voxel_um)
    disc = np.hypot(x[None, :] - pillar.centre_um[0], y[:, None] - pillar.centre_um[1]) <= pillar.radius_um + grow_um
    return disc[None] & (z <= pillar.top_z_um + grow_um)[:, None, None]

"""Registration of a second volume of the same specimen in 3D: shift, rotation and scale.

The specimen frame of a reconstruction has its origin on the axis of the round pillar; its height, angle and scale
depend on drift and on the start of the run. The second volume may show the materials with another contrast, so each
particle has its own factor: least squares of c(A x + t) - f_particle w(x) over shift, rotation and scale, with the
factors projected out (variable projection, G. H. Golub, V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from skimage.registration import phase_cross_correlation
from skimage.segmentation import expand_labels

from xrm_sims.correlate.volume.segment import (
    Segmentation,
    Volume,
    gather,
    inside_pillar,
    um_to_voxel,
    voxel_to_um,
)
from xrm_sims.settings.section import Length, Positive, Section, Share

Array = NDArray[np.float64]


COARSE_UM = (0.5, 2.0)  # sigma of the Gaussians between which the coarse shift is found: the size of particles
BLURS_UM = (1.0, 0.5, 0.25)  # of the fit, from coarse to fine
SPACING_UM = 0.4  # of the points of the fit: the blur leaves nothing finer
RIM_UM = 0.6  # around a particle that the fit compares
BLOCK_UM = 4.0  # noise and misfit of two blocks are independent
TOLERANCE_UM = 1e-3
MAX_ITERATIONS = 20  # at each blur
SYSTEMATIC_UM = 0.03  # uncertainty of both geometries, added in quadrature
LARGEST_DISAGREEMENT = 3.0  # of the halves, in units of the stated uncertainty
COARSE_AGREEMENT_UM = 0.6  # of the fit with the coarse shift, which has no rotation


class VolumeFitSettings(Section):
    """Section ``[volumes]``: ranges within which a second volume may lie, and when to refuse."""

    shift_range_um: Length = 1.5
    height_range_um: Length = 4.0
    rotation_range_deg: Positive = 2.0
    scale_range: Positive = 0.02
    least_correlation: Share = 0.75


@dataclass(frozen=True, eq=False)
class VolumeFit:
    """Place of a second volume in the frame of the first.

    matrix : 3 x 4 affine from (x, y, z) in the frame of the first to the frame of the second, both in um.
    rotation_deg : about x, y and z; scale : lengths in the second over lengths in the first.
    sigma_nm : standard uncertainty, rms displacement over the specimen; residual_nm : half of the rms distance of two
    fits to separate halves of the blocks, which estimates the error of the whole fit.
    coarse_um : rms distance of the fit from the coarse shift by correlation, which has no rotation.
    correlation : of the second volume with the fitted model.
    """

    matrix: Array
    rotation_deg: tuple[float, float, float]
    scale: float
    sigma_nm: float
    residual_nm: float
    coarse_um: float
    correlation: float

    @property
    def shift_um(self) -> tuple[float, float, float]:
        x, y, z = self.matrix[:, 3].tolist()
        return x, y, z

    def as_dict(self) -> dict[str, object]:
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}

    def __str__(self) -> str:
        x, y, z = (1e3 * s for s in self.shift_um)
        turned = ", ".join(f"{angle:+.3f}" for angle in self.rotation_deg)
        return (
            f"shift {x:+.0f}, {y:+.0f}, {z:+.0f} nm, rotation {turned} deg about x, y, z, scale {self.scale:.5f}; "
            f"known to {self.sigma_nm:.0f} nm (halves: {self.residual_nm:.0f} nm), correlation {self.correlation:.3f}"
        )


@dataclass(frozen=True, eq=False)
class _Points:
    """Points of the comparison: places (n, 3) in um, and value of the first volume, particle and block of each."""

    place_um: Array
    value: Array
    particle: NDArray[np.int64]
    block: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> _Points:
        return _Points(self.place_um[chosen], self.value[chosen], self.particle[chosen], self.block[chosen])


@dataclass(frozen=True, eq=False)
class _Normal:
    """Normal equations at the points inside the second volume: Jacobian (n, 7) and residual (n,) with the factors
    projected out, values (n,) of the second volume and blocks."""

    jacobian: Array
    residual: Array
    value: Array
    block: NDArray[np.int64]

    @property
    def hessian(self) -> Array:
        return self.jacobian.T @ self.jacobian

    def step(self) -> Array:
        return np.asarray(-np.linalg.solve(self.hessian, self.jacobian.T @ self.residual), float)

    def covariance(self) -> Array:
        """Return the covariance of the seven parameters from the scatter of the blocks' scores (sandwich)."""
        blocks, of = np.unique(self.block, return_inverse=True)
        score = np.zeros((len(blocks), 7))
        np.add.at(score, of, self.jacobian * self.residual[:, None])
        bread = np.linalg.inv(self.hessian)
        return np.asarray(bread @ (score.T @ score) @ bread * len(blocks) / max(len(blocks) - 1, 1))


def register_volume(
    first: Segmentation, second: Volume, voxel_um: float, settings: VolumeFitSettings = VolumeFitSettings()
) -> VolumeFit:
    """Find the similarity from the frame of a segmented volume to that of another volume of the same specimen.

    Parameters
    ----------
    first : particles and attenuation of the first volume.
    second : (z, y, x) attenuation in 1/um, with any contrast between materials, in voxels of ``voxel_um``.

    Raises
    ------
    ValueError when the volumes do not resemble each other, the best place is outside the search ranges, or two
    independent estimates disagree beyond the uncertainty.
    """
    image, voxel_um = gather(second, voxel_um, first.voxel_um)
    if not np.isclose(voxel_um, first.voxel_um):
        raise ValueError(
            f"volumes: one has voxels of {first.voxel_um:g} um and the other of {voxel_um:g} um; reconstruct both with "
            "the same --voxel-um"
        )
    matrix = np.eye(3, 4)
    matrix[:, 3] = _coarse_shift(first, image, voxel_um, settings)
    start, chosen = matrix.copy(), _lattice(first)
    for blur_um in BLURS_UM:
        points, blurred = _points(first, chosen, blur_um), _Image(image, voxel_um, blur_um)
        matrix, normal = _fit(matrix, points, blurred)
    corners = points.place_um[:: max(1, len(points.value) // 2000)]
    sigma_um = float(np.hypot(_rms_displacement_um(normal.covariance(), corners), SYSTEMATIC_UM))
    halves = [_fit(matrix, points.only(_half(points) == half), blurred)[0] for half in (0, 1)]
    # two halves have twice the variance each, so they differ by twice the error of the whole
    residual_um = 0.5 * _rms_distance_um(halves[0], halves[1], corners)
    scale = float(np.cbrt(np.linalg.det(matrix[:, :3])))
    x, y, z = np.degrees(Rotation.from_matrix(matrix[:, :3] / scale).as_rotvec()).tolist()
    correlation = float(np.corrcoef(normal.value, normal.value - normal.residual)[0, 1])
    coarse_um = _rms_distance_um(matrix, start, corners)
    fit = VolumeFit(matrix, (x, y, z), scale, 1e3 * sigma_um, 1e3 * residual_um, coarse_um, correlation)
    _check_fit(fit, settings)
    return fit


def seen_by_both(
    first: Segmentation, fit: VolumeFit, second_shape: tuple[int, ...], voxel_um: float
) -> NDArray[np.bool_]:
    """Return the voxels (z, y, x) of the segmentation inside the second volume, which has voxels of ``voxel_um``."""
    shape, half_um = first.active.shape, 0.5 * (np.array(second_shape[::-1]) - 1) * voxel_um
    seen = np.empty(shape, bool)
    rows, columns = np.indices(shape[1:])
    for k in range(shape[0]):
        index = np.column_stack([np.full(rows.size, float(k)), rows.ravel(), columns.ravel()])
        place_um = _transform(fit.matrix, voxel_to_um(index, shape, first.voxel_um))
        seen[k] = (np.abs(place_um) <= half_um).all(axis=1).reshape(shape[1:])
    return seen


def _coarse_shift(first: Segmentation, image: Volume, voxel_um: float, settings: VolumeFitSettings) -> Array:
    """Return the shift (x, y, z) in um from the first volume to the second: the peak of their cross-correlation."""
    fine, wide = COARSE_UM
    reach = np.ceil(np.array([settings.height_range_um, settings.shift_range_um, settings.shift_range_um]) / voxel_um)
    shape = np.maximum(first.active.shape, image.shape) + reach.astype(int)

    def band_pass(volume: Volume) -> Volume:
        """Return a band-pass of the volume, padded because the correlation is cyclic."""
        band = ndimage.gaussian_filter(volume, fine / voxel_um) - ndimage.gaussian_filter(volume, wide / voxel_um)
        return np.pad(band, [((n - m) // 2, n - m - (n - m) // 2) for n, m in zip(shape, volume.shape, strict=True)])

    shift, _, _ = phase_cross_correlation(
        band_pass(image), band_pass(first.normalised), normalization=None, upsample_factor=4
    )
    return np.asarray(shift, float)[::-1] * voxel_um


def _lattice(first: Segmentation) -> NDArray[np.bool_]:
    """Return the voxels that are compared: a lattice inside the pillar."""
    step = max(1, round(SPACING_UM / first.voxel_um))
    lattice = np.zeros(first.active.shape, bool)
    lattice[step // 2 :: step, step // 2 :: step, step // 2 :: step] = True
    return lattice & inside_pillar(first.active.shape, first.voxel_um, first.pillar, RIM_UM)


def _points(first: Segmentation, chosen: NDArray[np.bool_], blur_um: float) -> _Points:
    value = ndimage.gaussian_filter(first.normalised, blur_um / first.voxel_um)[chosen]
    particle = expand_labels(first.particles, distance=RIM_UM / first.voxel_um)[chosen]
    place = voxel_to_um(np.argwhere(chosen).astype(float), chosen.shape, first.voxel_um)
    cell = np.floor(place / BLOCK_UM).astype(np.int64)
    cell -= cell.min(axis=0)
    wide = cell.max(axis=0) + 1
    block = np.asarray(np.ravel_multi_index(tuple(cell.T), tuple(wide)), np.int64)
    return _Points(place, value.astype(float), particle.astype(np.int64), block)


def _half(points: _Points) -> NDArray[np.int64]:
    """Return the half (0 or 1) of each point's block, at random but the same each time."""
    coin = np.random.default_rng(0).integers(0, 2, int(points.block.max()) + 1)
    return np.asarray(coin[points.block])


class _Image:
    """A blurred volume with its gradient, interpolated linearly."""

    def __init__(self, volume: Volume, voxel_um: float, blur_um: float) -> None:
        self.voxel_um = voxel_um
        self.volume = ndimage.gaussian_filter(volume, blur_um / voxel_um)
        self.slopes = [slope / voxel_um for slope in np.gradient(self.volume)][::-1]

    def at(self, place_um: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return values (n,) and gradients (n, 3) along x, y, z at the places inside, and a mask of these places."""
        index = um_to_voxel(place_um, self.volume.shape, self.voxel_um)
        inside = np.all((index >= 0) & (index <= np.array(self.volume.shape) - 1), axis=1)
        at = index[inside].T
        value, *slopes = (ndimage.map_coordinates(each, at, order=1) for each in (self.volume, *self.slopes))
        return value.astype(float), np.column_stack(slopes).astype(float), inside


def _fit(matrix: Array, points: _Points, image: _Image) -> tuple[Array, _Normal]:
    """Take Gauss-Newton steps until they move the points by less than the tolerance."""
    some = points.place_um[:: max(1, len(points.value) // 500)]
    for _ in range(MAX_ITERATIONS):
        normal = _normal(matrix, points, image)
        before, matrix = matrix, _stepped(matrix, normal.step())
        if _rms_distance_um(before, matrix, some) < TOLERANCE_UM:
            break
    return matrix, _normal(matrix, points, image)


def _normal(matrix: Array, points: _Points, image: _Image) -> _Normal:
    value, slope, inside = image.at(_transform(matrix, points.place_um))
    if np.count_nonzero(inside) < 100:
        raise ValueError("volumes: overlap too little; do both show the same specimen at the same height?")
    here = points.only(inside)
    arm = here.place_um @ matrix[:, :3].T
    jacobian = np.column_stack([slope, np.cross(arm, slope), (arm * slope).sum(axis=1)])
    count = int(here.particle.max()) + 1
    square = np.maximum(np.bincount(here.particle, here.value**2, count), 1e-12)

    def without_factors(column: Array) -> Array:
        factor = np.bincount(here.particle, here.value * column, count) / square
        return np.asarray(column - factor[here.particle] * here.value)

    projected = np.column_stack([without_factors(column) for column in jacobian.T])
    return _Normal(projected, without_factors(value), value, here.block)


def _transform(matrix: Array, place_um: Array) -> Array:
    return np.asarray(place_um @ matrix[:, :3].T + matrix[:, 3])


def _stepped(matrix: Array, step: Array) -> Array:
    turn = np.exp(step[6]) * Rotation.from_rotvec(step[3:6]).as_matrix()
    return np.column_stack([turn @ matrix[:, :3], matrix[:, 3] + step[:3]])


def _rms_distance_um(one: Array, other: Array, place_um: Array) -> float:
    """Return the rms distance of two affines over places (n, 3)."""
    return float(np.sqrt(((_transform(one, place_um) - _transform(other, place_um)) ** 2).sum(axis=1).mean()))


def _rms_displacement_um(covariance: Array, place_um: Array) -> float:
    """Return the rms displacement over places (n, 3) that follows from the covariance of the parameters."""
    x, y, z = place_um.T
    no, one = np.zeros_like(x), np.ones_like(x)
    moved = np.array([[one, no, no, no, z, -y, x], [no, one, no, -z, no, x, y], [no, no, one, y, -x, no, z]])
    return float(np.sqrt(np.einsum("ipn,pq,iqn->n", moved, covariance, moved).mean()))


def _check_fit(fit: VolumeFit, settings: VolumeFitSettings) -> None:
    """Raise ValueError when the fit cannot be trusted."""
    if fit.correlation < settings.least_correlation:
        raise ValueError(
            f"volumes: resemble each other too little (correlation {fit.correlation:.2f}, needs "
            f"{settings.least_correlation:.2f}); do both runs show the same specimen?"
        )
    x, y, z = fit.shift_um
    ranges = {
        "shifted": (float(np.hypot(x, y)), settings.shift_range_um, "um"),
        "raised": (abs(z), settings.height_range_um, "um"),
        "turned": (float(np.linalg.norm(fit.rotation_deg)), settings.rotation_range_deg, "deg"),
        "scaled": (abs(fit.scale - 1), settings.scale_range, ""),
    }
    for how, (found, most, unit) in ranges.items():
        if found > most:
            raise ValueError(
                f"volumes: the second would have to be {how} by {found:.3g} {unit}, beyond the search range of "
                f"{most:g} {unit}; was the specimen moved between the runs?"
            )
    if fit.residual_nm > LARGEST_DISAGREEMENT * fit.sigma_nm:
        raise ValueError(
            f"volumes: two halves of the specimen place the second volume {2 * fit.residual_nm:.0f} nm apart, but the "
            f"uncertainty is {fit.sigma_nm:.0f} nm; look at both reconstructions"
        )
    if fit.coarse_um > COARSE_AGREEMENT_UM:
        raise ValueError(
            f"volumes: correlation and least squares place the second volume {fit.coarse_um:.2f} um apart, needs "
            f"{COARSE_AGREEMENT_UM:g} um; look at both reconstructions"
        )

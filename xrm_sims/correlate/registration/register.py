"""Registration of a SIMS raster, or an image of its plane, to a CT volume: affine, height and their uncertainties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.feature import match_template, peak_local_max

from xrm_sims.correlate.registration.active_material import ActiveStack, active_stack, chain, pixel_to_scan
from xrm_sims.correlate.registration.affine_fit import FitResult, deform, fit_affine
from xrm_sims.correlate.registration.mutual_information import TILES, PixelSample, find_height, refine, sample_pixels
from xrm_sims.correlate.volume.segment import SegmentSettings, Volume, normalise
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster
from xrm_sims.settings.section import Length, Positive, Section, Share

Array = NDArray[np.float64]

ROTATION_STEP_DEG = 1.0  # of the coarse search: at the rim of a 16 um field half a step is the coarse blur of the map
HEIGHT_STEP_UM = 0.2  # of the coarse search: the blur of the CT along z
COARSE_BLUR_UM = 0.4
MAX_CANDIDATES = 4  # coarse places that are fitted
MAX_ROUNDS = 2  # of height, then affine
LEAST_LEAD = 0.02  # correlation of the best place over that of the next
NEXT_PLACE_UM = 1.0  # a fit further from the best one is another place
# Scale and stretch beyond so many of the larger prior standard deviation are refused: the prior then keeps the fit too
# close to the first guess, and the error exceeds the stated uncertainty (tests/correlate/test_register.py).
LARGEST_DEFORMATION = 10.0
SYSTEMATIC_UM = 0.05  # uncertainty of CT geometry and resampling, added in quadrature
WIDE_PRIOR = 30.0  # factor on the prior of scale and stretch, with which the data alone decide


class RegisterSettings(Section):
    """Section ``[registration]``: ranges about the first guess, standard deviations of its errors, when to refuse.

    The defaults are those of a first guess from the pillar's outline.
    """

    offset_range_um: Length = 1.5
    unaligned_offset_range_um: Length = 6.0  # where there is no first guess
    rotation_range_deg: Positive = 2.5
    height_range_um: Length = 0.6
    milled_height_range_um: Length = 1.0  # after milling: the binder, which CT does not show, changes the depth
    prior_offset_um: Length = 1.0
    prior_rotation_deg: Positive = 1.0
    prior_scale: Positive = 0.002
    prior_stretch: Positive = 0.001
    least_correlation: Share = 0.5
    largest_sigma_um: Length = 0.5

    @property
    def prior_sigma(self) -> Array:
        """(6,) standard deviations of ``theta``, as in ``FitResult``."""
        offset, stretch, turn = self.prior_offset_um, self.prior_stretch, np.radians(self.prior_rotation_deg)
        return np.array([offset, offset, turn, self.prior_scale, stretch, stretch])

    def unaligned(self) -> RegisterSettings:
        """Return the settings without a first guess: a mode change leaves offset, scale (1 %), shear (0.5 deg) open."""
        wider = {"prior_offset_um": 5.0, "prior_scale": 0.01, "prior_stretch": 0.0044}
        wider = {name: max(value, getattr(self, name)) for name, value in wider.items()}
        return self.model_copy(update={"offset_range_um": self.unaligned_offset_range_um, **wider})

    def after_milling(self) -> RegisterSettings:
        """Return the settings for a plane whose height is known by its dose alone."""
        return self.model_copy(update={"height_range_um": self.milled_height_range_um})


@dataclass(frozen=True, eq=False)
class Registration:
    """Place of a SIMS raster in the specimen.

    ``sims_to_specimen`` : 2 x 3 affine from pixel (column, row) to specimen (x, y) in um.
    ``scan_to_specimen`` : 2 x 3 affine from scan (u, v) in um to specimen (x, y) in um.
    ``exposed_z_um`` and ``sigma_z_um`` : height of the exposed plane.
    ``sigma_nm`` : standard uncertainty, rms displacement over the field's four corners.
    ``residual_nm`` : rms distance at the corners of two registrations from separate halves of the field, reduced to the
    whole field.
    ``score`` : correlation of the map with the fitted CT image; ``lead`` : its distance to the next other place.
    """

    sims_to_specimen: Array
    scan_to_specimen: Array
    exposed_z_um: float
    sigma_z_um: float
    sigma_nm: float
    residual_nm: float
    score: float
    lead: float
    rotation_deg: float
    scale: float

    def as_dict(self) -> dict[str, object]:
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """Return the registration that :meth:`as_dict` gave; other keys of the table are ignored."""
        fields: dict[str, Any] = {name: table[name] for name in cls.__dataclass_fields__}
        fields |= {name: np.array(value) for name, value in fields.items() if isinstance(value, list)}
        return cls(**fields)


class DeformationError(ValueError):
    """A map that is scaled or stretched far beyond its prior, with the affine and the correlation of its fit."""

    def __init__(self, message: str, fit: FitResult) -> None:
        super().__init__(message)
        self.affine, self.score = fit.affine, fit.correlation


def combine(one: Registration, other: Registration, raster: Raster) -> tuple[Registration, float]:
    """Combine two registrations of one scan frame by independent images, for a raster.

    Returns their mean, weighted by the variances, and their rms distance at the raster's corners in nm. The uncertainty
    of the mean is the better of the two, and at least half of their distance. Raises ValueError when the distance
    exceeds three times the combined uncertainty.
    """
    corners = np.array(raster.centre_um) + 0.5 * np.array(raster.size_um) * [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    distance_nm = 1e3 * _rms_distance_um(one.scan_to_specimen, other.scan_to_specimen, corners)
    if distance_nm > (allowed_nm := 3 * float(np.hypot(one.sigma_nm, other.sigma_nm))):
        raise ValueError(
            f"registration: two images of the same plane are placed {distance_nm:.0f} nm apart, their uncertainties "
            f"allow {allowed_nm:.0f} nm; one of them is wrong, so neither is used"
        )
    weight = other.sigma_nm**2 / (one.sigma_nm**2 + other.sigma_nm**2)
    affine = weight * one.scan_to_specimen + (1 - weight) * other.scan_to_specimen
    sigma_nm = max(min(one.sigma_nm, other.sigma_nm), 0.5 * distance_nm)
    to_specimen = chain(affine, pixel_to_scan(raster))
    return replace(one, scan_to_specimen=affine, sims_to_specimen=to_specimen, sigma_nm=sigma_nm), distance_nm


def register_to_ct(
    image: Array,
    ct_volume: Volume,
    voxel_um: float,
    raster: Raster,
    exposed_z_um: float,
    initial: ArrayLike | None = None,
    settings: RegisterSettings | None = None,
    segmentation: SegmentSettings = SegmentSettings(),
) -> Registration:
    """Find the affine that maps a raster to the CT volume, and the height of its plane.

    Parameters
    ----------
    image : (row, column) active material, 0 to about 1, from :mod:`.active_material`.
    ct_volume : (z, y, x) attenuation in 1/um.
    raster : the field of the image (scan coordinates).
    exposed_z_um : first guess of the milled plane in the specimen frame.
    initial : first scan → specimen affine (2 x 3, um), from ``pillar_outline.pillar_affine``; default: identity.
    settings : default: those of an aligned pillar with ``initial``, ``RegisterSettings().unaligned()`` without.
    segmentation : how the volume is denoised.

    Raises
    ------
    ValueError when the raster is blank, the plane is outside the volume, the optimum is on the edge of the search or
    far outside the prior, the correlation is too low, another place fits as well, or two halves of the field disagree
    beyond the largest uncertainty.
    """
    if settings is None:
        settings = RegisterSettings().unaligned() if initial is None else RegisterSettings()
    if image.shape != tuple(raster.shape):
        raise ValueError(f"image: has {image.shape} pixels, the raster has {tuple(raster.shape)}")
    start = np.eye(2, 3) if initial is None else np.asarray(initial, dtype=float)
    if start.shape != (2, 3) or not np.isfinite(start).all():
        raise ValueError(f"initial: needs a finite 2 x 3 affine, got shape {start.shape}")
    normalised = normalise(ct_volume, voxel_um, segmentation)
    to_scan = pixel_to_scan(raster)
    middle = apply_affine(start, np.array([raster.centre_um]))[0]
    reach_um = 0.75 * raster.fov_um + settings.offset_range_um + 1.0
    heights = (exposed_z_um - settings.height_range_um, exposed_z_um + settings.height_range_um)
    stack = active_stack(normalised, voxel_um, heights, middle, reach_um)
    scene = _Scene(image, raster, to_scan, stack, start, heights, sample_pixels(image, to_scan), settings)

    fits = [_fit(scene, theta, z_um) for theta, z_um in _coarse_places(scene, exposed_z_um)]
    fits.sort(key=lambda entry: entry[0].correlation, reverse=True)
    (fit, z_um), *rest = fits
    others = [f.correlation for f, _ in rest if np.hypot(*(f.theta[:2] - fit.theta[:2])) > NEXT_PLACE_UM]
    lead = fit.correlation - max(others, default=0.0)
    _check_fit(fit, z_um - exposed_z_um, lead, settings)
    _check_deformation(scene, fit, z_um)
    theta, z_um = refine(scene.sample, stack, start, fit.theta, z_um, settings.prior_sigma)
    affine = scene.affine(theta)
    sigma_z_um = find_height(scene.sample, stack, affine, heights)[1]
    residual_um = _half_field_residual_um(scene, theta, z_um)
    sigma_um = float(np.hypot(residual_um, SYSTEMATIC_UM))
    if sigma_um > settings.largest_sigma_um:
        raise ValueError(
            f"registration: uncertain by {sigma_um * 1e3:.0f} nm at the field's corners, more than "
            f"{settings.largest_sigma_um * 1e3:.0f} nm; take a larger field or more counts"
        )
    return Registration(
        sims_to_specimen=chain(affine, to_scan),
        scan_to_specimen=affine,
        exposed_z_um=z_um,
        sigma_z_um=sigma_z_um,
        sigma_nm=sigma_um * 1e3,
        residual_nm=residual_um * 1e3,
        score=fit.correlation,
        lead=float(lead),
        rotation_deg=float(np.degrees(np.arctan2(affine[1, 0] - affine[0, 1], np.trace(affine[:, :2])))),
        scale=float(np.sqrt(abs(np.linalg.det(affine[:, :2])))),
    )


@dataclass(frozen=True, eq=False)
class _Scene:
    """A map with its raster and pixel → scan affine, the CT slices around it, and the first guess of its place."""

    image: Array
    raster: Raster
    to_scan: Array
    stack: ActiveStack
    start: Array
    heights_um: tuple[float, float]
    sample: PixelSample
    settings: RegisterSettings

    def affine(self, theta: Array) -> Array:
        return deform(self.start, self.sample.centre_um, theta)


def _fit(scene: _Scene, theta: Array, z_um: float) -> tuple[FitResult, float]:
    """Fit affine and height in turn, from a coarse place."""
    fixed, prior_sigma = (scene.image, scene.to_scan, scene.stack, scene.start), scene.settings.prior_sigma
    fit = fit_affine(*fixed, z_um, prior_sigma, theta)
    for _ in range(MAX_ROUNDS):
        z_um, _ = find_height(scene.sample, scene.stack, fit.affine, scene.heights_um)
        fit = fit_affine(*fixed, z_um, prior_sigma, fit.theta)
    return fit, z_um


def _coarse_places(scene: _Scene, z_um: float) -> list[tuple[Array, float]]:
    """Return the best starts (theta, height) by normalised cross-correlation over offsets, rotations and heights."""
    raster, stack, settings = scene.raster, scene.stack, scene.settings
    voxel, pixel, (rows, columns) = stack.voxel_um, raster.pixel_um, raster.shape
    smooth = ndimage.gaussian_filter(scene.image, COARSE_BLUR_UM / pixel)
    turns_deg = np.arange(-settings.rotation_range_deg, settings.rotation_range_deg + 1e-9, ROTATION_STEP_DEG)
    lifts_um = np.arange(-settings.height_range_um, settings.height_range_um + 1e-9, HEIGHT_STEP_UM)
    planes = [stack.blurred_plane(z_um + lift, COARSE_BLUR_UM) for lift in lifts_um]
    # The template has the grid of the CT's voxels, so the place of a peak is the offset itself.
    half_um = 0.5 * min(rows, columns) * pixel * 0.96
    count = int(2 * half_um / voxel)
    axis = (np.arange(count) - (count - 1) / 2) * voxel
    gx, gy = np.meshgrid(axis, axis)
    middle = apply_affine(scene.start, np.array([raster.centre_um]))[0]
    found: list[tuple[float, Array, float]] = []
    for turn in np.radians(turns_deg):
        affine = deform(scene.start, np.array(raster.centre_um), np.array([0.0, 0.0, turn, 0.0, 0.0, 0.0]))
        uv = np.column_stack([gx.ravel(), gy.ravel()]) @ np.linalg.inv(affine[:, :2]).T
        at = np.stack([uv[:, 1] / pixel + (rows - 1) / 2, uv[:, 0] / pixel + (columns - 1) / 2])
        template = ndimage.map_coordinates(smooth, at, order=1, mode="nearest").reshape(gx.shape)
        for lift, plane in zip(lifts_um, planes, strict=True):
            if min(plane.shape) < count:
                raise ValueError("initial: the field reaches beyond the CT volume; is the first alignment right?")
            score = match_template(plane.astype(float), template)
            offset_x, offset_y = (
                stack.origin_um[n] + (np.arange(score.shape[1 - n]) + (count - 1) / 2) * voxel - middle[n]
                for n in (0, 1)
            )
            score[np.abs(offset_y) > settings.offset_range_um + voxel] = -1
            score[:, np.abs(offset_x) > settings.offset_range_um + voxel] = -1
            for r, c in peak_local_max(score, min_distance=3, threshold_abs=0.0, num_peaks=3, exclude_border=False):
                place = np.array([offset_x[c], offset_y[r], turn, 0.0, 0.0, 0.0])
                found.append((float(score[r, c]), place, z_um + float(lift)))
    found.sort(key=lambda item: -item[0])
    kept: list[tuple[Array, float]] = []
    for _, theta, height in found:
        if len(kept) < MAX_CANDIDATES and all(np.hypot(*(theta[:2] - k[:2])) > 0.8 for k, _ in kept):
            kept.append((theta, height))
    if not kept:
        raise ValueError("registration: the map resembles the CT volume nowhere within the search range")
    return kept


def _check_fit(best: FitResult, lift_um: float, lead: float, settings: RegisterSettings) -> None:
    """Raise ValueError when the optimum cannot be trusted."""
    if best.correlation < settings.least_correlation:
        raise ValueError(
            f"registration: the map resembles the CT slice too little (correlation {best.correlation:.2f}, needs "
            f"{settings.least_correlation:.2f}); wrong specimen, wrong depth or a wrong first alignment"
        )
    if lead < LEAST_LEAD:
        raise ValueError(
            f"registration: another place fits almost as well (correlation {best.correlation:.2f}, "
            f"{lead:.3f} ahead); take a larger field or a better first alignment"
        )
    offset_um, turned_deg = float(np.abs(best.theta[:2]).max()), float(np.degrees(best.theta[2]))
    for what, value, largest, unit, margin, advice in (
        ("place", offset_um, settings.offset_range_um, "um", 0.0, "widen offset_range_um or align on the pillar first"),
        ("rotation", turned_deg, settings.rotation_range_deg, "deg", 0.0, "widen rotation_range_deg"),
        ("height", lift_um, settings.height_range_um, "um", 0.02, "is the milled depth known?"),
    ):
        if abs(value) > largest - margin:
            raise ValueError(
                f"registration: the best {what} is {value:+.2f} {unit} from the first guess, on the edge of the search "
                f"range of {largest:g} {unit}; {advice}"
            )
    if not best.converged:
        raise ValueError("registration: the fit did not converge; the map and the CT slice have too little in common")


def _check_deformation(scene: _Scene, fit: FitResult, z_um: float) -> None:
    """Raise DeformationError when the map is scaled or stretched far beyond the prior.

    The prior hides that from the fit itself, so it is estimated without: by least squares, which voids bias by up to
    1 %, and where that is suspicious by mutual information.
    """
    prior_sigma = scene.settings.prior_sigma
    largest = LARGEST_DEFORMATION * float(prior_sigma[3:].max())
    wide = np.concatenate([prior_sigma[:3], WIDE_PRIOR * prior_sigma[3:]])
    theta = fit_affine(scene.image, scene.to_scan, scene.stack, scene.start, z_um, wide, fit.theta).theta
    if np.abs(theta[3:]).max() > largest:
        theta, _ = refine(scene.sample, scene.stack, scene.start, theta, z_um, wide)
        if (deformation := float(np.abs(theta[3:]).max())) > largest:
            raise DeformationError(
                f"registration: the map is scaled or stretched by {deformation:.1%}, the first guess allows "
                f"{largest:.1%}; calibrate the scan, or raise prior_scale or prior_stretch in [registration]",
                fit,
            )


def _half_field_residual_um(scene: _Scene, theta: Array, z_um: float) -> float:
    """Return the corner distance of registrations by both colours of a chessboard, reduced to the whole field.

    The difference of independent halves has sqrt(2) x sqrt(2) times the error of the whole field.
    """
    board = np.indices((TILES, TILES)).sum(axis=0).ravel() % 2
    halves = [scene.sample.within(np.flatnonzero(board == colour)) for colour in (0, 1)]
    fits = [refine(half, scene.stack, scene.start, theta, z_um, scene.settings.prior_sigma)[0] for half in halves]
    rows, columns = scene.image.shape
    corners = apply_affine(scene.to_scan, [[0, 0], [columns - 1, 0], [0, rows - 1], [columns - 1, rows - 1]])
    return 0.5 * _rms_distance_um(scene.affine(fits[0]), scene.affine(fits[1]), corners)


def _rms_distance_um(one: Array, other: Array, points: Array) -> float:
    """Return the rms distance of two affines over points (n, 2)."""
    distance = apply_affine(one, points) - apply_affine(other, points)
    return float(np.sqrt((distance**2).sum(axis=1).mean()))

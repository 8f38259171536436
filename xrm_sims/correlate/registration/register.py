"""Where a SIMS raster lies in the CT volume: affine, height, and an honest word on how well both are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.feature import match_template, peak_local_max

from xrm_sims.correlate.registration.active_material import ActiveStack, active_stack, chain, pixel_to_scan
from xrm_sims.correlate.registration.affine_fit import GEOMETRY, FitResult, deform, fit_affine
from xrm_sims.correlate.registration.mutual_information import TILES, Asked, ask, find_height, refine
from xrm_sims.correlate.volume.segment import SegmentSettings, Volume, normalise
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster
from xrm_sims.settings.section import Length, Positive, Section, Share

ROTATION_STEP_DEG = 1.0  # of the coarse search: at the rim of a 16 um field half a step is the coarse blur of the map
HEIGHT_STEP_UM = 0.2  # of the coarse search: the blur of the CT along z
COARSE_BLUR_UM = 0.4
MAX_CANDIDATES = 4  # coarse places that are fitted
MAX_ROUNDS = 2  # of height, then affine
LEAST_LEAD = 0.02  # correlation of the best place over that of the next
SYSTEMATIC_UM = 0.05  # uncertainty of CT geometry and resampling, added in quadrature


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
    def prior_sigma(self) -> NDArray[np.float64]:
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
    """A SIMS raster placed in the specimen.

    ``sims_to_specimen`` : 2 x 3 affine from pixel (column, row) to specimen (x, y) in um.
    ``scan_to_specimen`` : 2 x 3 affine from scan (u, v) in um to specimen (x, y) in um.
    ``exposed_z_um`` and ``sigma_z_um`` : height of the exposed plane.
    ``sigma_nm`` : stated standard uncertainty, rms displacement over the field's four corners.
    ``residual_nm`` : how far two registrations from separate halves of the field disagree at the corners (rms), reduced
    to the whole field.
    ``score`` : correlation of the map with the fitted CT image; ``lead`` : its distance to the next other place.
    """

    sims_to_specimen: NDArray[np.float64]
    scan_to_specimen: NDArray[np.float64]
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
        """The inverse of :meth:`as_dict`; what else the table holds is left."""
        told: dict[str, Any] = {name: table[name] for name in cls.__dataclass_fields__}
        told |= {name: np.array(value) for name, value in told.items() if isinstance(value, list)}
        return cls(**told)


def together(one: Registration, other: Registration, raster: Raster) -> tuple[Registration, float]:
    """Two registrations of one scan frame, by independent images, as one for a raster; and how far they lie apart at
    its corners (rms, nm).

    The mean is weighted by the variances. It is held to be no better known than the better of the two, nor than half of
    what they lie apart. ValueError when that is beyond three times what both are uncertain by.
    """
    corners = np.array(raster.centre_um) + 0.5 * np.array(raster.size_um) * [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    apart = apply_affine(one.scan_to_specimen, corners) - apply_affine(other.scan_to_specimen, corners)
    apart_nm = 1e3 * float(np.sqrt((apart**2).sum(axis=1).mean()))
    if apart_nm > (allowed_nm := 3 * float(np.hypot(one.sigma_nm, other.sigma_nm))):
        raise ValueError(
            f"registration: two images of the same plane are placed {apart_nm:.0f} nm apart, their uncertainties allow "
            f"{allowed_nm:.0f} nm; one of them is wrong, so neither is used"
        )
    share = other.sigma_nm**2 / (one.sigma_nm**2 + other.sigma_nm**2)
    affine = share * one.scan_to_specimen + (1 - share) * other.scan_to_specimen
    sigma_nm = max(min(one.sigma_nm, other.sigma_nm), 0.5 * apart_nm)
    to_specimen = chain(affine, pixel_to_scan(raster))
    return replace(one, scan_to_specimen=affine, sims_to_specimen=to_specimen, sigma_nm=sigma_nm), apart_nm


def register_to_ct(
    image: NDArray[np.float64],
    ct_volume: Volume,
    voxel_um: float,
    raster: Raster,
    exposed_z_um: float,
    initial: ArrayLike | None = None,
    settings: RegisterSettings | None = None,
    segmentation: SegmentSettings = SegmentSettings(),
) -> Registration:
    """Find the affine that carries a raster onto the CT volume, and the height of the plane it was taken at.

    Parameters
    ----------
    image : (row, column) where active material is seen, 0 to about 1, as :mod:`appearance` gives it.
    ct_volume : (z, y, x) attenuation in 1/um.
    raster : the field the image was taken in (scan coordinates).
    exposed_z_um : first guess of the milled plane in the specimen frame.
    initial : first scan → specimen affine (2 x 3, um), as ``align.pillar_affine`` gives it; identity when left out.
    settings : by default those of an aligned pillar with ``initial``, ``RegisterSettings().unaligned()`` without.
    segmentation : how the volume is denoised.

    Raises
    ------
    ValueError when the raster is blank, the plane outside the volume, the optimum on the edge of the search, the
    likeness too poor, another place as good, or two halves of the field disagree beyond the stated uncertainty.
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
    reach = 0.75 * raster.fov_um + settings.offset_range_um + 1.0
    heights = (exposed_z_um - settings.height_range_um, exposed_z_um + settings.height_range_um)
    stack = active_stack(normalised, voxel_um, heights, middle, reach)

    places = _coarse_places(image, raster, stack, start, exposed_z_um, settings)
    scene = _Scene(image, to_scan, stack, start, ask(image, to_scan), settings)
    fits = [_settle(scene, theta, z_um, heights) for theta, z_um in places]
    fits.sort(key=lambda entry: entry[0].correlation, reverse=True)
    (fit, z_um), others = fits[0], [f for f, _ in fits[1:] if np.hypot(*(f.theta[:2] - fits[0][0].theta[:2])) > 1.0]
    lead = fit.correlation - max((f.correlation for f in others), default=0.0)
    _refuse_edges(fit, z_um - exposed_z_um, lead, settings)
    theta, z_um = refine(scene.asked, stack, start, fit.theta, z_um, settings.prior_sigma)
    affine = scene.affine(theta)
    sigma_z_um = find_height(scene.asked, stack, affine, heights)[1]
    residual_um = _halves_apart(scene, theta, z_um)
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
    """A map, the volume about it, and the first guess of where it lies."""

    image: NDArray[np.float64]
    to_scan: NDArray[np.float64]
    stack: ActiveStack
    start: NDArray[np.float64]
    asked: Asked
    settings: RegisterSettings

    def affine(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        return deform(self.start, self.asked.centre_um, theta)


def _settle(
    scene: _Scene, theta: NDArray[np.float64], z_um: float, heights: tuple[float, float]
) -> tuple[FitResult, float]:
    """From a coarse place: affine and height in turn, each at the other's best."""
    told = scene.image, scene.to_scan, scene.stack, scene.start
    fit = fit_affine(*told, z_um, scene.settings.prior_sigma, theta)
    for _ in range(MAX_ROUNDS):
        z_um, _ = find_height(scene.asked, scene.stack, fit.affine, heights)
        fit = fit_affine(*told, z_um, scene.settings.prior_sigma, fit.theta)
    return fit, z_um


def _coarse_places(
    image: NDArray[np.float64],
    raster: Raster,
    stack: ActiveStack,
    start: NDArray[np.float64],
    z_um: float,
    settings: RegisterSettings,
) -> list[tuple[NDArray[np.float64], float]]:
    """The best starts (theta, height) by normalised cross-correlation over offsets, rotations and heights."""
    voxel = stack.voxel_um
    rows, columns = raster.shape
    pixel = raster.pixel_um
    smooth = ndimage.gaussian_filter(image, COARSE_BLUR_UM / pixel)
    turns = np.arange(-settings.rotation_range_deg, settings.rotation_range_deg + 1e-9, ROTATION_STEP_DEG)
    climbs = np.arange(-settings.height_range_um, settings.height_range_um + 1e-9, HEIGHT_STEP_UM)
    # The template's grid lies on the CT's voxels, so the peak's place is the offset itself.
    half = 0.5 * min(rows, columns) * pixel * 0.96
    count = int(2 * half / voxel)
    axis = (np.arange(count) - (count - 1) / 2) * voxel
    gx, gy = np.meshgrid(axis, axis)
    middle = apply_affine(start, np.array([raster.centre_um]))[0]
    found: list[tuple[float, NDArray[np.float64], float]] = []
    planes = [stack.blurred_plane(z_um + climb, COARSE_BLUR_UM) for climb in climbs]
    for turn in turns:
        theta = np.zeros(GEOMETRY)
        theta[2] = np.radians(turn)
        affine = deform(start, np.array(raster.centre_um), theta)
        back = np.linalg.inv(affine[:, :2])
        uv = np.column_stack([gx.ravel(), gy.ravel()]) @ back.T
        at = np.stack([uv[:, 1] / pixel + (rows - 1) / 2, uv[:, 0] / pixel + (columns - 1) / 2])
        template = ndimage.map_coordinates(smooth, at, order=1, mode="nearest").reshape(gx.shape)
        for climb, plane in zip(climbs, planes, strict=True):
            if plane.shape[0] < count or plane.shape[1] < count:
                raise ValueError("initial: the field reaches beyond the CT volume; is the first alignment right?")
            score = match_template(plane.astype(float), template)
            offset_x = stack.origin_um[0] + (np.arange(score.shape[1]) + (count - 1) / 2) * voxel - middle[0]
            offset_y = stack.origin_um[1] + (np.arange(score.shape[0]) + (count - 1) / 2) * voxel - middle[1]
            score[np.abs(offset_y) > settings.offset_range_um + voxel] = -1
            score[:, np.abs(offset_x) > settings.offset_range_um + voxel] = -1
            for r, c in peak_local_max(score, min_distance=3, threshold_abs=0.0, num_peaks=3, exclude_border=False):
                place = np.array([offset_x[c], offset_y[r], theta[2], 0.0, 0.0, 0.0])
                found.append((float(score[r, c]), place, z_um + float(climb)))
    found.sort(key=lambda item: -item[0])
    kept: list[tuple[NDArray[np.float64], float]] = []
    for _, theta, height in found:
        if all(np.hypot(*(theta[:2] - k[:2])) > 0.8 for k, _ in kept):
            kept.append((theta, height))
        if len(kept) == MAX_CANDIDATES:
            break
    if not kept:
        raise ValueError("registration: the map resembles the CT volume nowhere within the search range")
    return kept


def _refuse_edges(best: FitResult, climb_um: float, lead: float, settings: RegisterSettings) -> None:
    """ValueError when the optimum cannot be trusted."""
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
    offset = float(np.abs(best.theta[:2]).max())
    if offset > settings.offset_range_um:
        raise ValueError(
            f"registration: the best place lies {offset:.2f} um from the first guess, on the edge of the search range "
            f"of {settings.offset_range_um:g} um; widen offset_range_um or align on the pillar first"
        )
    turned = abs(np.degrees(best.theta[2]))
    if turned > settings.rotation_range_deg:
        raise ValueError(
            f"registration: turned by {turned:.2f} deg, beyond the search range of {settings.rotation_range_deg:g} deg"
        )
    if abs(climb_um) > settings.height_range_um - 0.02:
        raise ValueError(
            f"registration: the best height lies {climb_um:+.2f} um from the first guess, on the edge of the "
            f"search range of {settings.height_range_um:g} um; is the milled depth known?"
        )
    if not best.converged:
        raise ValueError("registration: the fit did not settle; the map and the CT slice have too little in common")


def _halves_apart(scene: _Scene, theta: NDArray[np.float64], z_um: float) -> float:
    """How far the two colours of a chessboard over the field disagree (um, rms over its corners), reduced to the whole
    field: independent halves differ by sqrt(2) x sqrt(2) of its error."""
    tiles = TILES
    board = np.indices((tiles, tiles)).sum(axis=0).ravel() % 2
    rows, columns = scene.image.shape
    corners = apply_affine(scene.to_scan, [[0, 0], [columns - 1, 0], [0, rows - 1], [columns - 1, rows - 1]])
    placed = []
    for colour in (0, 1):
        half = scene.asked.within(np.flatnonzero(board == colour))
        found, _ = refine(half, scene.stack, scene.start, theta, z_um, scene.settings.prior_sigma)
        placed.append(apply_affine(scene.affine(found), corners))
    return 0.5 * float(np.sqrt(((placed[0] - placed[1]) ** 2).sum(axis=1).mean()))

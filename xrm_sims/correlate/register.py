"""Where a SIMS raster lies in the CT volume: affine, height, and an honest word on how well both are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.feature import match_template, peak_local_max

from xrm_sims.correlate.affine_fit import FitResult, FitSettings, corner_covariances, deform, fit_affine
from xrm_sims.correlate.appearance import ActiveStack, active_stack, chain, pixel_to_scan, sims_active
from xrm_sims.correlate.segment import Volume, check_volume, normalise
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Raster


@dataclass(frozen=True)
class RegisterSettings:
    """Search ranges about the first guess (as the pillar's outline gives it), blur of the CT, and when to refuse."""

    offset_range_um: float = 1.5
    rotation_range_deg: float = 2.5
    height_range_um: float = 0.6
    rotation_step_deg: float = 1.0
    height_step_um: float = 0.2
    coarse_blur_um: float = 0.4
    candidates: int = 4
    ct_sigma_um: float = 0.15  # blur of the CT that the map lacks
    shine_um: float = 1.5  # depth over which what lies under an open void fades
    least_correlation: float = 0.5
    least_lead: float = 0.02  # of the best over the next other place, in correlation
    largest_sigma_um: float = 0.5
    systematic_um: float = 0.05  # CT geometry and resampling, added in quadrature
    fit: FitSettings = field(default_factory=FitSettings)


# Without a first guess everything a mode change does is open: offset, 1 % of scale, half a degree of shear.
UNALIGNED = RegisterSettings(
    offset_range_um=6.0, fit=FitSettings(prior_offset_um=5.0, prior_scale=0.01, prior_stretch=0.0044)
)


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


def register_sims_to_ct(
    sims_counts: ArrayLike,
    ct_volume: Volume,
    voxel_um: float,
    raster: Raster,
    exposed_z_um: float,
    initial: ArrayLike | None = None,
    settings: RegisterSettings | None = None,
) -> Registration:
    """Find the affine that carries a SIMS raster onto the CT volume, and the height of the plane it was taken at.

    Parameters
    ----------
    sims_counts : ([frame,] channel, row, column) raw counts.
    ct_volume : (z, y, x) attenuation in 1/um.
    raster : the field the counts were taken in (scan coordinates).
    exposed_z_um : first guess of the milled plane in the specimen frame.
    initial : first scan → specimen affine (2 x 3, um), as ``align.pillar_affine`` gives it; identity when left out.
    settings : by default those for an aligned pillar with ``initial``, ``UNALIGNED`` without.

    Raises
    ------
    ValueError when the raster is blank, the plane outside the volume, the optimum on the edge of the search, the
    likeness too poor, another place as good, or two halves of the field disagree beyond the stated uncertainty.
    """
    if settings is None:
        settings = UNALIGNED if initial is None else RegisterSettings()
    image = sims_active(sims_counts)
    if image.shape != tuple(raster.shape):
        raise ValueError(f"sims_counts: has {image.shape} pixels, the raster has {tuple(raster.shape)}")
    start = np.eye(2, 3) if initial is None else np.asarray(initial, dtype=float)
    if start.shape != (2, 3) or not np.isfinite(start).all():
        raise ValueError(f"initial: needs a finite 2 x 3 affine, got shape {start.shape}")
    normalised = normalise(check_volume(ct_volume, voxel_um), voxel_um)
    to_scan = pixel_to_scan(raster)
    middle = apply_affine(start, np.array([raster.centre_um]))[0]
    reach = 0.75 * raster.fov_um + settings.offset_range_um + 1.0
    heights = (exposed_z_um - settings.height_range_um, exposed_z_um + settings.height_range_um)
    stack = active_stack(normalised, voxel_um, heights, middle, reach, settings.shine_um)

    places = _coarse_places(image, raster, stack, start, exposed_z_um, settings)
    fits = [
        fit_affine(image, to_scan, stack, settings.ct_sigma_um, start, exposed_z_um, settings.fit, theta=theta)
        for theta in places
    ]
    fits.sort(key=lambda fit: fit.correlation, reverse=True)
    best = fits[0]
    others = [f for f in fits[1:] if np.hypot(*(f.theta[:2] - best.theta[:2])) > 1.0]
    lead = best.correlation - max((f.correlation for f in others), default=0.0)
    _refuse_edges(best, lead, settings)
    sigma_um, residual_um = _uncertainty(image, to_scan, stack, start, exposed_z_um, raster, best, settings)
    if sigma_um > settings.largest_sigma_um:
        raise ValueError(
            f"registration: uncertain by {sigma_um * 1e3:.0f} nm at the field's corners, more than "
            f"{settings.largest_sigma_um * 1e3:.0f} nm; take a larger field or more counts"
        )
    return Registration(
        sims_to_specimen=chain(best.affine, to_scan),
        scan_to_specimen=best.affine,
        exposed_z_um=best.z_um,
        sigma_z_um=float(np.sqrt(best.covariance[6, 6])),
        sigma_nm=sigma_um * 1e3,
        residual_nm=residual_um * 1e3,
        score=best.correlation,
        lead=float(lead),
        rotation_deg=float(np.degrees(np.arctan2(best.affine[1, 0] - best.affine[0, 1], np.trace(best.affine[:, :2])))),
        scale=float(np.sqrt(abs(np.linalg.det(best.affine[:, :2])))),
    )


def _coarse_places(
    image: NDArray[np.float64],
    raster: Raster,
    stack: ActiveStack,
    start: NDArray[np.float64],
    z_um: float,
    settings: RegisterSettings,
) -> list[NDArray[np.float64]]:
    """The best starts (theta) by normalised cross-correlation over offsets, rotations and heights."""
    voxel = stack.voxel_um
    rows, columns = raster.shape
    pixel = raster.pixel_um
    smooth = ndimage.gaussian_filter(image, settings.coarse_blur_um / pixel)
    ct = stack.blurred(settings.coarse_blur_um)
    turns = np.arange(-settings.rotation_range_deg, settings.rotation_range_deg + 1e-9, settings.rotation_step_deg)
    climbs = np.arange(-settings.height_range_um, settings.height_range_um + 1e-9, settings.height_step_um)
    # The template's grid lies on the CT's voxels, so the peak's place is the offset itself.
    half = 0.5 * min(rows, columns) * pixel * 0.96
    count = int(2 * half / voxel)
    axis = (np.arange(count) - (count - 1) / 2) * voxel
    gx, gy = np.meshgrid(axis, axis)
    middle = apply_affine(start, np.array([raster.centre_um]))[0]
    found: list[tuple[float, NDArray[np.float64]]] = []
    for turn in turns:
        theta = np.zeros(7)
        theta[2] = np.radians(turn)
        affine = deform(start, np.array(raster.centre_um), theta)
        back = np.linalg.inv(affine[:, :2])
        uv = np.column_stack([gx.ravel(), gy.ravel()]) @ back.T
        at = np.stack([uv[:, 1] / pixel + (rows - 1) / 2, uv[:, 0] / pixel + (columns - 1) / 2])
        template = ndimage.map_coordinates(smooth, at, order=1, mode="nearest").reshape(gx.shape)
        for climb in climbs:
            k = (z_um + climb - stack.origin_um[2]) / voxel
            k0 = int(np.clip(np.floor(k), 0, len(ct.slices) - 2))
            part = np.clip(k - k0, 0.0, 1.0)
            seen = ct.slices + 0.5 * ct.below
            plane = (1 - part) * seen[k0] + part * seen[k0 + 1]
            if plane.shape[0] < count or plane.shape[1] < count:
                raise ValueError("initial: the field reaches beyond the CT volume; is the first alignment right?")
            score = match_template(plane.astype(float), template)
            offset_x = stack.origin_um[0] + (np.arange(score.shape[1]) + (count - 1) / 2) * voxel - middle[0]
            offset_y = stack.origin_um[1] + (np.arange(score.shape[0]) + (count - 1) / 2) * voxel - middle[1]
            score[np.abs(offset_y) > settings.offset_range_um + voxel] = -1
            score[:, np.abs(offset_x) > settings.offset_range_um + voxel] = -1
            for r, c in peak_local_max(score, min_distance=3, threshold_abs=0.0, num_peaks=3, exclude_border=False):
                found.append((float(score[r, c]), np.array([offset_x[c], offset_y[r], theta[2], 0.0, 0.0, 0.0, climb])))
    found.sort(key=lambda item: -item[0])
    kept: list[NDArray[np.float64]] = []
    for _, theta in found:
        if all(np.hypot(*(theta[:2] - k[:2])) > 0.8 for k in kept):
            kept.append(theta)
        if len(kept) == settings.candidates:
            break
    if not kept:
        raise ValueError("registration: the map resembles the CT volume nowhere within the search range")
    return kept


def _refuse_edges(best: FitResult, lead: float, settings: RegisterSettings) -> None:
    """ValueError when the optimum cannot be trusted."""
    if best.correlation < settings.least_correlation:
        raise ValueError(
            f"registration: the map resembles the CT slice too little (correlation {best.correlation:.2f}, needs "
            f"{settings.least_correlation:.2f}); wrong specimen, wrong depth or a wrong first alignment"
        )
    if lead < settings.least_lead:
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
    if abs(best.theta[6]) > settings.height_range_um - 0.02:
        raise ValueError(
            f"registration: the best height lies {best.theta[6]:+.2f} um from the first guess, on the edge of the "
            f"search range of {settings.height_range_um:g} um; is the milled depth known?"
        )
    if not best.converged:
        raise ValueError("registration: the fit did not settle; the map and the CT slice have too little in common")


def _uncertainty(
    image: NDArray[np.float64],
    to_scan: NDArray[np.float64],
    stack: ActiveStack,
    start: NDArray[np.float64],
    z_um: float,
    raster: Raster,
    best: FitResult,
    settings: RegisterSettings,
) -> tuple[float, float]:
    """Stated uncertainty and halves' disagreement (um, rms over the corners)."""
    half = 0.5 * raster.fov_um * np.array([1.0, raster.shape[0] / raster.shape[1]])
    arms = half * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    spread = corner_covariances(best.covariance, start, arms)
    sandwich = float(np.sqrt(np.trace(spread, axis1=1, axis2=2).mean()))
    board = np.indices((settings.fit.tiles, settings.fit.tiles)).sum(axis=0).ravel() % 2
    corners = np.array(raster.centre_um) + arms
    placed = []
    for colour in (0, 1):
        fit = fit_affine(
            image, to_scan, stack, settings.ct_sigma_um, start, z_um, settings.fit,
            tiles=np.flatnonzero(board == colour), theta=best.theta, blurs_um=settings.fit.blur_um[-1:],
        )  # fmt: skip
        placed.append(apply_affine(fit.affine, corners))
    apart = float(np.sqrt(((placed[0] - placed[1]) ** 2).sum(axis=1).mean()))
    # Two independent halves differ by sqrt(2) x sqrt(2) of the whole field's error.
    residual = apart / 2
    return float(np.hypot(max(sandwich, residual), settings.systematic_um)), residual

"""Registration without a first guess: at any height, any angle, any place.

The map, turned step by step, is compared with slice after slice by normalised cross-correlation (J. P. Lewis, Vision
Interface 1995, in scikit-image). The best few places are then registered, and the best of them has to lead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from skimage.feature import match_template, peak_local_max

from xrm_sims.correlate.registration.register import DeformationError, RegisterSettings, Registration, register_to_ct
from xrm_sims.correlate.volume.segment import SegmentSettings, Volume, normalise
from xrm_sims.geometry import apply_affine
from xrm_sims.patterns import Point, Raster
from xrm_sims.settings.section import Length, Positive, Section, Share

Array = NDArray[np.float64]

Progress = Callable[[str, float], None]

NEAR: dict[str, float] = {"rotation_range_deg": 4.5, "offset_range_um": 1.0, "height_range_um": 1.0}  # about a place
VOXEL_UM = 0.4  # of both images that are compared
BLUR_UM = 0.4
MARGIN_SHARE = 0.35  # share of the field that may lie beyond the volume
LEAST_DEVIATION = 0.15  # of active material (0 to 1) in the part of a slice that a map is compared with
SAME_PLACE_UM, SAME_PLACE_DEG = 2.0, 15.0  # closer places are one


class AnywhereSettings(Section):
    """Section ``[anywhere]``: the search without a first guess."""

    rotation_step_deg: Positive = 3.0
    height_step_um: Length = 0.4
    candidates: Annotated[int, Field(ge=1)] = 5  # coarse places that are registered
    least_lead: Share = 0.05  # correlation of the best registration over that of the next place


@dataclass(frozen=True, eq=False)
class Place:
    """A coarse place: scan → specimen (2 x 3), height, correlation, centre of the field."""

    affine: Array
    z_um: float
    score: float
    centre_um: tuple[float, float]


def register_anywhere(
    image: Array,
    ct_volume: Volume,
    voxel_um: float,
    raster: Raster,
    z_um: float | None = None,
    settings: AnywhereSettings = AnywhereSettings(),
    progress: Progress = lambda name, share: None,
    registration: RegisterSettings = RegisterSettings(),
    segmentation: SegmentSettings = SegmentSettings(),
) -> Registration:
    """Register as :func:`register_to_ct`, without a first guess; ``z_um`` is the height if it is known.

    The map must not be mirrored. Raises ValueError as :func:`register_to_ct`, and when two places fit equally well.
    """
    places = coarse_places(image, ct_volume, voxel_um, raster, z_um, settings, progress, segmentation)
    near = registration.model_copy(update=NEAR)
    found: list[Registration] = []
    refused: list[ValueError] = []
    for n, place in enumerate(places):
        progress("registration", n / len(places))
        try:
            guess = place.z_um, place.affine
            found.append(register_to_ct(image, ct_volume, voxel_um, raster, *guess, near, segmentation))
        except ValueError as refusal:
            refused.append(refusal)
    progress("registration", 1.0)
    if not found:
        raise refused[0]
    best = max(found, key=lambda each: each.score)
    fitted = [(r.score, r.scan_to_specimen) for r in found]
    fitted += [(r.score, r.affine) for r in refused if isinstance(r, DeformationError)]  # these resemble the map too
    same_as_best = (_same_place(affine, best.scan_to_specimen, raster.centre_um) for _, affine in fitted)
    lead = best.score - max([s for (s, _), same in zip(fitted, same_as_best, strict=True) if not same], default=0.0)
    if lead < settings.least_lead:
        raise ValueError(
            f"registration: another place in the volume fits almost as well (correlation {best.score:.2f}, {lead:.3f} "
            "ahead); give a first guess of its place, or map a larger field"
        )
    return replace(best, lead=min(best.lead, lead))


def coarse_places(
    image: Array,
    ct_volume: Volume,
    voxel_um: float,
    raster: Raster,
    z_um: float | None,
    settings: AnywhereSettings = AnywhereSettings(),
    progress: Progress = lambda name, share: None,
    segmentation: SegmentSettings = SegmentSettings(),
) -> list[Place]:
    """Return the best places, best first. Raises ValueError for a height outside the volume."""
    slices, step_um = _coarse_volume(ct_volume, voxel_um, segmentation)
    heights_um = (np.arange(len(slices)) - (len(slices) - 1) / 2) * step_um
    every = max(1, round(settings.height_step_um / step_um))
    levels = np.arange(0, len(slices), every)
    if z_um is not None:
        if abs(z_um) > heights_um[-1]:
            raise ValueError(f"z_um: {z_um:g} um is outside the volume, which reaches to +-{heights_um[-1]:.2f} um")
        levels = np.flatnonzero(np.abs(heights_um - z_um) < NEAR["height_range_um"] + 0.5 * step_um)
    side = int(0.96 * min(raster.shape) * raster.pixel_um / step_um)
    pad = int(MARGIN_SHARE * side)
    planes = [np.pad(slices[k], pad) for k in levels]
    flat = [_without_contrast(plane, side) for plane in planes]
    turns = np.arange(0.0, 360.0, settings.rotation_step_deg)
    found: list[Place] = []
    for n, turn_deg in enumerate(turns):
        progress("place", n / len(turns))
        linear = _turned(turn_deg)
        template = _template(image, raster, linear, side, step_um)
        for k, plane, blank in zip(levels, planes, flat, strict=True):
            score = match_template(plane, template)
            score[blank] = -1.0
            for row, column in peak_local_max(score, 2, threshold_abs=0.0, num_peaks=2, exclude_border=False):
                at = np.array([column, row]) + (side - 1) / 2 - pad - (np.array(slices.shape[:0:-1]) - 1) / 2
                centre = at * step_um
                affine = np.column_stack([linear, centre - linear @ np.array(raster.centre_um)])
                middle = (float(centre[0]), float(centre[1]))
                found.append(Place(affine, float(heights_um[k]), float(score[row, column]), middle))
    progress("place", 1.0)
    found.sort(key=lambda place: -place.score)
    kept: list[Place] = []
    for place in found:
        same = (_same_place(place.affine, k.affine, raster.centre_um, place.z_um - k.z_um) for k in kept)
        if len(kept) < settings.candidates and not any(same):
            kept.append(place)
    return kept


def _coarse_volume(ct_volume: Volume, voxel_um: float, segmentation: SegmentSettings) -> tuple[Volume, float]:
    """Return blurred active material (0 to 1) at every few voxels, and their distance."""
    every = max(1, round(VOXEL_UM / voxel_um))
    active = np.clip(normalise(ct_volume, voxel_um, segmentation), 0.0, 1.0)
    blurred = ndimage.gaussian_filter(active, BLUR_UM / voxel_um)
    middle = [slice((n - 1) % every // 2, None, every) for n in blurred.shape]  # symmetric about the volume's middle
    return np.ascontiguousarray(blurred[tuple(middle)]), every * voxel_um


def _template(image: Array, raster: Raster, linear: Array, side: int, step_um: float) -> Array:
    """Return the middle of the map, turned as in the specimen; corners beyond the map have its mean."""
    smooth = ndimage.gaussian_filter(image, BLUR_UM / raster.pixel_um)
    axis = (np.arange(side) - (side - 1) / 2) * step_um
    x, y = np.meshgrid(axis, axis)
    uv = np.linalg.inv(linear) @ np.stack([x.ravel(), y.ravel()])
    at = uv[::-1] / raster.pixel_um + (np.array(image.shape)[:, None] - 1) / 2
    template = ndimage.map_coordinates(smooth, at, order=1, cval=float(smooth.mean()))
    return np.asarray(template.reshape(side, side), dtype=float)


def _without_contrast(plane: NDArray[np.float32], side: int) -> NDArray[np.bool_]:
    """Return the windows with too little contrast for a comparison, by their first row and column."""
    deviation = np.sqrt(
        np.maximum(ndimage.uniform_filter(plane**2, side) - ndimage.uniform_filter(plane, side) ** 2, 0.0)
    )
    rows, columns = (n - side + 1 for n in plane.shape)
    return np.asarray(deviation[side // 2 :, side // 2 :][:rows, :columns] < LEAST_DEVIATION)


def _turned(deg: float) -> Array:
    cos, sin = np.cos(np.radians(deg)), np.sin(np.radians(deg))
    return np.array([[cos, -sin], [sin, cos]])


def _same_place(one: Array, other: Array, centre_um: Point, lift_um: float = 0.0) -> bool:
    """Return whether two scan → specimen affines, ``lift_um`` apart in height, agree at the field's centre."""
    x, y = apply_affine(one, [centre_um])[0] - apply_affine(other, [centre_um])[0]
    relative = one[:, :2] @ np.linalg.inv(other[:, :2])
    turned_deg = np.degrees(np.arctan2(relative[1, 0] - relative[0, 1], np.trace(relative)))
    return math.hypot(x, y, lift_um) <= SAME_PLACE_UM and abs(float(turned_deg)) <= SAME_PLACE_DEG

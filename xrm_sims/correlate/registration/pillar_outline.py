"""The outline of the round pillar in an SE image, and the first scan → specimen affine that follows from it.

Both outlines, in the SE image and in the CT volume, give offset, scale and stretch of the scan. The registration of the
maps adds the rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage import filters

from xrm_sims.correlate.volume.outline import fit_outline, largest_body, sample_rays
from xrm_sims.correlate.volume.segment import PillarFit
from xrm_sims.settings.section import Length, Section, Share

Array = NDArray[np.float64]


EDGE_BLUR_PX = 1.2  # of the image, and along each direction, before the steepest step is looked for
ANGLES = 360  # directions in which the edge is measured
LARGEST_REMAINDER = 0.2  # share of the pillar's area far outside the outline: a circle can fit into a cut-off pillar
LEAST_POINTS = 8  # of an outline, which has five parameters
LEAST_CONTRAST = 1.5  # step between inside and outside over their spread


class OutlineSettings(Section):
    """Section ``[outline]``: how the pillar's outline is found in an image, and when it is refused."""

    smooth_um: Length = 0.8  # blur that closes the texture before the pillar is separated from its surroundings
    search_share: Share = 0.12  # range of the edge about the first guess, as a share of the radius
    least_share: Share = 0.5  # of the outline that the image has to show
    largest_scatter_um: Length = 0.6  # rms distance of the edge points from the outline


@dataclass(frozen=True)
class PillarOutline:
    """Outline in scan coordinates, with ``stretch`` as in ``volume.outline.Outline``.

    ``scatter_um`` is the rms distance of the edge points, ``sigma_um`` the standard error of the centre, ``seen`` the
    share of all directions whose edge points were used.
    """

    centre_um: tuple[float, float]
    radius_um: float
    stretch: tuple[float, float]
    scatter_um: float
    sigma_um: float
    seen: float


def locate_pillar(
    se_image: ArrayLike,
    fov_um: float,
    centre_um: tuple[float, float] = (0.0, 0.0),
    settings: OutlineSettings = OutlineSettings(),
) -> PillarOutline:
    """Return the pillar's outline in an SE image (row, column) that shows most of it.

    ``fov_um`` is the width of the image, ``centre_um`` the scan coordinates (u, v) of its middle; row r, column c lies
    at u = (c - (C - 1) / 2) * pixel + centre_u, v likewise with r. Raises ValueError when there is no round outline.
    """
    image = np.asarray(se_image, dtype=float)
    if image.ndim != 2 or min(image.shape) < 32:
        raise ValueError(f"se_image: got shape {image.shape}, needs (rows, columns) of at least 32 pixels each")
    if not np.isfinite(image).all() or np.ptp(image) == 0:
        raise ValueError("se_image: is blank or not finite, so it shows no pillar")
    pixel_um = fov_um / image.shape[1]
    body = _find_body(image, settings.smooth_um / pixel_um)
    row, column = (float(middle) for middle in ndimage.center_of_mass(body))
    radius = float(np.sqrt(body.sum() / np.pi))
    seen = 0.0
    for _ in range(3):
        points = _edge_points(image, (row, column, radius), settings)
        if len(points) < LEAST_POINTS:
            break
        outline, kept = fit_outline(points, 0.7, _within_scatter, LEAST_POINTS, rounds=4)
        seen = len(kept) / ANGLES
        row, column, radius = outline.v, outline.u, outline.radius
    if seen < settings.least_share:
        raise ValueError(
            f"se_image: shows only {seen:.0%} of a round outline, at least {settings.least_share:.0%} is needed; "
            f"widen the field ({fov_um:g} um) or centre it on the pillar"
        )
    if np.mean(outline.distance(np.argwhere(body)[:, ::-1].astype(float)) > 0.1 * radius) > LARGEST_REMAINDER:
        raise ValueError("se_image: the pillar reaches beyond the round outline; does the image show all of it?")
    scatter_um = float(np.std(outline.distance(kept))) * pixel_um
    if scatter_um > settings.largest_scatter_um:
        raise ValueError(f"se_image: the outline is not round, it scatters by {scatter_um:.2f} um about a circle")
    middle = (np.array(image.shape) - 1) / 2
    return PillarOutline(
        centre_um=(
            float((column - middle[1]) * pixel_um + centre_um[0]),
            float((row - middle[0]) * pixel_um + centre_um[1]),
        ),
        radius_um=float(radius * pixel_um),
        stretch=outline.stretch,
        scatter_um=scatter_um,
        sigma_um=scatter_um * float(np.sqrt(2 / len(kept))),
        seen=seen,
    )


def _within_scatter(distance: Array) -> NDArray[np.bool_]:
    """Accept edge points within three robust standard deviations, of at least 0.3 pixels each."""
    off = np.abs(distance)
    return np.asarray(off < 3 * max(1.4826 * float(np.median(off)), 0.3))


def _find_body(image: Array, sigma: float) -> NDArray[np.bool_]:
    """Return the largest blob that is brighter, or darker, than its surroundings."""
    smooth = ndimage.gaussian_filter(image, sigma)
    bright = smooth > filters.threshold_otsu(smooth)
    if np.mean(np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])) > 0.5:
        bright = ~bright
    body = largest_body(ndimage.binary_fill_holes(bright))
    inside, outside = smooth[body], smooth[~ndimage.binary_dilation(body, iterations=max(1, round(2 * sigma)))]
    if not (inside.size and outside.size) or (
        abs(inside.mean() - outside.mean()) < LEAST_CONTRAST * np.hypot(inside.std(), outside.std())
    ):
        raise ValueError("se_image: no pillar stands out from the background of the image")
    return body


def _edge_points(image: Array, circle: tuple[float, float, float], settings: OutlineSettings) -> Array:
    """Return (column, row) of the steepest step outwards along each direction, to a fraction of a pixel."""
    row, column, radius = circle
    reach, step = radius * settings.search_share, 0.25
    r = np.arange(max(radius - reach, 1.0), radius + reach, step)
    smooth = ndimage.gaussian_filter(image, EDGE_BLUR_PX)
    rays, rows, columns, angles = sample_rays(smooth, (row, column), r, ANGLES, "nearest")
    slope = ndimage.gaussian_filter1d(rays, EDGE_BLUR_PX / step, axis=1, order=1)
    slope[(rows <= 0) | (rows >= image.shape[0] - 1) | (columns <= 0) | (columns >= image.shape[1] - 1)] = 0.0
    quarter = len(r) // 4
    falls = rays[:, :quarter].mean() > rays[:, -quarter:].mean()
    steep = -slope if falls else slope
    best = steep[:, 1:-1].argmax(axis=1) + 1
    left, mid, right = np.moveaxis(np.take_along_axis(steep, best[:, None] + [-1, 0, 1], axis=1), 1, 0)
    bend = left - 2 * mid + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1.0), 0.0)
    distance = r[best] + np.clip(shift, -1, 1) * step
    good = (mid > 0.3 * np.median(mid)) & (mid > 0)
    return np.column_stack(
        [column + np.cos(angles[good]) * distance[good], row + np.sin(angles[good]) * distance[good]]
    )


def pillar_affine(outline: PillarOutline, pillar: PillarFit) -> Array:
    """Return the scan → specimen affine (2 x 3, um) that maps one outline to the other, without rotation."""
    scale = pillar.radius_um / outline.radius_um
    linear = scale * _stretching(pillar.stretch) @ np.linalg.inv(_stretching(outline.stretch))
    return np.column_stack([linear, np.array(pillar.centre_um) - linear @ np.array(outline.centre_um)])


def _stretching(stretch: tuple[float, float]) -> Array:
    """Return the symmetric matrix that stretches a circle to r (1 + a cos 2 phi + b sin 2 phi), to first order."""
    a, b = stretch
    return np.array([[1 + a, b], [b, 1 - a]])

"""Where the round pillar stands in a scan: the first link from a scan's own frame to the specimen's.

Laying the pillar's outline in an SE image on the one in CT tells offset, scale and how the scan is drawn out; what is
left for the registration of the maps is the rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage import filters

from xrm_sims.correlate.volume.segment import PillarFit, fit_outline
from xrm_sims.settings.section import Length, Section, Share

Affine = NDArray[np.float64]


EDGE_BLUR_PX = 1.2  # of the image, and along each direction, before the steepest step is looked for
ANGLES = 360  # directions in which the edge is measured
LEAST_CONTRAST = 1.5  # step between inside and outside over their spread


class OutlineSettings(Section):
    """Section ``[outline]``: how the pillar's outline is found in an image, and when it is refused."""

    smooth_um: Length = 0.8  # blur that closes the texture before the pillar is separated from its surroundings
    search_share: Share = 0.12  # range of the edge about the first guess, as a share of the radius
    least_share: Share = 0.5  # of the outline that the image has to show
    largest_scatter_um: Length = 0.6  # rms distance of the edge points from the outline


@dataclass(frozen=True)
class PillarOutline:
    """Near-circle in scan coordinates, ``stretch`` as in ``segment.Outline``.

    ``scatter_um`` is the outline's rms distance from it, ``sigma_um`` the standard error of the centre, ``seen`` the
    share of the outline that was used.
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
    """Circle through the pillar's outline in an SE image (rows, columns) that shows all of it.

    ``fov_um`` is the width of the image, ``centre_um`` the scan coordinates (u, v) of its middle; row r, column c lies
    at u = (c - (C - 1) / 2) * pixel + centre_u, v likewise with r. Raises ValueError when no round outline is seen.
    """
    image = np.asarray(se_image, dtype=float)
    if image.ndim != 2 or min(image.shape) < 32:
        raise ValueError(f"se_image: got shape {image.shape}, needs (rows, columns) of at least 32 pixels each")
    if not np.isfinite(image).all() or np.ptp(image) == 0:
        raise ValueError("se_image: is blank or not finite, so no pillar can be seen in it")
    pixel_um = fov_um / image.shape[1]
    row, column, radius = _first_circle(image, settings.smooth_um / pixel_um)
    seen = 0.0
    for _ in range(3):
        points = _edge_points(image, (row, column, radius), settings)
        if len(points) < 8:
            break
        kept = points
        for _ in range(4):
            outline = fit_outline(kept, scatter=0.7)
            off = outline.outside(points)
            spread = max(1.4826 * float(np.median(np.abs(off))), 0.3)
            if (np.abs(off) < 3 * spread).sum() < 8:
                break
            kept = points[np.abs(off) < 3 * spread]
        seen = len(kept) / ANGLES
        row, column, radius = outline.v, outline.u, outline.radius
    if seen < settings.least_share:
        raise ValueError(
            f"se_image: only {seen:.0%} of a round outline is seen, at least {settings.least_share:.0%} is needed; "
            f"widen the field ({fov_um:g} um) or centre it on the pillar"
        )
    scatter_um = float(np.std(outline.outside(kept))) * pixel_um
    if scatter_um > settings.largest_scatter_um:
        raise ValueError(f"se_image: the outline found is not round, it scatters by {scatter_um:.2f} um about a circle")
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


def _first_circle(image: NDArray[np.float64], sigma: float) -> tuple[float, float, float]:
    """The largest round blob that is brighter (or darker) than what surrounds it."""
    smooth = ndimage.gaussian_filter(image, sigma)
    bright = smooth > filters.threshold_otsu(smooth)
    if np.mean(np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])) > 0.5:
        bright = ~bright
    labels, count = ndimage.label(ndimage.binary_fill_holes(bright))
    if not count:
        raise ValueError("se_image: nothing stands out from the background, so no pillar can be seen in it")
    body = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    inside, outside = smooth[body], smooth[~ndimage.binary_dilation(body, iterations=max(1, round(2 * sigma)))]
    if not outside.size or abs(inside.mean() - outside.mean()) < LEAST_CONTRAST * np.hypot(inside.std(), outside.std()):
        raise ValueError("se_image: no pillar stands out from the background of the image")
    row, column = ndimage.center_of_mass(body)
    return float(row), float(column), float(np.sqrt(body.sum() / np.pi))


def _edge_points(
    image: NDArray[np.float64], circle: tuple[float, float, float], settings: OutlineSettings
) -> NDArray[np.float64]:
    """(column, row) of the steepest step outwards along each direction, to a fraction of a pixel."""
    row, column, radius = circle
    angles = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    reach = radius * settings.search_share
    step = 0.25
    r = np.arange(max(radius - reach, 1.0), radius + reach, step)
    rows = row + np.sin(angles)[:, None] * r
    columns = column + np.cos(angles)[:, None] * r
    seen = (rows > 0) & (rows < image.shape[0] - 1) & (columns > 0) & (columns < image.shape[1] - 1)
    smooth = ndimage.gaussian_filter(image, EDGE_BLUR_PX)
    profile = ndimage.map_coordinates(smooth, [rows, columns], order=1, mode="nearest")
    slope = ndimage.gaussian_filter1d(profile, EDGE_BLUR_PX / step, axis=1, order=1)
    slope[~seen] = 0.0
    quarter = len(r) // 4
    falls = profile[:, :quarter].mean() > profile[:, -quarter:].mean()
    steep = -slope if falls else slope
    best = steep[:, 1:-1].argmax(axis=1) + 1
    line = np.arange(len(angles))
    left, mid, right = steep[line, best - 1], steep[line, best], steep[line, best + 1]
    bend = left - 2 * mid + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1.0), 0.0)
    distance = r[best] + np.clip(shift, -1, 1) * step
    good = (mid > 0.3 * np.median(mid)) & (mid > 0)
    return np.column_stack(
        [column + np.cos(angles[good]) * distance[good], row + np.sin(angles[good]) * distance[good]]
    )


def pillar_affine(outline: PillarOutline, pillar: PillarFit) -> Affine:
    """First scan → specimen affine (2 x 3, um to um) that lays the two outlines on each other, without rotation."""
    scale = pillar.radius_um / outline.radius_um
    linear = scale * _stretching(pillar.stretch) @ np.linalg.inv(_stretching(outline.stretch))
    return np.column_stack([linear, np.array(pillar.centre_um) - linear @ np.array(outline.centre_um)])


def _stretching(stretch: tuple[float, float]) -> NDArray[np.float64]:
    """The symmetric matrix that draws a circle out to r (1 + a cos 2 phi + b sin 2 phi), to first order."""
    a, b = stretch
    return np.array([[1 + a, b], [b, 1 - a]])

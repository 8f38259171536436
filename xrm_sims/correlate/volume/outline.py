"""The outline of a round pillar: a circle, slightly stretched, through edge points that are trimmed in turn.

scikit-image's ``EllipseModel`` with ``ransac`` gives the same centres within 1 nm on the images of tests/correlate, but
needs five times the time and depends on random draws; its ``CircleModel`` knows no stretch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """r(phi) = radius (1 + stretch_0 cos 2 phi + stretch_1 sin 2 phi) about (u, v)."""

    u: float
    v: float
    radius: float
    stretch: tuple[float, float]

    def distance(self, points: Points) -> NDArray[np.float64]:
        """Return the distance (n,) of points (n, 2) from the outline, negative inside it."""
        du, dv = points[:, 0] - self.u, points[:, 1] - self.v
        phi = 2 * np.arctan2(dv, du)
        swell = 1 + self.stretch[0] * np.cos(phi) + self.stretch[1] * np.sin(phi)
        return np.asarray(np.hypot(du, dv) - self.radius * swell, dtype=np.float64)


def fit_outline(
    points: Points, scatter: float, accept: Callable[[NDArray[np.float64]], NDArray[np.bool_]], least: int, rounds: int
) -> tuple[Outline, Points]:
    """Return the outline through points (n, 2), and the points on it.

    Each round fits by least squares with soft-L1 loss, in which points further off than ``scatter`` count less. Then it
    keeps the points whose distance ``accept`` accepts, if these are at least ``least``.
    """

    def outline_of(p: NDArray[np.float64]) -> Outline:
        return Outline(float(p[0]), float(p[1]), float(p[2]), (float(p[3]), float(p[4])))

    kept = points
    for _ in range(rounds):
        used, middle = kept, kept.mean(axis=0)
        start = [*middle, np.hypot(*(used - middle).T).mean(), 0.0, 0.0]

        def residuals(p: NDArray[np.float64], used: Points = used) -> NDArray[np.float64]:
            return outline_of(p).distance(used)

        outline = outline_of(optimize.least_squares(residuals, start, loss="soft_l1", f_scale=scatter).x)
        on_outline = accept(outline.distance(points))
        if np.count_nonzero(on_outline) < least:
            break
        kept = points[on_outline]
    return outline, kept


def largest_body(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask; an empty mask stays empty."""
    labels, count = ndimage.label(mask)
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))) if count else mask


def sample_rays(
    image: NDArray[np.floating], centre: tuple[float, float], reach: NDArray[np.float64], angles: int, mode: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return an image (row, column) along rays from ``centre``: values, rows and columns (angle, reach), and angles.

    ``mode`` is that of ``scipy.ndimage.map_coordinates`` outside the image.
    """
    phi = np.linspace(0, 2 * np.pi, angles, endpoint=False)
    rows = centre[0] + np.sin(phi)[:, None] * reach
    columns = centre[1] + np.cos(phi)[:, None] * reach
    return ndimage.map_coordinates(image, [rows, columns], order=1, mode=mode), rows, columns, phi

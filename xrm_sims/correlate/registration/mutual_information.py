"""Registration of a map, and of its height, by mutual information with the CT volume.

The brightness of a void depends on its filling (binder, which CT does not show) and on the material below it, so
brightness alone misleads: a map that shows the flanks of particles resembles a slice further down. So three classes of
places are compared with the map's brightness: active material in the slice, active material shortly below it (a flank,
or a particle under binder), neither. Their mutual information (Viola and Wells, Int. J. Comput. Vision 24 (1997) 137)
is greatest at the right place: too low, dark binder falls into the first class; too high, bright material falls into
the others; too far aside, both. The map is not smoothed: smoothing mixes the classes at their borders, and the height
comes out too low (by 0.1 um for 0.08 um).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from xrm_sims.correlate.registration.active_material import ActiveStack
from xrm_sims.correlate.registration.affine_fit import GEOMETRY, deform
from xrm_sims.geometry import apply_affine

Array = NDArray[np.float64]

LEVELS = 24  # of brightness, each as frequent; levels and classes were chosen on the twin's seeds 11, 12, 16 and 17
CLASSES = 3
TILES = 5  # along each side of the field, for the jackknife and the two halves
HEIGHT_STEP_UM = 0.05
STRIDE = 2  # of the pixels that are sampled
CORRELATED_PIXELS = 20  # of the sample for each independent feature: a grain, a hole, a piece of border
# size of the first simplex: offsets (um), rotation, scale, stretches, height (um)
STEPS = np.array([0.05, 0.05, 0.005, 0.005, 0.0025, 0.0025, 0.05])
TOLERANCE = 0.04  # of a step
MAX_EVALUATIONS = 500


@dataclass(frozen=True, eq=False)
class PixelSample:
    """Pixels of a map: scan coordinates (n, 2) in um, level of brightness and tile of the field of each.

    ``centre_um`` is the middle of the field.
    """

    points_um: Array
    level: NDArray[np.intp]
    tile: NDArray[np.intp]
    centre_um: Array

    def within(self, tiles: NDArray[np.intp]) -> PixelSample:
        keep = np.isin(self.tile, tiles)
        return PixelSample(self.points_um[keep], self.level[keep], self.tile[keep], self.centre_um)


def sample_pixels(image: Array, to_scan: Array) -> PixelSample:
    """Sample every ``STRIDE``-th pixel of a map (row, column) with the pixel → scan affine ``to_scan``."""
    r, c = (axis.ravel() for axis in np.mgrid[: image.shape[0] : STRIDE, : image.shape[1] : STRIDE])
    values = image[r, c]
    level = np.searchsorted(np.quantile(values, np.linspace(0.0, 1.0, LEVELS + 1)[1:-1]), values)
    tile = (r * TILES // image.shape[0]) * TILES + c * TILES // image.shape[1]
    centre = apply_affine(to_scan, (np.array(image.shape[::-1]) - 1)[None] / 2)[0]
    return PixelSample(apply_affine(to_scan, np.column_stack([c, r])), level, tile, centre)


def find_height(
    sample: PixelSample, stack: ActiveStack, affine: Array, range_um: tuple[float, float]
) -> tuple[float, float]:
    """Return the height of greatest mutual information within a range, and its standard deviation (um).

    The deviation is the jackknife's over tiles of the field. A height on the edge of the range is no optimum.
    """
    places = apply_affine(affine, sample.points_um)
    heights = np.arange(range_um[0], range_um[1] + 1e-9, HEIGHT_STEP_UM)
    tiles = int(sample.tile.max()) + 1
    joint = np.stack([_joint(sample, stack, places, float(z_um), sample.tile, tiles) for z_um in heights])
    whole = joint.sum(axis=1)
    best = _peak(heights, mutual_information(whole))
    used = np.unique(sample.tile)
    without = np.array([_peak(heights, mutual_information(whole - joint[:, tile])) for tile in used])
    spread = np.sqrt((len(used) - 1) / len(used) * ((without - without.mean()) ** 2).sum())
    return best, float(np.hypot(spread, HEIGHT_STEP_UM / np.sqrt(12.0)))


def refine(
    sample: PixelSample, stack: ActiveStack, initial: Array, theta: Array, z_um: float, prior_sigma: Array
) -> tuple[Array, float]:
    """Return ``theta`` and height at the nearest maximum of posterior probability, by the Nelder-Mead simplex.

    ``theta`` deforms the affine ``initial``, as in :class:`.FitResult`; ``prior_sigma`` (6,) are its standard
    deviations.
    """
    single = np.zeros(len(sample.level), dtype=np.intp)

    def loss(state: Array) -> float:
        change = state * STEPS
        places = apply_affine(deform(initial, sample.centre_um, change[:GEOMETRY]), sample.points_um)
        joint = _joint(sample, stack, places, z_um + float(change[GEOMETRY]), single, 1)[0]
        prior = ((change[:GEOMETRY] / prior_sigma) ** 2).sum()
        return float(0.5 * prior - mutual_information(joint) * len(single) / CORRELATED_PIXELS)

    start = np.append(theta, 0.0) / STEPS
    simplex = start + np.vstack([np.zeros(len(start)), np.eye(len(start))])
    options = {"initial_simplex": simplex, "xatol": TOLERANCE, "fatol": 1e-3, "maxfev": MAX_EVALUATIONS}
    best = optimize.minimize(loss, start, method="Nelder-Mead", options=options).x * STEPS
    return np.asarray(best[:GEOMETRY]), z_um + float(best[GEOMETRY])


def mutual_information(joint: Array) -> Array:
    """Return the mutual information in nats of counts (..., class, level)."""
    share = joint / joint.sum(axis=(-2, -1), keepdims=True)
    apart = share.sum(axis=-1, keepdims=True) * share.sum(axis=-2, keepdims=True)
    return np.asarray((share * np.log(np.where(share > 0, share / np.maximum(apart, 1e-300), 1.0))).sum(axis=(-2, -1)))


def _joint(
    sample: PixelSample, stack: ActiveStack, places_um: Array, z_um: float, group: NDArray[np.intp], groups: int
) -> Array:
    """Return counts (group, class, level) at a height: class 0 in active material, 1 above some, 2 elsewhere."""
    at = stack.index(places_um, z_um)
    active, above = (
        ndimage.map_coordinates(volume, at, order=1, mode="nearest") > 0.5 for volume in (stack.slices, stack.under)
    )
    place = np.where(active, 0, np.where(above, 1, 2))
    flat = (group * CLASSES + place) * LEVELS + sample.level
    counts = np.bincount(flat, minlength=groups * CLASSES * LEVELS)
    return counts.reshape(groups, CLASSES, LEVELS).astype(np.float64)


def _peak(heights: Array, value: Array) -> float:
    """Return the top of the parabola through the greatest value and its neighbours, or the end of the range."""
    top = int(value.argmax())
    if top in (0, len(value) - 1):
        return float(heights[top])
    left, middle, right = value[top - 1 : top + 2]
    bend = left - 2 * middle + right
    return float(heights[top] + (0.5 * (left - right) / bend if bend < 0 else 0.0) * (heights[1] - heights[0]))

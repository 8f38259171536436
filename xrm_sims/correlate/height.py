"""The height of the plane that a map shows, as the CT volume tells it.

How bright a void is depends on what lies in it (binder, which CT does not see) and below it, so brightness by itself
tells little of height: a map with the flanks of particles in it resembles a slice further down. What tells is how
well three classes of places sort the map's brightness: active material in the slice, active material shortly below it
(a flank, or hidden by binder), neither. Their mutual information (Viola and Wells, Int. J. Comput. Vision 24 (1997)
137) is greatest at the plane: further down dark binder falls among the active places, further up bright material
falls among the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xrm_sims.correlate.affine_fit import FitSettings, take_samples
from xrm_sims.correlate.appearance import ActiveStack
from xrm_sims.geometry import apply_affine

LEVELS = 12  # of brightness, each as frequent
CLASSES = 3
STEP_UM = 0.05
SMOOTH_UM = 0.08  # of the map, less than its details and more than its noise


def find_height(
    image: NDArray[np.float64],
    to_scan: NDArray[np.float64],
    stack: ActiveStack,
    affine: NDArray[np.float64],
    range_um: tuple[float, float],
    settings: FitSettings,
) -> tuple[float, float]:
    """The height within a range at which the map tells most of the CT slice, and its standard deviation (um).

    The deviation is the jackknife's over tiles of the field. A height on the edge of the range is no optimum.
    """
    samples = take_samples(image, to_scan, SMOOTH_UM, settings)
    cuts = np.quantile(samples.values, np.linspace(0.0, 1.0, LEVELS + 1)[1:-1])
    level = np.searchsorted(cuts, samples.values)
    places = apply_affine(affine, samples.points_um)
    heights = np.arange(range_um[0], range_um[1] + 1e-9, STEP_UM)
    tiles = settings.tiles**2
    joint = np.zeros((len(heights), tiles, CLASSES, LEVELS))
    for number, z_um in enumerate(heights):
        np.add.at(joint[number], (samples.tile, _classes(stack, places, float(z_um)), level), 1.0)
    whole = joint.sum(axis=1)
    best = _peak(heights, mutual_information(whole))
    used = np.flatnonzero(joint[0].sum(axis=(1, 2)))
    without = np.array([_peak(heights, mutual_information(whole - joint[:, tile])) for tile in used])
    spread = np.sqrt((len(used) - 1) / len(used) * ((without - without.mean()) ** 2).sum())
    return best, float(np.hypot(spread, STEP_UM / np.sqrt(12.0)))


def mutual_information(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """In nats, of counts (..., class, level)."""
    share = joint / joint.sum(axis=(-2, -1), keepdims=True)
    apart = share.sum(axis=-1, keepdims=True) * share.sum(axis=-2, keepdims=True)
    return np.asarray((share * np.log(np.where(share > 0, share / np.maximum(apart, 1e-300), 1.0))).sum(axis=(-2, -1)))


def _classes(stack: ActiveStack, places_um: NDArray[np.float64], z_um: float) -> NDArray[np.intp]:
    """(n,) 0 in active material, 1 above some, 2 elsewhere."""
    at = stack.index(places_um, z_um)
    active, above = (
        ndimage.map_coordinates(volume, at, order=1, mode="nearest") > 0.5 for volume in (stack.slices, stack.under)
    )
    return np.where(active, 0, np.where(above, 1, 2))


def _peak(heights: NDArray[np.float64], value: NDArray[np.float64]) -> float:
    """Top of the parabola through the greatest value and its neighbours; the end itself at an end."""
    top = int(value.argmax())
    if top in (0, len(value) - 1):
        return float(heights[top])
    left, middle, right = value[top - 1 : top + 2]
    bend = left - 2 * middle + right
    return float(heights[top] + (0.5 * (left - right) / bend if bend < 0 else 0.0) * (heights[1] - heights[0]))

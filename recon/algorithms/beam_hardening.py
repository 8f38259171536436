"""Beam hardening of a specimen of one absorbing material and voids, found from its own projections.

A polychromatic beam is attenuated less by the second micrometre than by the first: the line integral grows with the
path x through the material as b x - c x^2 (G. T. Herman, Phys. Med. Biol. 24 (1979) 81). The paths are those through
the segmented first reconstruction (M. Krumm, S. Kasperl, M. Franz, NDT & E Int. 41 (2008) 242), with the threshold of
N. Otsu, IEEE Trans. SMC 9 (1979) 62. The result is b x, the line integral of a monochromatic beam with the attenuation
of the first micrometre. In units of p only k = c / b^2 of the fit remains, so that an error in the scale of the paths,
as from a wrong threshold, cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion

from recon.algorithms.sart import sart
from recon.kernels.argument_checks import checked_scan, checked_weights
from recon.kernels.binning import binned_images
from recon.kernels.projector import project
from xrm_sims.geometry import Geometry

COARSE_COLUMNS = 160  # the first reconstruction is made of images binned to about this width
COARSE_VIEWS = 120
PATH_VIEWS = 36
PATHS = 40  # bins of path length
STEEP = 0.1  # change of path per pixel relative to the path; at steeper edges the segmentation is too coarse
LEAST_RAYS = 30  # in a bin that is used
ONE_MATERIAL = 1.5  # the densest hundredth inside the material against its median
OUTER_ROWS = 0.15  # share of the rows at either end whose rays may leave the volume through its faces
BLOCK = 32


@dataclass(frozen=True)
class BeamHardening:
    """p = q - k q^2 for the line integral q of a monochromatic beam.

    k : dimensionless, 0 for a beam that does not harden; largest_p : largest p of the fit, the correction is linear
    beyond it.
    """

    k: float
    largest_p: float

    def __call__(self, p: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return q from p, of any shape."""
        if self.k == 0:
            return p
        known = np.minimum(p, np.float32(self.largest_p))
        root = np.sqrt(1 - np.float32(4 * self.k) * known)
        return np.asarray((1 - root) / np.float32(2 * self.k) + (p - known) / root, np.float32)

    def slope(self, p: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return dq / dp, the factor by which noise grows."""
        known = np.minimum(p, np.float32(self.largest_p))
        return np.asarray(1 / np.sqrt(1 - np.float32(4 * self.k) * known), np.float32)

    def correct(self, p: NDArray[np.float32], weights: NDArray[np.floating]) -> None:
        """Turn p into q in place, and divide the weights (inverse variances) by the square of the slope."""
        if self.k == 0:
            return
        for first in range(0, len(p), BLOCK):
            some = slice(first, first + BLOCK)
            weights[some] = weights[some] / self.slope(p[some]) ** 2
            p[some] = self(p[some])


def beam_hardening_correction(
    p: ArrayLike, geometry: Geometry, volume: ArrayLike | None = None, *, weights: ArrayLike | None = None
) -> BeamHardening:
    """Find the beam hardening of a specimen of one absorbing material from its line integrals.

    k is 0 where p grows in proportion to the path or faster, and for clearly more than one absorbing material, which no
    function of p alone can correct.

    Parameters
    ----------
    p : (angle, row, column) line integrals.
    geometry : the scan with all corrections.
    volume : (z, y, x) reconstruction of p in this geometry; by default a coarse one is made.
    weights : (angle, row, column) weight of each ray.
    """
    data = checked_scan(p, geometry)
    trust = None if weights is None else checked_weights(weights, geometry)
    if volume is None:
        data, trust, geometry = _coarse(data, trust, geometry)
        volume = sart(data, geometry, weights=trust).volume
    from skimage.filters import threshold_otsu  # here, because its import delays the console

    grey = np.asarray(volume, np.float32)
    solid = (grey > threshold_otsu(grey.ravel(), 512)).astype(np.float32)  # 0 in voids and air
    if not _one_material(grey, solid > 0):
        return BeamHardening(0.0, 0.0)
    views = np.unique(np.linspace(0, geometry.num_views - 1, PATH_VIEWS).round().astype(int))
    rows = geometry.detector_shape[0]
    inner = slice(int(OUTER_ROWS * rows), rows - int(OUTER_ROWS * rows))
    path = project(solid, geometry.only(views))[:, inner]
    steep = np.hypot(*np.gradient(path, axis=(1, 2))) if min(path.shape[1:]) > 1 else np.zeros_like(path)
    seen = (path > geometry.voxel_um) & (steep < STEEP * path)
    if trust is not None:
        seen &= trust[views][:, inner] > 0
    return _fit(path[seen], data[views][:, inner][seen])


def _fit(path_um: NDArray[np.float32], p: NDArray[np.float32]) -> BeamHardening:
    """Fit p = b x - c x^2 to the means of equal bins of x."""
    if len(path_um) < LEAST_RAYS:
        return BeamHardening(0.0, 0.0)
    edges = np.linspace(0, float(np.quantile(path_um, 0.999)), PATHS + 1)[1:-1]
    which = np.digitize(path_um, edges)
    rays = np.bincount(which, minlength=PATHS)
    good = rays >= LEAST_RAYS
    x, y = (np.bincount(which, v, PATHS)[good] / rays[good] for v in (path_um, p))
    root = np.sqrt(rays[good])
    (b, c), *_ = np.linalg.lstsq(np.column_stack([x, -x * x]) * root[:, None], y * root, rcond=None)
    if not (b > 0 and c > 0):
        return BeamHardening(0.0, 0.0)
    k = float(c / b**2)
    return BeamHardening(k, min(float(y.max()), 0.9 / (4 * k)))


def _one_material(volume: NDArray[np.float32], solid: NDArray[np.bool_]) -> bool:
    """Whether voxels well inside the material have similar values; hardening makes them differ by a fifth."""
    inside = volume[binary_erosion(solid)]
    return len(inside) > 0 and bool(np.quantile(inside, 0.99) < ONE_MATERIAL * np.median(inside))


def _coarse(
    p: NDArray[np.float32], weights: NDArray[np.floating] | None, geometry: Geometry
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, Geometry]:
    """Return fewer views with larger pixels."""
    factor = max(1, round(geometry.detector_shape[1] / COARSE_COLUMNS))
    views = np.arange(0, geometry.num_views, max(1, geometry.num_views // COARSE_VIEWS))
    few, trust = (
        None if stack is None else binned_images(stack[views].astype(np.float32), factor) for stack in (p, weights)
    )
    assert few is not None
    return few, trust, geometry.only(views).binned(factor)

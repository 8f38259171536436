"""Images of active material from SIMS maps, SE images and CT volumes, on comparable scales.

A map shows the first solid under each pixel; where a void is open at the exposed plane, that is the material at its
bottom. CT shows active material only: the material under a void may be visible in the map, or hidden by binder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from xrm_sims.correlate.volume.segment import Volume
from xrm_sims.patterns import Raster

Array = NDArray[np.float64]


def sims_active(counts: ArrayLike, channels: tuple[int, ...] | None = None) -> Array:
    """Return counts (frame, channel, row, column) or (channel, row, column) as one image, 0 to about 1.

    It is the square root of the sum over frames and channels, whose Poisson noise is the same everywhere.
    Raises ValueError for a blank or misshapen raster.
    """
    array = np.asarray(counts, dtype=float)
    if array.ndim == 4:
        array = array.sum(axis=0)
    if array.ndim != 3 or min(array.shape[1:]) < 16:
        raise ValueError(
            f"sims_counts: got shape {np.shape(counts)}, needs ([frame,] channel, row, column) of at least 16 pixels"
        )
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("sims_counts: needs finite counts of at least 0")
    total = array[list(channels)].sum(axis=0) if channels else array.sum(axis=0)
    return _stretched(total, "sims_counts")


def se_active(image: ArrayLike) -> Array:
    """Return secondary-electron counts (row, column) as an image, 0 to about 1; deep places and binder are dark.

    Raises ValueError for a blank or misshapen image.
    """
    array = np.asarray(image, dtype=float)
    if array.ndim != 2 or min(array.shape) < 16:
        raise ValueError(f"se_image: got shape {array.shape}, needs (row, column) of at least 16 pixels")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("se_image: needs finite counts of at least 0")
    return _stretched(array, "se_image")


def _stretched(counts: Array, name: str) -> Array:
    """Return the square root of counts, scaled to 0 in dark and 1 in bright areas."""
    root = np.sqrt(counts)
    low, high = np.percentile(ndimage.uniform_filter(root, 5), [2, 98])
    if high - low < 0.5:
        raise ValueError(
            f"{name}: blank, goes from {low**2:.3g} to {high**2:.3g} counts per pixel; there is nothing to register"
        )
    return np.asarray(np.clip((root - low) / (high - low), -0.5, 1.5))


def pixel_to_scan(raster: Raster) -> Array:
    """Return the 2 x 3 affine from pixel (column, row) to scan coordinates (u, v) in um."""
    rows, columns = raster.shape
    pixel = raster.pixel_um
    return np.array(
        [
            [pixel, 0.0, raster.centre_um[0] - (columns - 1) / 2 * pixel],
            [0.0, pixel, raster.centre_um[1] - (rows - 1) / 2 * pixel],
        ]
    )


def chain(outer: ArrayLike, inner: ArrayLike) -> Array:
    """Return the 2 x 3 affine that applies ``inner`` first, then ``outer``."""
    full = [np.vstack([np.asarray(m, float), [0.0, 0.0, 1.0]]) for m in (outer, inner)]
    return np.asarray((full[0] @ full[1])[:2])


SURFACE_STEP_UM = 0.1  # size of the voxels of the slices
STEEPNESS = 4.0  # of a surface, relative to the blurred one
UNDER_UM = 1.5  # active material less than this under a void is about as bright in a map as the plane itself


@dataclass(frozen=True, eq=False)
class ActiveStack:
    """Slices (z, y, x) of active material around the exposed plane, and of active material shortly under each.

    ``origin_um`` (x, y, z) is the centre of voxel (0, 0, 0).
    """

    slices: Volume
    under: Volume
    origin_um: Array
    voxel_um: float

    def index(self, points_um: Array, z_um: float) -> Array:
        """Return fractional (k, j, i), (3, n), of specimen points (n, 2) at height z."""
        i, j = ((points_um - self.origin_um[:2]) / self.voxel_um).T
        return np.stack([np.full(len(points_um), (z_um - self.origin_um[2]) / self.voxel_um), j, i])

    def plane(self, z_um: float) -> NDArray[np.float32]:
        """Return the slice (y, x) at a height, interpolated linearly; beyond the ends the outermost slice."""
        k = float(np.clip((z_um - self.origin_um[2]) / self.voxel_um, 0, len(self.slices) - 1))
        low = min(int(k), len(self.slices) - 2)
        part = np.float32(k - low)
        return np.asarray((1 - part) * self.slices[low] + part * self.slices[low + 1], dtype=np.float32)

    def blurred_plane(self, z_um: float, sigma_um: float) -> NDArray[np.float32]:
        return np.asarray(ndimage.gaussian_filter(self.plane(z_um), sigma_um / self.voxel_um))


def active_stack(
    normalised: Volume, voxel_um: float, z_um: tuple[float, float], centre_um: Array, reach_um: float
) -> ActiveStack:
    """Cut a normalised volume (1 is active material) to ``reach_um`` about ``centre_um`` (x, y) and the range ``z_um``.

    The slices have voxels of about ``SURFACE_STEP_UM``. Raises ValueError when the plane is outside the volume.
    """
    nz, ny, nx = normalised.shape
    z = (np.arange(nz) - (nz - 1) / 2) * voxel_um
    if z_um[0] < z[0] or z_um[1] > z[-1]:
        raise ValueError(
            f"exposed_z_um: the search from {z_um[0]:.2f} to {z_um[1]:.2f} um leaves the volume, "
            f"which reaches from {z[0]:.2f} to {z[-1]:.2f} um"
        )
    first, last = int((z_um[0] - UNDER_UM - z[0]) / voxel_um), int((z_um[1] - z[0]) / voxel_um) + 2
    cut, corner = [slice(max(0, first), last)], [float(z[max(0, first)])]
    for n, middle in ((ny, centre_um[1]), (nx, centre_um[0])):
        mid = middle / voxel_um + (n - 1) / 2
        low, high = int(np.floor(mid - reach_um / voxel_um)), int(np.ceil(mid + reach_um / voxel_um)) + 1
        cut.append(slice(max(0, low), max(0, min(n, high))))
        corner.append((max(0, low) - (n - 1) / 2) * voxel_um)
    part = normalised[tuple(cut)]
    if min(part.shape) < 4:
        raise ValueError(
            f"initial: puts the field's centre at ({centre_um[0]:.1f}, {centre_um[1]:.1f}) um, outside the volume"
        )
    finer = max(1, round(voxel_um / SURFACE_STEP_UM))
    fine = surfaces(ndimage.zoom(np.clip(part, 0.0, 1.0), [(n * finer - finer + 1) / n for n in part.shape], order=1))
    below = max(1, round(UNDER_UM * finer / voxel_um / 2))
    under = ndimage.maximum_filter1d(fine, 2 * below + 1, axis=0, origin=below, mode="nearest")
    return ActiveStack(fine, under, np.array(corner[::-1]), voxel_um / finer)


def surfaces(part: Volume) -> Volume:
    """Return a blurred volume of active material (0 to 1) with steep surfaces.

    Surfaces are where the volume is one half, for any blur, and a map cuts them without blur in depth.
    """
    return np.asarray(np.clip(0.5 + STEEPNESS * (part - 0.5), 0.0, 1.0), dtype=np.float32)

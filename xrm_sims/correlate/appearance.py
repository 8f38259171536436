"""What a SIMS raster and a CT volume have in common: an image of active material, on comparable scales.

The map shows the first solid under each pixel; where a void is open at the exposed plane, that is what lies at its
bottom. CT knows active material only, so a second image lets active material below the plane shine through what is
empty above it, fainter with depth (binder, invisible in CT, may hide it). How much of each is in the map is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from xrm_sims.correlate.segment import Volume
from xrm_sims.patterns import Raster


def sims_active(counts: ArrayLike, channels: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """Counts (frame, channel, row, column) or (channel, row, column) to one image, 0 to about 1.

    Frames and channels are summed and the square root taken, which makes Poisson noise the same everywhere.
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
    root = np.sqrt(total)
    low, high = np.percentile(ndimage.uniform_filter(root, 5), [2, 98])
    if high - low < 0.5:
        raise ValueError(
            f"sims_counts: blank, the sum over channels goes from {low**2:.3g} to {high**2:.3g} counts per pixel; "
            "there is nothing to register"
        )
    return np.clip((root - low) / (high - low), -0.5, 1.5)


def pixel_to_scan(raster: Raster) -> NDArray[np.float64]:
    """2 x 3 affine from pixel (column, row) to scan coordinates (u, v) in um."""
    rows, columns = raster.shape
    pixel = raster.pixel_um
    return np.array(
        [
            [pixel, 0.0, raster.centre_um[0] - (columns - 1) / 2 * pixel],
            [0.0, pixel, raster.centre_um[1] - (rows - 1) / 2 * pixel],
        ]
    )


def chain(outer: ArrayLike, inner: ArrayLike) -> NDArray[np.float64]:
    """The 2 x 3 affine that applies ``inner`` first."""
    full = [np.vstack([np.asarray(m, float), [0.0, 0.0, 1.0]]) for m in (outer, inner)]
    return (full[0] @ full[1])[:2]


@dataclass(frozen=True, eq=False)
class ActiveStack:
    """Slices (z, y, x) of active material and of what shines through from below, around the exposed plane.

    ``origin_um`` (x, y, z) is the centre of voxel (0, 0, 0).
    """

    slices: Volume
    below: Volume
    origin_um: NDArray[np.float64]
    voxel_um: float

    def index(self, points_um: NDArray[np.float64], z_um: float) -> NDArray[np.float64]:
        """(3, n) fractional (k, j, i) of specimen points (n, 2) at height z."""
        i, j = ((points_um - self.origin_um[:2]) / self.voxel_um).T
        return np.stack([np.full(len(points_um), (z_um - self.origin_um[2]) / self.voxel_um), j, i])

    def blurred(self, sigma_um: float) -> ActiveStack:
        sigma = (0.0, sigma_um / self.voxel_um, sigma_um / self.voxel_um)
        smooth = [ndimage.gaussian_filter(a, sigma) for a in (self.slices, self.below)]
        return ActiveStack(smooth[0], smooth[1], self.origin_um, self.voxel_um)


def active_stack(
    normalised: Volume,
    voxel_um: float,
    z_um: tuple[float, float],
    centre_um: NDArray[np.float64],
    reach_um: float,
    shine_um: float,
) -> ActiveStack:
    """The part of a normalised volume (1 is active material) within ``reach_um`` of ``centre_um`` (x, y) and ``z_um``.

    ``shine_um`` is the depth over which what lies under a void fades to 1/e. Raises ValueError when the plane is
    outside the volume.
    """
    nz, ny, nx = normalised.shape
    z = (np.arange(nz) - (nz - 1) / 2) * voxel_um
    if z_um[0] < z[0] or z_um[1] > z[-1]:
        raise ValueError(
            f"exposed_z_um: the search from {z_um[0]:.2f} to {z_um[1]:.2f} um leaves the volume, "
            f"which reaches from {z[0]:.2f} to {z[-1]:.2f} um"
        )
    cut, corner = [], []
    for n, middle in ((ny, centre_um[1]), (nx, centre_um[0])):
        mid = middle / voxel_um + (n - 1) / 2
        low, high = int(np.floor(mid - reach_um / voxel_um)), int(np.ceil(mid + reach_um / voxel_um)) + 1
        cut.append(slice(max(0, low), max(0, min(n, high))))
        corner.append((max(0, low) - (n - 1) / 2) * voxel_um)
    part = np.clip(normalised[:, cut[0], cut[1]], 0.0, 1.0)
    if min(part.shape) < 4:
        raise ValueError(
            f"initial: puts the field's centre at ({centre_um[0]:.1f}, {centre_um[1]:.1f}) um, outside the volume"
        )
    low, high = (int(np.searchsorted(z, z_um[0], "right")) - 1, int(np.searchsorted(z, z_um[1])) + 1)
    fade = np.float32(np.exp(-voxel_um / shine_um))
    seen = np.zeros_like(part)
    for k in range(1, nz):
        # What is empty at k shows what was seen one voxel deeper.
        seen[k] = (1 - part[k]) * fade * (part[k - 1] + seen[k - 1])
    return ActiveStack(part[low:high], seen[low:high], np.array([corner[1], corner[0], z[low]]), voxel_um)

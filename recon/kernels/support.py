"""Where the specimen can be: a cylinder along z, or any mask (y, x)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrm_sims.geometry import Geometry

BLUR_ROOM = 1.03  # what the blur of the edge puts outside of a tight support would pile up at its rim


def field_of_view_um(geometry: Geometry) -> float:
    """Radius of the cylinder that every view sees, within the volume: the support unless told otherwise."""
    half = 0.5 * (geometry.detector_shape[1] - 1) * geometry.pixel_mm
    sees_um = geometry.source_object_mm * 1e3 * math.sin(math.atan2(half, geometry.source_detector_mm))
    return min(sees_um, 0.5 * geometry.voxel_um * min(geometry.volume_shape[1:]))


def support_mask(support: float | ArrayLike | None, geometry: Geometry) -> NDArray[np.bool_]:
    _, ny, nx = geometry.volume_shape
    if support is None or np.ndim(support) == 0:
        radius = field_of_view_um(geometry) if support is None else float(np.asarray(support))
        if not radius > 0:
            raise ValueError(f"support: needs a positive radius in um or a mask (y, x), got {radius}")
        y, x = ((np.arange(n) - (n - 1) / 2) * geometry.voxel_um for n in (ny, nx))
        return np.asarray(y[:, None] ** 2 + x[None, :] ** 2 <= radius * radius)
    mask = np.asarray(support).astype(bool)
    if mask.shape != (ny, nx) or not mask.any():
        raise ValueError(f"support: needs a radius in um or a mask (y, x) of shape {(ny, nx)}, got {mask.shape}")
    return mask


def slices_beyond(geometry: Geometry, radius_um: float) -> int:
    """Slices above and below the volume that some view sees because its image moved or its rays lean.

    Without them what lies there is piled up in the outermost slices.
    """
    half_um = 0.5 * geometry.volume_shape[0] * geometry.voxel_um
    lean_um = half_um * radius_um / (geometry.source_object_mm * 1e3)
    rows_px = 0.0 if geometry.view_shifts_px is None else float(np.abs(geometry.view_shifts_px[:, 0]).max())
    moved_um = rows_px * geometry.pixel_mm * 1e3 / geometry.magnification
    return math.ceil((lean_um + moved_um) / geometry.voxel_um) + 1


def columns_outside(geometry: Geometry, radius_um: float) -> tuple[int, int]:
    """Voxels (y, x) on each side of the volume that lie outside of the support, so that nobody has to hold them."""
    needed = 2 * math.ceil(radius_um / geometry.voxel_um) + 2
    _, ny, nx = geometry.volume_shape
    return max(0, (ny - needed) // 2), max(0, (nx - needed) // 2)

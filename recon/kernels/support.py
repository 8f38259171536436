"""The region of the volume that can hold the specimen: a cylinder along z, or any mask (y, x)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrm_sims.geometry import Geometry

BLUR_ROOM = 1.03  # a tighter support piles up at its rim what the blur of the specimen's edge puts outside of it


def field_of_view_um(geometry: Geometry) -> float:
    """Radius of the cylinder in the volume that every view sees: the default support."""
    half = 0.5 * (geometry.detector_shape[1] - 1) * geometry.pixel_mm
    seen_um = geometry.source_object_mm * 1e3 * math.sin(math.atan2(half, geometry.source_detector_mm))
    return min(seen_um, 0.5 * geometry.voxel_um * min(geometry.volume_shape[1:]))


def support_radius_um(geometry: Geometry, specimen_um: float | None) -> float:
    """Radius of the support of a specimen with this radius; the field of view if that is smaller or None is given."""
    field_um = field_of_view_um(geometry)
    return field_um if specimen_um is None else min(BLUR_ROOM * specimen_um, field_um)


def support_mask(support: float | ArrayLike | None, geometry: Geometry) -> NDArray[np.bool_]:
    """Mask (y, x) of a support given as radius in um, as mask, or as None for the field of view."""
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


def solver_geometry(geometry: Geometry, radius_um: float, *, trim: bool = True) -> Geometry:
    """The geometry with the volume that the solver needs.

    It has more slices above and below where some view sees them, because its image moved or its rays are inclined;
    without them the outermost slices would collect what lies there. ``trim`` removes columns outside of the support.
    """
    nz, ny, nx = geometry.volume_shape
    inclined_um = 0.5 * nz * geometry.voxel_um * radius_um / (geometry.source_object_mm * 1e3)
    rows_px = 0.0 if geometry.view_shifts_px is None else float(np.abs(geometry.view_shifts_px[:, 0]).max())
    moved_um = rows_px * geometry.pixel_mm * 1e3 / geometry.magnification
    nz += 2 * (math.ceil((inclined_um + moved_um) / geometry.voxel_um) + 1)
    if trim:
        needed = 2 * math.ceil(radius_um / geometry.voxel_um) + 2
        ny, nx = (n - 2 * max(0, (n - needed) // 2) for n in (ny, nx))
    return replace(geometry, volume_shape=(nz, ny, nx))


def resized(volume: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Cut a volume, or pad it with zeros, equally on both sides of each axis; a view where nothing is padded."""
    less = [(old - new) // 2 for old, new in zip(volume.shape, shape, strict=True)]
    inner = volume[tuple(slice(max(n, 0), size - max(n, 0)) for n, size in zip(less, volume.shape, strict=True))]
    if inner.shape == shape:
        return inner
    out = np.zeros(shape, np.float32)
    out[tuple(slice(max(-n, 0), size - max(-n, 0)) for n, size in zip(less, shape, strict=True))] = inner
    return out

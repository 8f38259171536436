"""The rays of a scan in the form of the kernels: one row of numbers for each view, and the spans of the support."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from recon.kernels.columns import allocate, columns_view
from xrm_sims.geometry import Geometry

LINE = 16  # floats in a line of cache
BLOCK = 32  # detector columns that share a main axis; their output stays in the first-level cache


@dataclass(frozen=True)
class Rays:
    """A geometry in the form of the kernels: lengths in voxels, one row of ``views`` per view.

    views : cos, sin, source-axis distance, axis offset, detector pixels per unit slope, centre column, row level with
        the source, height of the source above the middle of the volume.
    along_x : (views, blocks of columns) whether a ray steps through planes of constant x, else of constant y.
    span_x, span_y : first and last + 1 index of the support in each plane of constant x and of constant y.
    """

    views: NDArray[np.float64]
    along_x: NDArray[np.bool_]
    span_x: NDArray[np.int64]
    span_y: NDArray[np.int64]
    volume_shape: tuple[int, int, int]
    columns: int
    rows: int

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> Rays:
        return replace(self, views=self.views[chosen], along_x=self.along_x[chosen])

    @property
    def centres(self) -> NDArray[np.float64]:
        """Column and row (n, 2) of the image of the middle of the volume when it lies on the axis."""
        lean = self.views[:, 7] * self.views[:, 4] / self.views[:, 2]
        return self.views[:, 5:7] - np.column_stack([np.zeros_like(lean), lean])

    @property
    def size(self) -> NDArray[np.int64]:
        nz, ny, nx = self.volume_shape
        return np.array([nx, ny, nz, self.columns, self.rows])

    def empty_volume(self) -> NDArray[np.float32]:
        """Return a flat volume of zeros with a border of one column on all sides."""
        nz, ny, nx = self.volume_shape
        return allocate((nx + 2) * (ny + 2), nz)

    def volume_view(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the data (x, y, z) of a flat volume as a view."""
        nz, ny, nx = self.volume_shape
        return columns_view(flat, (nx + 2, ny + 2), nz)[1:-1, 1:-1]

    def packed_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the flat volume of (z, y, x)."""
        flat = self.empty_volume()
        _swap_ends(volume, self.volume_view(flat))
        return flat

    def unpacked_volume(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (z, y, x) of a flat volume."""
        out = np.empty(self.volume_shape, np.float32)
        _swap_ends(self.volume_view(flat), out)
        return out

    def empty_projections(self) -> NDArray[np.float32]:
        return allocate(len(self) * self.columns, self.rows)

    def packed(self, p: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the flat projections of (view, row, column)."""
        flat = self.empty_projections()
        self.projections_view(flat)[...] = p.transpose(0, 2, 1)
        return flat

    def projections_view(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the data (view, column, row) of flat projections as a view."""
        return columns_view(flat, (len(self), self.columns), self.rows)


def trace(
    geometry: Geometry,
    support: NDArray[np.bool_] | None = None,
    margin: tuple[int, int] = (0, 0),
    like: Rays | None = None,
) -> Rays:
    """Return the rays of a geometry, limited by ``support`` (y, x) or by that of ``like`` in the same volume.

    ``margin`` adds (rows, columns) of pixels on all sides.
    """
    n, (rows, columns) = geometry.num_views, geometry.detector_shape
    shifts = np.zeros((n, 2)) if geometry.view_shifts_px is None else geometry.view_shifts_px
    angles = np.radians(geometry.angles_deg)
    views = np.zeros((n, 8))
    views[:, 0], views[:, 1] = np.cos(angles), np.sin(angles)
    views[:, 2] = geometry.source_object_mm * 1e3 / geometry.voxel_um
    views[:, 3] = geometry.axis_offset_um / geometry.voxel_um
    views[:, 4] = geometry.source_detector_mm / geometry.pixel_mm
    if geometry.view_scale is not None:
        views[:, 4] *= geometry.view_scale
    rows, columns = rows + 2 * margin[0], columns + 2 * margin[1]
    views[:, 5] = (columns - 1) / 2 + geometry.detector_offset_px[1] + shifts[:, 1]
    if geometry.view_height_um is not None:
        views[:, 7] = geometry.view_height_um / geometry.voxel_um
    lean = views[:, 7] * views[:, 4] / views[:, 2]
    views[:, 6] = (rows - 1) / 2 + geometry.detector_offset_px[0] + shifts[:, 0] + lean
    middle = np.arange(0, columns, BLOCK) + BLOCK / 2
    fan = np.arctan((middle[None, :] - views[:, 5:6]) / views[:, 4:5]) - angles[:, None]
    _, ny, nx = geometry.volume_shape
    inside = np.ones((ny, nx), bool) if support is None else support
    return Rays(
        views=views,
        along_x=np.abs(np.cos(fan)) >= np.abs(np.sin(fan)),
        span_x=_spans(inside.T) if like is None else like.span_x,
        span_y=_spans(inside) if like is None else like.span_y,
        volume_shape=geometry.volume_shape,
        columns=columns,
        rows=rows,
    )


def _spans(lines: NDArray[np.bool_]) -> NDArray[np.int64]:
    some = lines.any(axis=1)
    first, last = lines.argmax(axis=1), lines.shape[1] - lines[:, ::-1].argmax(axis=1)
    return np.stack([np.where(some, first, 0), np.where(some, last, 0)], axis=1)


@njit(cache=True, parallel=True, nogil=True)
def _swap_ends(volume, out):
    """out (c, b, a) = volume (a, b, c), a few lines of cache at a time."""
    na, nb, nc = volume.shape
    for b in prange(nb):
        for first in range(0, nc, LINE):
            for a in range(na):
                for c in range(first, min(first + LINE, nc)):
                    out[c, b, a] = volume[a, b, c]

"""Projector of cone and parallel beams and its exact adjoint.

Forward: P. M. Joseph, IEEE Trans. Med. Imaging 1 (1982) 192, in the columns of the layout of :mod:`recon.columns`:
a ray steps through the planes of its main axis and interpolates linearly across and along the columns. The adjoint
applies the transposed weights of the same steps. A detector roll is a resampling of the finished images (and its
transpose), so that the columns stay vertical.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numba import float32, njit, prange
from numpy.typing import ArrayLike, NDArray

from recon.columns import PAD, allocate, columns_view, resample, spread
from xrm_sims.geometry import Geometry

TILE = 64  # columns of the volume that stay in cache while the views of a subset pass
BLOCK = 32  # detector columns that share a main axis; their output stays in the first-level cache


@dataclass(frozen=True)
class Rays:
    """A geometry as the kernels want it: lengths in voxels, one row of ``views`` per view.

    views : cos, sin, source-axis distance, axis offset, detector pixels per unit slope, centre column, row level with
        the source, height of the source above the middle of the volume.
    along_x : (views, blocks of columns) whether the planes of a ray are those of constant x.
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
        """(n, 2) column and row on which the middle of the volume falls when it lies on the axis."""
        lean = self.views[:, 7] * self.views[:, 4] / self.views[:, 2]
        return self.views[:, 5:7] - np.column_stack([np.zeros_like(lean), lean])

    @property
    def size(self) -> NDArray[np.int64]:
        nz, ny, nx = self.volume_shape
        return np.array([nx, ny, nz, self.columns, self.rows])

    def empty_volume(self) -> NDArray[np.float32]:
        """Zeros with a border of one column all round, flat."""
        nz, ny, nx = self.volume_shape
        return allocate((nx + 2) * (ny + 2), nz)

    def volume_view(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """(x, y, z) data of a flat volume."""
        nz, ny, nx = self.volume_shape
        return columns_view(flat, (nx + 2, ny + 2), nz)[1:-1, 1:-1]

    def empty_projections(self) -> NDArray[np.float32]:
        return allocate(len(self) * self.columns, self.rows)

    def packed(self, p: NDArray[np.float32]) -> NDArray[np.float32]:
        """Flat projections from (view, row, column)."""
        flat = self.empty_projections()
        self.projections_view(flat)[...] = p.transpose(0, 2, 1)
        return flat

    def projections_view(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """(view, column, row) data of flat projections."""
        return columns_view(flat, (len(self), self.columns), self.rows)


def trace(
    geometry: Geometry,
    support: NDArray[np.bool_] | None = None,
    margin: tuple[int, int] = (0, 0),
    like: Rays | None = None,
) -> Rays:
    """The rays of a geometry; ``support`` (y, x) limits them, or that of ``like`` in the same volume; ``margin`` adds
    (rows, columns) of pixels all round."""
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


@njit(fastmath=True, forceinline=True)
def _frame(view, along_x, nx, ny, stride):
    """Source, ray direction at zero slope and its change with slope, as (plane axis, cross axis), and strides."""
    cos, sin, sod, axis = view[0], view[1], view[2], view[3]
    sx = -sod * cos - axis * sin + (nx - 1) * 0.5
    sy = sod * sin - axis * cos + (ny - 1) * 0.5
    if along_x:
        return sx, sy, cos, sin, -sin, cos, nx, (ny + 2) * stride, stride
    return sy, sx, -sin, cos, cos, sin, ny, stride, (ny + 2) * stride


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _sum_planes(out, volume, views, along_x, span_x, span_y, size):
    """out = sums over the planes of each ray, without the length of its steps."""
    nx, ny, nz, columns, rows = size
    stride, pitch = nz + PAD, rows + PAD
    blocks = along_x.shape[1]
    for task in prange(views.shape[0] * blocks):
        v, first = task // blocks, task % blocks * BLOCK
        last = min(first + BLOCK, columns)
        begin = (v * columns + first) * pitch
        for n in range((last - first) * pitch):
            out[begin + n] = 0.0
        flag = along_x[v, task % blocks]
        sp, sq, p0, p1, q0, q1, planes, p_stride, q_stride = _frame(views[v], flag, nx, ny, stride)
        mag, centre, middle = views[v, 4], views[v, 5], views[v, 6]
        slope, step = np.empty(BLOCK), np.empty(BLOCK)
        for c in range(first, last):
            tangent = (c - centre) / mag
            step[c - first] = 1.0 / (p0 + tangent * p1)
            slope[c - first] = (q0 + tangent * q1) * step[c - first]
        for p in range(planes):
            low, high = (span_x[p, 0], span_x[p, 1]) if flag else (span_y[p, 0], span_y[p, 1])
            for c in range(first, last):
                q = sq + (p - sp) * slope[c - first]
                if q <= low - 1 or q >= high or low == high:
                    continue
                near = int(q + 1.0)
                column = (p + 1) * p_stride + near * q_stride + PAD
                g = (p - sp) * step[c - first] / mag
                resample(
                    out,
                    begin + (c - first) * pitch + PAD,
                    rows,
                    volume,
                    column,
                    column + q_stride,
                    nz,
                    float32(q + 1.0 - near),
                    float32(1.0),
                    float32((nz - 1) * 0.5 + views[v, 7] - middle * g),
                    float32(g),
                )


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _spread_planes(volume, data, views, along_x, span_x, span_y, size, axis_x):
    """The transpose of :func:`_sum_planes` for the rays whose planes are of constant x (or y)."""
    nx, ny, nz, columns, rows = size
    stride, pitch = nz + PAD, rows + PAD
    count = nx if axis_x else ny
    for p in prange(count):
        low, high = (span_x[p, 0], span_x[p, 1]) if axis_x else (span_y[p, 0], span_y[p, 1])
        for v in range(views.shape[0]):
            sp, sq, p0, p1, q0, q1, _, p_stride, q_stride = _frame(views[v], axis_x, nx, ny, stride)
            mag, centre, middle = views[v, 4], views[v, 5], views[v, 6]
            for c in range(columns):
                if along_x[v, c // BLOCK] != axis_x:
                    continue
                tangent = (c - centre) / mag
                step = 1.0 / (p0 + tangent * p1)
                q = sq + (p - sp) * (q0 + tangent * q1) * step
                if q <= low - 1 or q >= high or low == high:
                    continue
                near = int(q + 1.0)
                column = (p + 1) * p_stride + near * q_stride + PAD
                g = (p - sp) * step / mag
                spread(
                    volume,
                    column,
                    column + q_stride,
                    nz,
                    data,
                    (v * columns + c) * pitch + PAD,
                    rows,
                    float32(q + 1.0 - near),
                    float32((nz - 1) * 0.5 + views[v, 7] - middle * g),
                    float32(g),
                )


@njit(fastmath=True, forceinline=True)
def smear(volume, data, views, size, i, low, high, factor, squared):
    """Add each view, where it shows them, to the columns ``low`` to ``high`` of the plane ``i`` of constant x.

    Voxel-driven: the weight is ``factor``, times the squared magnification (pixels per voxel) if ``squared``.
    """
    nx, ny, nz, columns, rows = size
    stride, pitch = nz + PAD, rows + PAD
    x0 = i - (nx - 1) * 0.5
    for v in range(views.shape[0]):
        cos, sin, sod, axis, mag = views[v, 0], views[v, 1], views[v, 2], views[v, 3], views[v, 4]
        for j in range(low, high):
            y0 = j - (ny - 1) * 0.5
            m = mag / (sod + x0 * cos - y0 * sin)
            u = views[v, 5] + m * (x0 * sin + y0 * cos + axis)
            if u < 0 or u >= columns - 1:
                continue
            near = int(u)
            weight = factor * float32(m * m) if squared else factor
            column = (v * columns + near) * pitch + PAD
            resample(
                volume,
                ((i + 1) * (ny + 2) + j + 1) * stride + PAD,
                nz,
                data,
                column,
                column + pitch,
                rows,
                float32(u - near),
                weight,
                float32(views[v, 6] - m * ((nz - 1) * 0.5 + views[v, 7])),
                float32(m),
            )


@njit(fastmath=True, forceinline=True)
def step_length(view, along_x, c, r):
    """Length in voxels of one step of the ray through pixel (row r, column c)."""
    tangent, height = (c - view[5]) / view[4], (r - view[6]) / view[4]
    cos, sin = view[0], view[1]
    towards = cos + tangent * sin if along_x else -sin + tangent * cos
    return math.sqrt(1.0 + tangent * tangent + height * height) / abs(towards)


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _scale_rays(data, views, along_x, columns, rows, factor):
    """Multiply each ray by ``factor`` times the length of its steps."""
    for line in prange(views.shape[0] * columns):
        v, c = line // columns, line % columns
        for r in range(rows):
            length = step_length(views[v], along_x[v, c // BLOCK], c, r)
            data[line * (rows + PAD) + PAD + r] *= float32(factor * length)


def sum_planes(rays: Rays, volume: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Flat volume → flat projections, before :func:`step_length`; the pads of ``out`` are left dirty."""
    _sum_planes(out, volume, rays.views, rays.along_x, rays.span_x, rays.span_y, rays.size)


def _roll_margin(geometry: Geometry) -> tuple[int, int]:
    """Pixels (rows, columns) by which the turned image reaches beyond the detector on each side."""
    if geometry.detector_roll_deg == 0:
        return 0, 0
    rows, columns = geometry.detector_shape
    tilt = abs(math.sin(math.radians(geometry.detector_roll_deg)))
    return math.ceil(columns * tilt) + 2, math.ceil(rows * tilt) + 2


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _turn(turned, upright, centres, cos, sin, transpose):
    """turned = upright images (view, column, row) turned counter-clockwise about ``centres``, or the transpose of that.

    ``centres`` (n, 4): column and row of the fixed point in ``turned`` and in ``upright``.
    """
    for v in prange(turned.shape[0]):
        for c in range(turned.shape[1]):
            for r in range(turned.shape[2]):
                u0, v0 = c - centres[v, 0], r - centres[v, 1]
                u = cos * u0 + sin * v0 + centres[v, 2]
                w = cos * v0 - sin * u0 + centres[v, 3]
                i, j = math.floor(u), math.floor(w)
                if i < 0 or j < 0 or i >= upright.shape[1] - 1 or j >= upright.shape[2] - 1:
                    continue
                fu, fw = float32(u - i), float32(w - j)
                one = float32(1.0)
                if transpose:
                    value = turned[v, c, r]
                    upright[v, i, j] += value * (one - fu) * (one - fw)
                    upright[v, i + 1, j] += value * fu * (one - fw)
                    upright[v, i, j + 1] += value * (one - fu) * fw
                    upright[v, i + 1, j + 1] += value * fu * fw
                else:
                    low = upright[v, i, j] * (one - fu) + upright[v, i + 1, j] * fu
                    high = upright[v, i, j + 1] * (one - fu) + upright[v, i + 1, j + 1] * fu
                    turned[v, c, r] = low * (one - fw) + high * fw


def _centres(rays: Rays, margin: tuple[int, int]) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.hstack([rays.centres - np.array([margin[1], margin[0]]), rays.centres]))


def upright(p: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Measured projections (angle, row, column) turned back by the detector roll, zero where nothing was measured."""
    if geometry.detector_roll_deg == 0:
        return p
    roll = math.radians(-geometry.detector_roll_deg)
    out = np.zeros((len(p), p.shape[2], p.shape[1]), np.float32)
    measured = np.ascontiguousarray(p.transpose(0, 2, 1))
    _turn(out, measured, _centres(trace(geometry), (0, 0)), math.cos(roll), math.sin(roll), False)
    return out.transpose(0, 2, 1)


def project(volume: ArrayLike, geometry: Geometry) -> NDArray[np.float32]:
    """Line integrals of a volume along all rays of a scan.

    Parameters
    ----------
    volume : (z, y, x) attenuation in 1/um, ``geometry.volume_shape``.
    geometry : the scan, with all its offsets, shifts, scales and roll in effect.

    Returns
    -------
    (angle, row, column) float32, dimensionless.

    Raises
    ------
    ValueError naming the argument when its shape does not fit or it holds NaN or infinity.
    """
    data = checked("volume", volume, geometry.volume_shape)
    margin = _roll_margin(geometry)
    rays = trace(geometry, margin=margin)
    flat, out = rays.empty_volume(), rays.empty_projections()
    rays.volume_view(flat)[...] = data.transpose(2, 1, 0)
    sum_planes(rays, flat, out)
    _scale_rays(out, rays.views, rays.along_x, rays.columns, rays.rows, geometry.voxel_um)
    image = rays.projections_view(out)
    if geometry.detector_roll_deg != 0:
        roll, (rows, columns) = math.radians(geometry.detector_roll_deg), geometry.detector_shape
        turned = np.zeros((len(rays), columns, rows), np.float32)
        straight = np.ascontiguousarray(image)
        _turn(turned, straight, _centres(rays, margin), math.cos(roll), math.sin(roll), False)
        image = turned
    return np.ascontiguousarray(image.transpose(0, 2, 1))


def backproject(p: ArrayLike, geometry: Geometry) -> NDArray[np.float32]:
    """The exact adjoint of :func:`project`: <project(v), p> = <v, backproject(p)>.

    Parameters
    ----------
    p : (angle, row, column), as :func:`project` returns them.
    geometry : the scan.

    Returns
    -------
    (z, y, x) float32 in um.

    Raises
    ------
    ValueError naming the argument when its shape does not fit or it holds NaN or infinity.
    """
    data = checked("p", p, (geometry.num_views, *geometry.detector_shape)).transpose(0, 2, 1)
    margin = _roll_margin(geometry)
    rays = trace(geometry, margin=margin)
    flat, source = rays.empty_volume(), rays.empty_projections()
    if geometry.detector_roll_deg != 0:
        roll = math.radians(geometry.detector_roll_deg)
        straight = np.zeros((len(rays), rays.columns, rays.rows), np.float32)
        turned, centres = np.ascontiguousarray(data), _centres(rays, margin)
        _turn(turned, straight, centres, math.cos(roll), math.sin(roll), True)
        data = straight
    rays.projections_view(source)[...] = data
    _scale_rays(source, rays.views, rays.along_x, rays.columns, rays.rows, geometry.voxel_um)
    for axis_x in (True, False):
        _spread_planes(flat, source, rays.views, rays.along_x, rays.span_x, rays.span_y, rays.size, axis_x)
    return np.ascontiguousarray(rays.volume_view(flat).transpose(2, 1, 0))


def checked(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A float32 array of this shape without NaN, or a ValueError that names it."""
    array = np.asarray(value, dtype=np.float32)
    if array.shape != shape:
        raise ValueError(f"{name}: got shape {array.shape}, the geometry needs {shape}")
    total = float(array.sum(dtype=np.float64))
    if not math.isfinite(total):
        raise ValueError(f"{name}: needs finite numbers, got {np.count_nonzero(~np.isfinite(array))} that are not")
    return array

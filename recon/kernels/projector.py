"""Projector of cone and parallel beams and its exact adjoint.

Forward: P. M. Joseph, IEEE Trans. Med. Imaging 1 (1982) 192, in the column layout of :mod:`recon.kernels.columns`: a
ray steps through the planes of its main axis and interpolates linearly across and along the columns. The adjoint
applies the transposed weights of the same steps.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, get_num_threads, njit, prange
from numpy.typing import ArrayLike, NDArray

from recon.kernels.argument_checks import checked_array
from recon.kernels.columns import PAD, resample, spread
from recon.kernels.rays import BLOCK, Rays, trace
from recon.kernels.roll import roll_margin, rolled, rolled_transposed
from xrm_sims.geometry import Geometry

GROUP = 8  # consecutive views that use a plane of the volume while it is in cache
TILE = 64  # columns of the volume that stay in cache during the views of a subset


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
def _sum_planes(out, volume, views, along_x, span_x, span_y, size, groups):
    """out = sums over the planes of each ray, without the length of its steps."""
    nx, ny, nz, columns, rows = size
    stride, pitch, n = nz + PAD, rows + PAD, views.shape[0]
    blocks = along_x.shape[1]
    for task in prange(groups * blocks):
        group, block = task // blocks, task % blocks
        from_v, to_v = group * n // groups, (group + 1) * n // groups
        first, last = block * BLOCK, min((block + 1) * BLOCK, columns)
        for v in range(from_v, to_v):
            begin = (v * columns + first) * pitch
            for k in range((last - first) * pitch):
                out[begin + k] = 0.0
        for axis_x in (True, False):
            for p in range(nx if axis_x else ny):
                low, high = (span_x[p, 0], span_x[p, 1]) if axis_x else (span_y[p, 0], span_y[p, 1])
                for v in range(from_v, to_v):
                    if along_x[v, block] == axis_x and low < high:
                        _sum_plane(out, volume, views[v], v, first, last, axis_x, p, low, high, size, stride, pitch)


@njit(fastmath=True, forceinline=True)
def _sum_plane(out, volume, view, v, first, last, axis_x, p, low, high, size, stride, pitch):
    """Add the values that the rays of the columns ``first`` to ``last`` of a view meet in plane ``p``."""
    nx, ny, nz, columns, rows = size
    sp, sq, p0, p1, q0, q1, _, p_stride, q_stride = _frame(view, axis_x, nx, ny, stride)
    mag, centre, middle = view[4], view[5], view[6]
    for c in range(first, last):
        tangent = (c - centre) / mag
        step = 1.0 / (p0 + tangent * p1)
        q = sq + (p - sp) * (q0 + tangent * q1) * step
        if q <= low - 1 or q >= high:
            continue
        near = int(q + 1.0)
        column = (p + 1) * p_stride + near * q_stride + PAD
        g = (p - sp) * step / mag
        resample(
            out,
            (v * columns + c) * pitch + PAD,
            rows,
            volume,
            column,
            column + q_stride,
            nz,
            float32(q + 1.0 - near),
            float32(1.0),
            float32((nz - 1) * 0.5 + view[7] - middle * g),
            float32(g),
        )


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _spread_planes(volume, data, views, along_x, span_x, span_y, size, axis_x):
    """Apply the transpose of :func:`_sum_planes` to the rays that step through planes of constant x (or y)."""
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
    """Add each view to those of the columns ``low`` to ``high`` of the plane ``i`` of constant x that it shows.

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
    """Sum a flat volume into flat projections, without :func:`step_length`; the pads of ``out`` are undefined."""
    blocks = rays.along_x.shape[1]
    groups = min(len(rays), max(math.ceil(len(rays) / GROUP), math.ceil(get_num_threads() / blocks)))
    _sum_planes(out, volume, rays.views, rays.along_x, rays.span_x, rays.span_y, rays.size, groups)


def project(volume: ArrayLike, geometry: Geometry) -> NDArray[np.float32]:
    """Return line integrals (angle, row, column) of a volume along all rays of a scan.

    Raises ValueError naming the argument when its shape does not fit or it holds NaN or infinity.

    Parameters
    ----------
    volume : (z, y, x) attenuation in 1/um, ``geometry.volume_shape``.
    geometry : the scan, with all its offsets, shifts, scales and roll in effect.
    """
    data = checked_array("volume", volume, geometry.volume_shape)
    margin = roll_margin(geometry)
    rays = trace(geometry, margin=margin)
    flat, out = rays.packed_volume(data), rays.empty_projections()
    sum_planes(rays, flat, out)
    _scale_rays(out, rays.views, rays.along_x, rays.columns, rays.rows, geometry.voxel_um)
    image = rolled(rays.projections_view(out), rays, geometry, margin)
    return np.ascontiguousarray(image.transpose(0, 2, 1))


def backproject(p: ArrayLike, geometry: Geometry) -> NDArray[np.float32]:
    """Return a volume (z, y, x) in um by the exact adjoint of :func:`project`: <project(v), p> = <v, backproject(p)>.

    Raises ValueError naming the argument when its shape does not fit or it holds NaN or infinity.

    Parameters
    ----------
    p : (angle, row, column), as :func:`project` returns them.
    geometry : the scan.
    """
    data = checked_array("p", p, (geometry.num_views, *geometry.detector_shape)).transpose(0, 2, 1)
    margin = roll_margin(geometry)
    rays = trace(geometry, margin=margin)
    flat, source = rays.empty_volume(), rays.empty_projections()
    rays.projections_view(source)[...] = rolled_transposed(data, rays, geometry, margin)
    _scale_rays(source, rays.views, rays.along_x, rays.columns, rays.rows, geometry.voxel_um)
    for axis_x in (True, False):
        _spread_planes(flat, source, rays.views, rays.along_x, rays.span_x, rays.span_y, rays.size, axis_x)
    return rays.unpacked_volume(flat)

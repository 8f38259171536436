"""Filtered back projection of cone-beam scans, with parallel ones as their limit.

L. A. Feldkamp, L. C. Davis, J. W. Kress, J. Opt. Soc. Am. A 1 (1984) 612. Projections are weighted, ramp filtered along
the detector rows and back projected with the square of the magnification, a few views at a time, in the column layout
of :mod:`recon.kernels.columns`.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import scipy.fft
from numba import float32, get_num_threads, njit, prange
from numpy.typing import ArrayLike, NDArray

from recon.algorithms.redundancy import covered_deg, view_weights
from recon.kernels.argument_checks import checked_scan
from recon.kernels.columns import PAD
from recon.kernels.differences import turned
from recon.kernels.projector import TILE, smear
from recon.kernels.rays import trace
from recon.kernels.support import support_mask
from xrm_sims.geometry import Geometry

VIEWS_AT_ONCE = 16  # enough for one pass over the volume to pay, few enough to need little memory
LEAST_COVERED_DEG = 175.0
EDGE_ROWS = 8  # their mean extends the detector; the noise of a single row would make stripes along the axis


def fdk(
    p: ArrayLike,
    geometry: Geometry,
    *,
    window: str = "ramp",
    support: float | ArrayLike | None = None,
    nonnegative: bool = False,
) -> NDArray[np.float32]:
    """Return a volume (z, y, x) in 1/um from line integrals by filtered back projection.

    Full turns, short scans (a half turn plus the fan), uneven, missing and repeated angles and a detector that is wider
    on one side of the axis are weighted by :func:`recon.algorithms.redundancy.view_weights`.

    Parameters
    ----------
    p : (angle, row, column) line integrals, dimensionless.
    geometry : the scan and the volume, with all offsets, shifts and the roll in effect.
    window : "ramp" is unmodified; "cosine" has the least error at about 1,500 counts, "hann" is smoother; "sharp" keeps
        all detail of the pixels with a third more noise, because it corrects for the interpolation between pixels,
        which multiplies by sinc^2 of the pitch times the frequency on average.
    support : radius in um of the cylinder that holds the specimen, or a mask (y, x); default the field of view.
    nonnegative : clip the volume at zero.

    Raises
    ------
    ValueError naming the argument, what it got and what it needs.
    """
    data = checked_scan(p, geometry)
    inside = support_mask(support, geometry)
    covered = covered_deg(geometry)
    if covered < LEAST_COVERED_DEG:
        text = f"angles_deg: rays cross the axis in {covered:.0f} of 180 degrees only, the other directions are missing"
        warnings.warn(text, stacklevel=2)
    rays = trace(geometry, inside)
    flat = rays.empty_volume()
    fdk_into(flat, data, geometry, inside, window=window)
    out = rays.unpacked_volume(flat)
    out[:, ~inside] = 0
    return np.maximum(out, 0, out=out) if nonnegative else out


def fdk_into(
    flat: NDArray[np.float32],
    p: NDArray[np.float32],
    geometry: Geometry,
    inside: NDArray[np.bool_],
    *,
    window: str = "ramp",
    weights: NDArray[np.floating] | None = None,
) -> None:
    """Add the filtered back projection of checked data to a flat volume in the kernels' layout.

    Voxels outside of ``inside`` (y, x) but within its spans in each plane are filled too. Rays whose ``weights``
    (angle, row, column) are zero are interpolated from their neighbours in the same row.
    """
    beyond = _rows_beyond(geometry)
    rays = trace(geometry, inside, (beyond, 0))
    rows, columns = geometry.detector_shape
    weight = view_weights(geometry) / (rays.views[:, 4:5] * geometry.voxel_um)
    length = scipy.fft.next_fast_len(2 * columns, real=True)
    response = ramp_response(columns, length, window)
    workers = get_num_threads()
    for first in range(0, geometry.num_views, VIEWS_AT_ONCE):
        some = slice(first, min(first + VIEWS_AT_ONCE, geometry.num_views))
        few = rays[some]
        straight = p[some] if weights is None else _interpolated(p[some], weights[some].astype(np.float32, copy=False))
        # repeated edges: the zeros of roll.upright would be edges for the ramp filter
        straight = turned(straight, few.centres[:, ::-1] - [beyond, 0], -math.radians(geometry.detector_roll_deg))
        image = np.zeros((len(few), rows, length), np.float32)
        _weigh(image, straight, few.views, weight[some], beyond)
        spectrum = scipy.fft.rfft(image, axis=-1, workers=workers, overwrite_x=True)
        spectrum *= response
        image = scipy.fft.irfft(spectrum, length, axis=-1, workers=workers, overwrite_x=True)
        filtered = few.empty_projections()
        ends = np.stack([image[:, :EDGE_ROWS].mean(axis=1), image[:, -EDGE_ROWS:].mean(axis=1)], axis=1)
        _lay_out(filtered, image, ends, columns, rows, beyond)
        _smear(flat, filtered, few.views, few.span_x, few.size)


def ramp_response(columns: int, length: int, window: str) -> NDArray[np.float32]:
    """Frequency response, (length // 2 + 1,), of the band-limited ramp for a pitch of 1 (Kak & Slaney 1988, eq. 3.61).

    The transform of the kernel cut to the detector's width, not |f|: so that zero padding leaves no offset behind.
    """
    n = np.arange(-(columns - 1), columns)
    odd = n % 2 == 1
    kernel = np.zeros(length)
    kernel[n[odd]] = -1 / (math.pi * n[odd]) ** 2
    kernel[0] = 0.25
    response = np.asarray(scipy.fft.rfft(kernel)).real
    phase = math.pi * np.linspace(0, 1, len(response))
    windows = {
        "ramp": np.ones_like(phase),
        "sharp": 1 / np.sinc(0.5 * phase / math.pi) ** 2,
        "cosine": np.cos(phase / 2),
        "hann": 0.5 + 0.5 * np.cos(phase),
    }
    if window not in windows:
        raise ValueError(f"window: needs one of {', '.join(windows)}, got {window!r}")
    return (response * windows[window]).astype(np.float32)


def _rows_beyond(geometry: Geometry) -> int:
    """Rows by which the near side of the specimen lies beyond the detector where its axis is at the edge."""
    rows = geometry.detector_shape[0]
    sod_um = geometry.source_object_mm * 1e3
    radius_um = 0.5 * geometry.voxel_um * max(geometry.volume_shape[1:])
    drift = 0.0 if geometry.view_shifts_px is None else float(np.ptp(geometry.view_shifts_px[:, 0]))
    return min(math.ceil(0.5 * rows * radius_um / (sod_um - radius_um) + drift), rows)


@njit(cache=True, parallel=True, nogil=True)
def _interpolated(p, weights):
    """p (view, row, column) with rays of no weight interpolated in their row, 0 in rows that have none."""
    whole = p.copy()
    columns = p.shape[2]
    for line in prange(p.shape[0] * p.shape[1]):
        v, r = line // p.shape[1], line % p.shape[1]
        left = -1
        for c in range(columns + 1):
            if c < columns and weights[v, r, c] <= 0:
                continue
            before = p[v, r, left] if left >= 0 else p[v, r, c] if c < columns else float32(0.0)
            after = p[v, r, c] if c < columns else before
            for gap in range(left + 1, c):
                whole[v, r, gap] = before + (after - before) * float32((gap - left) / (c - left))
            left = c
    return whole


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _weigh(image, p, views, weight, beyond):
    """image = p * weight (view, column) * (source distance + axis offset * slope) * cosine of the ray's angle."""
    for line in prange(p.shape[0] * p.shape[1]):
        v, r = line // p.shape[1], line % p.shape[1]
        mag = views[v, 4]
        height = (r + beyond - views[v, 6]) / mag
        for c in range(p.shape[2]):
            tangent = (c - views[v, 5]) / mag
            cosine = 1.0 / math.sqrt(1.0 + tangent * tangent + height * height)
            image[v, r, c] = p[v, r, c] * float32(weight[v, c] * (views[v, 2] + views[v, 3] * tangent) * cosine)


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _lay_out(flat, image, ends, columns, rows, beyond):
    """Images (view, row, column) into flat columns, carried on by ``ends`` (view, 2, column) beyond the detector."""
    pitch = rows + 2 * beyond + PAD
    for v in prange(image.shape[0]):
        for first in range(0, columns, 16):
            last = min(first + 16, columns)
            for r in range(-beyond, rows + beyond):
                source = image[v, r] if 0 <= r < rows else ends[v, int(r >= rows)]
                at = (v * columns + first) * pitch + PAD + beyond + r
                for c in range(first, last):
                    flat[at + (c - first) * pitch] = source[c]


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _smear(volume, data, views, span_x, size):
    """volume += sum over the views of data times the squared magnification, pixels per voxel at each voxel."""
    nx, ny, nz = size[0], size[1], size[2]
    stride, tiles = nz + PAD, (ny + TILE - 1) // TILE
    for task in prange(nx * tiles):
        i, first = task // tiles, task % tiles * TILE
        low, high = max(first, span_x[i, 0]), min(first + TILE, span_x[i, 1])
        smear(volume, data, views, size, i, low, high, float32(1.0), True)
        for j in range(low, high):
            begin = ((i + 1) * (ny + 2) + j + 1) * stride + PAD
            for k in range(nz, nz + -nz % 16):
                volume[begin + k] = 0.0  # what the last run of the kernel overwrote

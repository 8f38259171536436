"""SART updates of a volume in the memory layout of the kernels.

A. H. Andersen, A. C. Kak, Ultrasonic Imaging 6 (1984) 81. Each update compares the measured line integrals of a few
views with those of the volume, divides by the length of the ray in the support, and back projects the result with
linear interpolation in the image (whose weights add up to one, so that no column sums are needed). Projections are in
the layout of the kernels only during their update, which needs no memory beyond the volume and its own few views.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import float32, njit, prange
from numpy.typing import ArrayLike, NDArray

from recon.algorithms.fdk import fdk_into
from recon.kernels.argument_checks import checked_array
from recon.kernels.columns import PAD
from recon.kernels.projector import TILE, smear, step_length, sum_planes
from recon.kernels.rays import BLOCK, Rays, trace
from recon.kernels.roll import upright
from recon.kernels.support import support_mask
from recon.kernels.total_variation import denoise, noise_level
from xrm_sims.geometry import Geometry


class Misfit(NamedTuple):
    """Sums over the rays of some views, of weighted differences between measurement and projection of the volume.

    square : weight times squared difference, noise included.
    shared : products of weight times difference of neighbours in a row, in which independent noise averages out.
    """

    square: float
    shared: float


class Solver:
    """A volume that is updated by one subset of views at a time.

    Raises ValueError naming the argument, what it got and what it needs.

    Parameters
    ----------
    geometry : of the volume and its voxels; each update has the geometry of its own views.
    support : radius in um of the cylinder that holds the specimen, or a mask (y, x); default the field of view.
    nonnegative : clip the volume at zero.
    initial : (z, y, x) start in 1/um, default zero.
    guide : (z, y, x) another volume of the same specimen, whose edges the total variation does not penalise, or None.
    """

    def __init__(
        self,
        geometry: Geometry,
        *,
        support: float | ArrayLike | None = None,
        nonnegative: bool = True,
        initial: ArrayLike | None = None,
        guide: ArrayLike | None = None,
    ) -> None:
        self.geometry = geometry
        self.inside = support_mask(support, geometry)
        self._mask = np.ascontiguousarray(self.inside.T)
        self._radius = _radius(self.inside)
        self._floor = np.float32(0.0 if nonnegative else -np.inf)
        self._rays = trace(geometry.only(np.arange(1)), self.inside)
        self._flat = self._rays.empty_volume()
        self._guide = None if guide is None else checked_array("guide", guide, geometry.volume_shape).transpose(2, 1, 0)
        if initial is not None:
            start = checked_array("initial", initial, geometry.volume_shape)
            self._columns[...] = np.where(self.inside[None], start, 0).transpose(2, 1, 0)

    @property
    def _columns(self) -> NDArray[np.float32]:
        """(x, y, z)"""
        return self._rays.volume_view(self._flat)

    @property
    def volume(self) -> NDArray[np.float32]:
        """The volume (z, y, x) in 1/um, a view that changes with the next update; z is fastest in memory."""
        return self._columns.transpose(2, 1, 0)

    def update(
        self,
        p: NDArray[np.float32],
        geometry: Geometry,
        *,
        weights: NDArray[np.floating] | None = None,
        relaxation: float = 1.0,
        shared: bool = False,
    ) -> Misfit:
        """Update the volume with a few views at once, and return the :class:`Misfit` before the update.

        Parameters
        ----------
        p : (angle, row, column) line integrals of these views, and ``geometry`` of theirs alone.
        weights : (angle, row, column) weight of each ray, 0 to 1, or None for 1.
        relaxation : fraction of the correction that is applied.
        shared : whether to compute ``shared`` of the misfit; otherwise it is 0.
        """
        rays = trace(geometry, like=self._rays)
        trusted = np.ones(p.shape, np.float32) if weights is None else weights.astype(np.float32, copy=False)
        measured, trust = rays.packed(upright(p, geometry)), rays.packed(upright(trusted, geometry))
        out, sums = rays.empty_projections(), np.zeros((len(rays) * rays.columns, 2))
        sum_planes(rays, self._flat, out)
        chord = _chords(rays, self._radius)
        _residual(out, measured, trust, rays.views, rays.along_x, chord, rays.size, geometry.voxel_um, sums)
        if shared:
            _shared(measured, rays.size, sums)
        _update(self._flat, out, rays.views, rays.span_x, self._mask, rays.size, float(relaxation), self._floor)
        return Misfit(*sums.sum(axis=0).tolist())

    def start(self, p: NDArray[np.float32], geometry: Geometry, weights: NDArray[np.floating] | None = None) -> None:
        """Replace the volume by the filtered back projection (:func:`recon.fdk`); arguments as for :meth:`update`.

        Rays without weight are interpolated in their row. Negative values stay until the next update: clipped noise has
        a mean, which smoothing would turn into attenuation.
        """
        self._flat[:] = 0
        fdk_into(self._flat, p, geometry, self.inside, weights=weights)
        self._columns[~self._mask] = 0

    def smooth(self, noise_units: float) -> None:
        """Total-variation denoising, its strength in units of the volume's own noise."""
        if noise_units > 0:
            strength = noise_units * noise_level(self._columns, self._mask)
            denoise(self._columns, strength, self._mask, guide=self._guide)


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _residual(out, measured, weights, views, along_x, chord, size, voxel_um, found):
    """out = weights * (measured - out * step) / length of the ray in the support; ``measured`` becomes weights * that
    difference, and ``found`` (lines, 0) weights * its square."""
    nz, columns, rows = size[2], size[3], size[4]
    pitch = rows + PAD
    for line in prange(views.shape[0] * columns):
        v, c = line // columns, line % columns
        here = line * pitch
        for r in range(PAD):
            out[here + r] = 0.0
        total = float32(0.0)
        tangent = (c - views[v, 5]) / views[v, 4]
        near, through = float32(chord[v, c, 0]), float32(chord[v, c, 1] - chord[v, c, 0])
        square, half, least = float32(1.0 + tangent * tangent), float32(0.5 * nz), float32(1e-9)
        slope, middle, um = float32(1.0 / views[v, 4]), float32(views[v, 6]), float32(voxel_um)
        step = um * float32(step_length(views[v], along_x[v, c // BLOCK], c, views[v, 6]) / math.sqrt(square))
        sums = out[here + PAD : here + pitch]
        data, trust = measured[here + PAD : here + pitch], weights[here + PAD : here + pitch]
        for r in range(rows):
            height = (float32(r) - middle) * slope
            inside = min(through, near * (half / max(abs(height) * near, least) - float32(1.0)))
            stretch = math.sqrt(square + height * height)
            difference = data[r] - sums[r] * step * stretch
            trusted = trust[r] * difference
            total += trusted * difference
            sums[r] = float32(inside > 0) * trusted / (um * max(inside * stretch, float32(2.0)))
            data[r] = trusted
        found[line, 0] = total


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _shared(differences, size, found):
    """found (lines, 1) = sum over the rows of the product of neighbouring columns of a view."""
    columns, rows = size[3], size[4]
    pitch = rows + PAD
    for line in prange(found.shape[0]):
        here = line * pitch + PAD
        near = differences[here : here + rows]
        next_one = differences[here + pitch : here + pitch + rows]
        total = float32(0.0)
        if line % columns < columns - 1:
            for r in range(rows):
                total += near[r] * next_one[r]
        found[line, 1] = total


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _update(volume, data, views, span_x, inside, size, relaxation, floor):
    """volume += relaxation * mean over the views of data where the voxel is seen; clipped at floor, zero outside."""
    nx, ny, nz = size[0], size[1], size[2]
    stride, tiles = nz + PAD, (ny + TILE - 1) // TILE
    factor = float32(relaxation / views.shape[0])
    for task in prange(nx * tiles):
        i, first = task // tiles, task % tiles * TILE
        low, high = max(first, span_x[i, 0]), min(first + TILE, span_x[i, 1])
        smear(volume, data, views, size, i, low, high, factor, False)
        for j in range(low, high):
            begin = ((i + 1) * (ny + 2) + j + 1) * stride + PAD
            keep = float32(1.0) if inside[i, j] else float32(0.0)
            for k in range(nz):
                volume[begin + k] = keep * max(volume[begin + k], floor)
            for k in range(nz, nz + -nz % 16):
                volume[begin + k] = 0.0  # what the last run of the kernel overwrote


def _radius(inside: NDArray[np.bool_]) -> float:
    """Radius of the disk around the support, in voxels."""
    ny, nx = inside.shape
    y, x = np.nonzero(inside)
    return math.sqrt(((x - (nx - 1) / 2) ** 2 + (y - (ny - 1) / 2) ** 2).max()) + 0.5


def _chords(rays: Rays, radius: float) -> NDArray[np.float64]:
    """Return where each ray enters and leaves the disk around the support (view, column, 2): x in voxels."""
    sod, axis, mag, centre = (rays.views[:, n : n + 1] for n in (2, 3, 4, 5))
    tangent = (np.arange(rays.columns)[None, :] - centre) / mag
    square = 1 + tangent * tangent
    middle = (sod + tangent * axis) / square  # nearest point of (t, t tangent) to the axis at (sod, axis)
    gap = (sod * tangent - axis) ** 2 / square
    half = np.sqrt(np.maximum(radius * radius - gap, 0) / square)
    return np.stack([middle - half, middle + half], axis=-1)

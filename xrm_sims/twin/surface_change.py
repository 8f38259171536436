"""Material that ions removed and deposited, as X-rays see it: correction of path lengths through the height map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xrm_sims.specimen.materials import Material
from xrm_sims.twin.surface import Surface

DEPOSIT = int(Material.DEPOSIT)


class SurfaceChange(NamedTuple):
    """The smallest block of a height map with all cells that ions changed.

    top_um : (rows along +y, columns along +x) float32, present height; infinite in unchanged cells.
    layer_um : (rows, columns) float32, thickness of the deposit below the top; the solids follow.
    first_um : (2,) x and y of the block's corner; low_um : lowest changed height.
    """

    top_um: NDArray[np.float32]
    layer_um: NDArray[np.float32]
    first_um: NDArray[np.float64]
    pitch_um: float
    low_um: float


UNCHANGED = SurfaceChange(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32), np.zeros(2), 1.0, 0.0)


def find_surface_change(surface: Surface, fresh: Surface) -> SurfaceChange:
    """Return the difference between a surface and the unmilled one."""
    changed = (surface.heights_um != fresh.heights_um) | (surface.deposit_um > 0)
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return UNCHANGED
    block = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    top = np.where(changed[block], surface.heights_um[block], np.float32(np.inf))
    layer = np.where(changed[block], surface.deposit_um[block], np.float32(0.0))
    corner = surface.first_um + (np.array([columns[0], rows[0]]) - 0.5) * surface.pitch_um
    return SurfaceChange(top, layer, corner, surface.pitch_um, float((top - layer).min()))


@njit(cache=True)
def correct_path_lengths(surface_change, o, d, t_in, t_out, kind, n, path_um):  # type: ignore[no-untyped-def]
    """Correct path lengths (materials,) in um of the ray o + t d for removed and deposited material.

    ``t_in``, ``t_out``, ``kind``: its n intervals through the original solids, ascending. Steps along the ray are at
    most a cell long.
    """
    top, layer, first, pitch, low = surface_change
    begin, end = 0.0, np.inf
    for axis in range(2):
        lower = first[axis]
        upper = lower + pitch * top.shape[1 - axis]
        if d[axis] != 0.0:
            t1, t2 = (lower - o[axis]) / d[axis], (upper - o[axis]) / d[axis]
            begin, end = max(begin, min(t1, t2)), min(end, max(t1, t2))
        elif not lower < o[axis] < upper:
            return
    across = np.sqrt(d[0] * d[0] + d[1] * d[1])
    if begin >= end or across == 0.0 or max(o[2] + begin * d[2], o[2] + end * d[2]) <= low:
        return
    steps = int(np.ceil((end - begin) * across / pitch))
    step = (end - begin) / steps
    length = np.float32(step * np.sqrt(across * across + d[2] * d[2]))
    k = 0
    for i in range(steps):
        t = begin + (i + 0.5) * step
        row, column = int((o[1] + t * d[1] - first[1]) / pitch), int((o[0] + t * d[0] - first[0]) / pitch)
        row, column = min(row, top.shape[0] - 1), min(column, top.shape[1] - 1)
        z = o[2] + t * d[2]
        if z <= top[row, column] - layer[row, column]:
            continue
        while k < n and t_out[k] <= t:
            k += 1
        if k < n and t_in[k] <= t:
            path_um[kind[k]] -= length
        if z <= top[row, column]:
            path_um[DEPOSIT] += length

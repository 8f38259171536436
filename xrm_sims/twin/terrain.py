"""Compiled work on a height map: lower its columns through the solids, and look down on it from above.

A map is square or a block of a square one, rows along +y and columns along +x; heights and lengths in um, doses in nC
per um^2, rates in um^3 per nC by material code.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from xrm_sims.specimen.tracing import column_intervals, material_at_point


@njit(cache=True)
def _lower_column(solids, x, y, z, dose, plane, rates, removed):  # type: ignore[no-untyped-def]
    """New height of one column after a dose (nC per um^2) that stops at ``plane``; adds lengths to ``removed``."""
    tops, bottoms, kinds = column_intervals(solids, x, y, z)
    for k in range(len(kinds)):
        top, bottom, kind = tops[k], bottoms[k], kinds[k]
        if top <= plane:
            return top
        length = top - max(bottom, plane)
        reach = dose * rates[kind]
        if reach < length:
            removed[kind] += reach
            return top - reach
        removed[kind] += length
        dose -= length / rates[kind]
        if bottom < plane:
            return plane
    return solids.cylinders[:, 2].min()


@njit(cache=True, parallel=True)
def lower_block(solids, heights, first_y, first_x, pitch, dose, plane, rates):  # type: ignore[no-untyped-def]
    """Lower a block of the height map in place; removed lengths (rows, materials) in um."""
    rows, columns = heights.shape
    removed = np.zeros((rows, len(rates)))
    for r in prange(rows):
        for c in range(columns):
            if dose[r, c] >= 0.0 and plane < heights[r, c]:
                x, y, z = first_x + c * pitch, first_y + r * pitch, float(heights[r, c])
                heights[r, c] = min(_lower_column(solids, x, y, z, dose[r, c], plane, rates, removed[r]), z)
    return removed


@njit(cache=True)
def _meet(solids, x, y, z, depth):  # type: ignore[no-untyped-def]
    """Material and height just under the surface; where the map's cell hangs over free space, what lies below."""
    code = material_at_point(solids, x, y, z - depth)
    if code == 0:
        tops, _, _ = column_intervals(solids, x, y, z)
        if len(tops) > 0:
            z = tops[0]
            code = material_at_point(solids, x, y, z - depth)
    return code, z - depth


@njit(cache=True, parallel=True)
def look_down(solids, heights, pitch, first, depth, steps, xy):  # type: ignore[no-untyped-def]
    """Material codes (n,), points just under the surface (n, 3), sky share and cosine of the tilt at (n, 2) places."""
    n, size = len(xy), len(heights)
    codes, points = np.empty(n, np.uint8), np.empty((n, 3))
    sky, cos_tilt = np.empty(n, np.float32), np.empty(n, np.float32)
    per_um = 1.0 / (steps * pitch)
    for p in prange(n):
        x, y = xy[p, 0], xy[p, 1]
        c = min(max(int(np.rint((x - first) / pitch)), 0), size - 1)
        r = min(max(int(np.rint((y - first) / pitch)), 0), size - 1)
        z = float(heights[r, c])
        codes[p], points[p, 2] = _meet(solids, x, y, z, depth)
        points[p, 0], points[p, 1] = x, y
        west, east = heights[r, max(c - 1, 0)], heights[r, min(c + 1, size - 1)]
        south, north = heights[max(r - 1, 0), c], heights[min(r + 1, size - 1), c]
        slope2 = ((east - west) ** 2 + (north - south) ** 2) / (2.0 * pitch) ** 2
        cos_tilt[p] = 1.0 / np.sqrt(1.0 + slope2)
        total = 0.0
        for dr in range(-1, 2):
            for dc in range(-1, 2):
                if dr == 0 and dc == 0:
                    continue
                steepest = 0.0
                for k in range(len(steps)):
                    s = steps[k]
                    rise = heights[min(max(r + s * dr, 0), size - 1), min(max(c + s * dc, 0), size - 1)] - z
                    steepest = max(steepest, rise * per_um[k])
                total += 1.0 / (1.0 + steepest * steepest / float(dr * dr + dc * dc))
        sky[p] = total / 8.0
    return codes, points, sky, cos_tilt

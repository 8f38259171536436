"""Compiled functions on a height map: erosion of its columns, and the view from above.

A map is square or a block of a square one, rows along +y and columns along +x; heights and lengths in um, doses in nC
per um^2, rates in um^3 per nC by material code. Two more maps hold the thickness of the deposit at the top of each
column, and the depth eroded since its surface was exposed.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from xrm_sims.specimen.materials import Material
from xrm_sims.specimen.tracing import column_intervals, material_at_point, material_between

ATOM_UM = 1e-4  # thinner gaps are rounding errors of the heights, not free space
MARGIN_UM = 1e-3
DEPOSIT = int(Material.DEPOSIT)
HOLE_UM = 2.0  # most holes are less deep, and short columns cost less than whole ones


@njit(cache=True)
def _intervals_to(solids, x, y, z, plane):  # type: ignore[no-untyped-def]
    """Return the column's intervals: only those above a plane if one of them crosses it, else all."""
    z_low = plane - MARGIN_UM
    tops, bottoms, kinds = column_intervals(solids, x, y, z, z_low)
    for k in range(len(kinds)):
        if tops[k] > z_low >= bottoms[k]:
            return tops, bottoms, kinds
    return column_intervals(solids, x, y, z, -np.inf)


@njit(cache=True)
def _lower_column(solids, x, y, z, eroded, dose, plane, rates, fastest, removed):  # type: ignore[no-untyped-def]
    """Return height and eroded depth of a column after a dose (nC per um^2) down to ``plane``; adds to ``removed``."""
    low = max(z - dose * fastest, plane)
    inside = material_between(solids, x, y, low, z) if low > -np.inf else -1
    if inside > 0:  # the usual case: all within one material
        reach = min(dose * rates[inside], z - plane)
        removed[inside] += reach
        return z - reach, eroded + reach
    if dose < np.inf:
        tops, bottoms, kinds = column_intervals(solids, x, y, z, -np.inf)
    else:
        tops, bottoms, kinds = _intervals_to(solids, x, y, z, plane)
    at = z
    for k in range(len(kinds)):
        top, bottom, kind = tops[k], bottoms[k], kinds[k]
        if top < at - ATOM_UM:
            eroded = 0.0
        if top <= plane:
            return top, eroded
        length = top - max(bottom, plane)
        reach = dose * rates[kind]
        if reach < length:
            removed[kind] += reach
            return top - reach, eroded + reach
        removed[kind] += length
        eroded += length
        dose -= length / rates[kind]
        at = bottom
        if bottom < plane:
            return plane, eroded
    return solids.cylinders[:, 2].min(), eroded


@njit(cache=True, parallel=True)
def lower_block(  # type: ignore[no-untyped-def]
    solids, heights, deposit, eroded, first_y, first_x, pitch, dose, floor, rates
):
    """Lower a block in place, deposit first, down to ``floor``; return removed lengths (rows, materials) in um."""
    rows, columns = heights.shape
    removed = np.zeros((rows, len(rates)))
    fastest = rates.max()
    for r in prange(rows):
        for c in range(columns):
            plane = floor[r, c]
            if not (dose[r, c] >= 0.0 and plane < heights[r, c]):
                continue
            z, gone, left = float(heights[r, c]), float(eroded[r, c]), dose[r, c]
            layer = float(deposit[r, c])
            if layer > 0.0:
                taken = min(layer, z - plane, left * rates[DEPOSIT])
                removed[r, DEPOSIT] += taken
                left = max(left - taken / rates[DEPOSIT], 0.0)
                deposit[r, c] = layer - taken
                z, gone = z - taken, gone + taken
            if deposit[r, c] == 0.0 and plane < z:
                x, y = first_x + c * pitch, first_y + r * pitch
                low, gone = _lower_column(solids, x, y, z, gone, left, plane, rates, fastest, removed[r])
                z = min(low, z)
            heights[r, c], eroded[r, c] = z, gone
    return removed


@njit(cache=True, inline="always")
def _gentler(before, after):  # type: ignore[no-untyped-def]
    """Return the smaller of two slopes of equal sign, else 0 (minmod): a cliff's brink and a pit's bottom are flat."""
    if before * after <= 0.0:
        return 0.0
    return min(abs(before), abs(after))


@njit(cache=True)
def _facet_cos(heights, r, c, pitch):  # type: ignore[no-untyped-def]
    """Return the cosine of the tilt of a cell's facet under a beam from above."""
    rows, columns = heights.shape
    z = heights[r, c]
    along = _gentler(z - heights[r, max(c - 1, 0)], heights[r, min(c + 1, columns - 1)] - z) / pitch
    across = _gentler(z - heights[max(r - 1, 0), c], heights[min(r + 1, rows - 1), c] - z) / pitch
    return 1.0 / np.sqrt(1.0 + along * along + across * across)


@njit(cache=True, parallel=True)
def facets(heights, pitch):  # type: ignore[no-untyped-def]
    """Return the cosine of the tilt of each cell's facet."""
    rows, columns = heights.shape
    cos_tilt = np.empty((rows, columns), np.float32)
    for r in prange(rows):
        for c in range(columns):
            cos_tilt[r, c] = _facet_cos(heights, r, c, pitch)
    return cos_tilt


@njit(cache=True)
def _meet(solids, x, y, z, depth):  # type: ignore[no-untyped-def]
    """Return material and height just under the surface; over free space, those of the next solid below."""
    code = material_at_point(solids, x, y, z - depth)
    if code == 0:
        tops, _, _ = column_intervals(solids, x, y, z, z - HOLE_UM)
        if len(tops) == 0 or tops[0] <= z - HOLE_UM:
            tops, _, _ = column_intervals(solids, x, y, z, -np.inf)
        if len(tops) > 0:
            z = tops[0]
            code = material_at_point(solids, x, y, z - depth)
    return code, z - depth


@njit(cache=True)
def _sky(heights, r, c, pitch, steps, stretch):  # type: ignore[no-untyped-def]
    """Return the visible share of the sky: mean over 8 azimuths of cos^2 of the horizon at ``steps`` cells."""
    z, last = heights[r, c], len(heights) - 1
    north = south = west = east = north_west = north_east = south_west = south_east = 0.0
    for k in range(len(steps)):
        s = max(1, int(stretch * steps[k] + 0.5))
        per_um = 1.0 / (s * pitch)
        up, down, left, right = min(r + s, last), max(r - s, 0), max(c - s, 0), min(c + s, last)
        north = max(north, (heights[up, c] - z) * per_um)
        south = max(south, (heights[down, c] - z) * per_um)
        west = max(west, (heights[r, left] - z) * per_um)
        east = max(east, (heights[r, right] - z) * per_um)
        north_west = max(north_west, (heights[up, left] - z) * per_um)
        north_east = max(north_east, (heights[up, right] - z) * per_um)
        south_west = max(south_west, (heights[down, left] - z) * per_um)
        south_east = max(south_east, (heights[down, right] - z) * per_um)
    seen = 0.0
    for slope in (north, south, west, east):
        seen += 1.0 / (1.0 + slope * slope)
    for slope in (north_west, north_east, south_west, south_east):  # diagonal steps are sqrt(2) longer
        seen += 1.0 / (1.0 + 0.5 * slope * slope)
    return seen / 8.0


@njit(cache=True, parallel=True)
def look_down(solids, heights, deposit, eroded, pitch, first, depth, steps, xy):  # type: ignore[no-untyped-def]
    """Return the fields of a ``View`` at (n, 2) points.

    They are material codes (n,), points just under the surface (n, 3), and, each (n,), sky share, cosine of the tilt
    over three cells, cosine of the facet, eroded depth and thickness of the deposit.
    """
    n, size = len(xy), len(heights)
    codes, points = np.empty(n, np.uint8), np.empty((n, 3))
    sky, cos_tilt, cos_facet = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    gone, layer = np.empty(n, np.float32), np.empty(n, np.float32)
    for p in prange(n):
        x, y = xy[p, 0], xy[p, 1]
        # distances vary from point to point, so that a wall's shade fades smoothly; the digits of a sine are random
        # enough, and do not depend on the number of threads
        stretch = 1.6 ** (np.sin(12.9898 * p) * 43758.5453 % 1.0 - 0.5)
        c = min(max(int(np.rint((x - first) / pitch)), 0), size - 1)
        r = min(max(int(np.rint((y - first) / pitch)), 0), size - 1)
        z = float(heights[r, c])
        layer[p] = deposit[r, c]
        if layer[p] > depth:
            codes[p], points[p, 2] = DEPOSIT, z - depth
        else:
            codes[p], points[p, 2] = _meet(solids, x, y, z, depth)
        points[p, 0], points[p, 1] = x, y
        gone[p] = eroded[r, c] if points[p, 2] > z - depth - ATOM_UM else 0.0
        west, east = heights[r, max(c - 1, 0)], heights[r, min(c + 1, size - 1)]
        south, north = heights[max(r - 1, 0), c], heights[min(r + 1, size - 1), c]
        slope2 = ((east - west) ** 2 + (north - south) ** 2) / (2.0 * pitch) ** 2
        cos_tilt[p] = 1.0 / np.sqrt(1.0 + slope2)
        cos_facet[p] = _facet_cos(heights, r, c, pitch)
        sky[p] = _sky(heights, r, c, pitch, steps, stretch)
    return codes, points, sky, cos_tilt, cos_facet, gone, layer

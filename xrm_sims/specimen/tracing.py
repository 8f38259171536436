"""Exact intervals of one material along lines through the specimen, and the material at a point.

Every solid is convex, so a line crosses it once, from ``t_in`` to ``t_out``. Where solids overlap, the one with the
highest index counts; sorting all crossings and sweeping over them once splits the line into disjoint intervals. Indices
0 to ``len(cylinders) - 1`` are the vertical cylinders (disk, pedestal, deposit, lower pillar, detailed pillar); the
ellipsoids follow. They exist only inside the last cylinder, as if a FIB had cut them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from xrm_sims.specimen.grains import is_boundary


class Solids(NamedTuple):
    """The specimen as arrays for compiled code.

    cylinders : (c, 3) radius, top, bottom of vertical cylinders around the axis; the last one contains the ellipsoids.
    centre, half : (n, 3) centre and half edges of the bounding box of each ellipsoid.
    whiten : (n, 3, 3) maps a point of the ellipsoid, relative to its centre, into the unit sphere.
    material : (c + n,) codes of ``Material``.
    cell_um, start, items : square buckets over x and y; bucket k holds ellipsoids ``items[start[k]:start[k + 1]]``,
        ascending.
    grains : pitch, thinnest and thickest boundary in um, decorated share of the facets.
    nca, nca_boundary : the two codes of points inside NCA.
    """

    cylinders: NDArray[np.float64]
    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    whiten: NDArray[np.float64]
    material: NDArray[np.uint8]
    cell_um: float
    start: NDArray[np.int64]
    items: NDArray[np.int32]
    grains: NDArray[np.float64]
    nca: int
    nca_boundary: int


@njit(cache=True, inline="always")
def _bucket(solids: Solids, x: float, y: float) -> int:
    """Return the index of the bucket over (x, y), -1 outside the detailed pillar."""
    radius = solids.cylinders[-1, 0]
    if x * x + y * y >= radius * radius:
        return -1
    cells = int(np.ceil(2.0 * radius / solids.cell_um))
    return int((y + radius) / solids.cell_um) * cells + int((x + radius) / solids.cell_um)


@njit(cache=True)
def solid_at(solids: Solids, x: float, y: float, z: float) -> int:
    """Return the index of the solid at a point, -1 in free space."""
    detail = len(solids.cylinders) - 1
    if solids.cylinders[detail, 2] <= z <= solids.cylinders[detail, 1]:
        bucket = _bucket(solids, x, y)
        if bucket >= 0:
            for k in range(solids.start[bucket + 1] - 1, solids.start[bucket] - 1, -1):
                i = solids.items[k]
                dz = z - solids.centre[i, 2]
                if abs(dz) > solids.half[i, 2]:
                    continue
                dx = x - solids.centre[i, 0]
                dy = y - solids.centre[i, 1]
                w = solids.whiten[i]
                a = w[0, 0] * dx + w[0, 1] * dy + w[0, 2] * dz
                b = w[1, 0] * dx + w[1, 1] * dy + w[1, 2] * dz
                c = w[2, 0] * dx + w[2, 1] * dy + w[2, 2] * dz
                if a * a + b * b + c * c <= 1.0:
                    return detail + 1 + i
            return detail
    for k in range(detail, -1, -1):
        radius, top, bottom = solids.cylinders[k]
        if bottom <= z <= top and x * x + y * y <= radius * radius:
            return k
    return -1


@njit(cache=True)
def material_at_point(solids: Solids, x: float, y: float, z: float) -> int:
    """Return the material code at a point, which (unlike an interval) resolves aluminium-rich boundaries in NCA."""
    solid = solid_at(solids, x, y, z)
    if solid < 0:
        return 0
    code = solids.material[solid]
    if code == solids.nca:
        i = solid - len(solids.cylinders)
        if is_boundary(solids.centre[i], solids.whiten[i], i, solids.grains, x, y, z):
            return solids.nca_boundary
    return code


@njit(cache=True, parallel=True)
def materials_at(solids: Solids, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the codes of (n, 3) points."""
    codes = np.empty(len(points), np.uint8)
    for k in prange(len(points)):
        codes[k] = material_at_point(solids, points[k, 0], points[k, 1], points[k, 2])
    return codes


@njit(cache=True)
def solids_at(solids: Solids, points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the solid at each of (n, 3) points, -1 in free space."""
    found = np.empty(len(points), np.int64)
    for k in range(len(points)):
        found[k] = solid_at(solids, points[k, 0], points[k, 1], points[k, 2])
    return found


@njit(cache=True, parallel=True)
def nearest_sphere(
    points: NDArray[np.float64], centre: NDArray[np.float64], radius: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the distance of (n, 3) points to the nearest sphere (negative inside), and the index of that sphere."""
    distance = np.empty(len(points))
    nearest = np.empty(len(points), np.int64)
    for p in prange(len(points)):
        best = np.inf
        which = 0
        for i in range(len(centre)):
            d0, d1, d2 = points[p, 0] - centre[i, 0], points[p, 1] - centre[i, 1], points[p, 2] - centre[i, 2]
            d = np.sqrt(d0 * d0 + d1 * d1 + d2 * d2) - radius[i]
            if d < best:
                best, which = d, i
        distance[p] = best
        nearest[p] = which
    return distance, nearest


@njit(cache=True)
def sort_crossings(t: NDArray[np.float64], code: NDArray[np.int32], n: int) -> None:
    """Sort by ``t``, by insertion because the lists are short and partly ordered."""
    for i in range(1, n):
        ti = t[i]
        ci = code[i]
        j = i - 1
        while j >= 0 and t[j] > ti:
            t[j + 1] = t[j]
            code[j + 1] = code[j]
            j -= 1
        t[j + 1] = ti
        code[j + 1] = ci


@njit(cache=True)
def sweep(
    t: NDArray[np.float64],
    code: NDArray[np.int32],
    n: int,
    material: NDArray[np.uint8],
    active: NDArray[np.int32],
    t_in: NDArray[np.float64],
    t_out: NDArray[np.float64],
    kind: NDArray[np.uint8],
) -> int:
    """Write disjoint intervals of one material from sorted crossings; return their number.

    ``code`` is solid + 1 where the line enters and -(solid + 1) where it leaves. ``active`` is scratch of length n.
    Free space (code 0) is omitted; neighbours of equal material are joined.
    """
    count = 0
    inside = 0
    last = 0  # material of the present interval
    begin = 0.0
    for e in range(n):
        c = code[e]
        if c > 0:
            active[inside] = c
            inside += 1
        else:
            k = 0
            while active[k] != -c:
                k += 1
            inside -= 1
            active[k] = active[inside]
        top = 0
        for k in range(inside):
            top = max(top, active[k])
        now = material[top - 1] if top > 0 else 0
        if now != last:
            if last != 0 and t[e] > begin:
                if count > 0 and kind[count - 1] == last and t_out[count - 1] == begin:
                    t_out[count - 1] = t[e]
                else:
                    t_in[count], t_out[count], kind[count] = begin, t[e], last
                    count += 1
            last = now
            begin = t[e]
    return count


@njit(cache=True)
def cylinder_chord(radius, top, bottom, o, d):  # type: ignore[no-untyped-def]
    """Return the parameters between which the line o + t d is inside a vertical cylinder; (1, 0) when it misses."""
    low, high = -np.inf, np.inf
    a = d[0] * d[0] + d[1] * d[1]
    b = o[0] * d[0] + o[1] * d[1]
    c = o[0] * o[0] + o[1] * o[1] - radius * radius
    if a > 0.0:
        root = b * b - a * c
        if root <= 0.0:
            return 1.0, 0.0
        root = np.sqrt(root)
        low, high = (-b - root) / a, (-b + root) / a
    elif c >= 0.0:
        return 1.0, 0.0
    if d[2] != 0.0:
        t1, t2 = (bottom - o[2]) / d[2], (top - o[2]) / d[2]
        low, high = max(low, min(t1, t2)), min(high, max(t1, t2))
    elif not bottom < o[2] < top:
        return 1.0, 0.0
    return low, high


@njit(cache=True)
def _ellipsoid_chord(centre, whiten, o, d):  # type: ignore[no-untyped-def]
    """Return the parameters between which the line o + t d is inside an ellipsoid; (1, 0) when it misses."""
    a = b = c = 0.0
    for k in range(3):
        wd = whiten[k, 0] * d[0] + whiten[k, 1] * d[1] + whiten[k, 2] * d[2]
        wo = whiten[k, 0] * (o[0] - centre[0]) + whiten[k, 1] * (o[1] - centre[1]) + whiten[k, 2] * (o[2] - centre[2])
        a += wd * wd
        b += wd * wo
        c += wo * wo
    root = b * b - a * (c - 1.0)
    if root <= 0.0:
        return 1.0, 0.0
    root = np.sqrt(root)
    return (-b - root) / a, (-b + root) / a


@njit(cache=True, inline="always")
def push(t, code, n, low, high, solid):  # type: ignore[no-untyped-def]
    """Append the two crossings of a solid to a list of n if ``low < high``; return the new n."""
    if low < high:
        t[n], t[n + 1] = low, high
        code[n], code[n + 1] = solid + 1, -(solid + 1)
        return n + 2
    return n


@njit(cache=True)
def _line(solids, o, d, t_start, items):  # type: ignore[no-untyped-def]
    """Return intervals (t_in, t_out, material) of the line o + t d beyond t_start, for the listed ellipsoids."""
    detail = len(solids.cylinders) - 1
    size = 2 * (detail + 1 + len(items))
    t = np.empty(size)
    code = np.empty(size, np.int32)
    n = 0
    low = high = 0.0
    for k in range(detail + 1):
        low, high = cylinder_chord(solids.cylinders[k, 0], solids.cylinders[k, 1], solids.cylinders[k, 2], o, d)
        low = max(low, t_start)
        n = push(t, code, n, low, high, k)
    if low < high:
        for i in items:
            t1, t2 = _ellipsoid_chord(solids.centre[i], solids.whiten[i], o, d)
            n = push(t, code, n, max(t1, low), min(t2, high), detail + 1 + i)
    sort_crossings(t, code, n)
    t_in, t_out, kind = np.empty(n), np.empty(n), np.empty(n, np.uint8)
    count = sweep(t, code, n, solids.material, np.empty(n, np.int32), t_in, t_out, kind)
    return t_in[:count], t_out[:count], kind[:count]


@njit(cache=True)
def ray_intervals(
    solids: Solids, origin: NDArray[np.float64], direction: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
    """Return t_in, t_out, material code along origin + t * direction, t > 0 (um for a unit vector)."""
    return _line(solids, origin, direction, 0.0, np.arange(len(solids.centre)).astype(np.int32))


@njit(cache=True)
def ray_path_lengths(
    solids: Solids, origin: NDArray[np.float64], direction: NDArray[np.float64], num_materials: int
) -> NDArray[np.float64]:
    """Return path lengths in um per material code (num_materials,) along a ray; ``direction`` of any length."""
    t_in, t_out, kind = ray_intervals(solids, origin, direction)
    lengths = np.zeros(num_materials)
    scale = np.sqrt((direction * direction).sum())
    for k in range(len(kind)):
        lengths[kind[k]] += (t_out[k] - t_in[k]) * scale
    return lengths


@njit(cache=True)
def column_intervals(
    solids: Solids, x: float, y: float, z_start: float, z_low: float = -np.inf
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
    """Return z_top, z_bottom (descending) and material code of each interval straight down from (x, y, z_start).

    Intervals below ``z_low`` are wrong: ellipsoids that lie wholly below it are omitted.
    """
    bucket = _bucket(solids, x, y)
    items = solids.items[:0]
    if bucket >= 0:
        items = np.empty(solids.start[bucket + 1] - solids.start[bucket], np.int32)
        n = 0
        for i in solids.items[solids.start[bucket] : solids.start[bucket + 1]]:
            if solids.centre[i, 2] - solids.half[i, 2] < z_start and solids.centre[i, 2] + solids.half[i, 2] > z_low:
                items[n] = i
                n += 1
        items = items[:n]
    z_top, z_bottom, kind = _line(solids, np.array([x, y, 0.0]), np.array([0.0, 0.0, -1.0]), -z_start, items)
    return -z_top, -z_bottom, kind


@njit(cache=True)
def material_between(solids: Solids, x: float, y: float, low: float, high: float) -> int:
    """Return the code of the only material between two heights over (x, y), -1 if there are several.

    Also -1 beside the detailed pillar. It is much faster than :func:`column_intervals`.
    """
    detail = len(solids.cylinders) - 1
    bucket = _bucket(solids, x, y)
    if bucket < 0 or low < solids.cylinders[detail, 2] or high > solids.cylinders[detail, 1]:
        return -1
    highest = detail
    for i in solids.items[solids.start[bucket] : solids.start[bucket + 1]]:
        cz, half = solids.centre[i, 2], solids.half[i, 2]
        if cz + half <= low or cz - half >= high:
            continue
        dx, dy = x - solids.centre[i, 0], y - solids.centre[i, 1]
        a = b = c = 0.0
        for k in range(3):
            along = solids.whiten[i, k, 2]
            beside = solids.whiten[i, k, 0] * dx + solids.whiten[i, k, 1] * dy - along * cz
            a += along * along
            b += along * beside
            c += beside * beside
        root = b * b - a * (c - 1.0)
        if root <= 0.0:
            continue
        root = np.sqrt(root)
        bottom, top = (-b - root) / a, (-b + root) / a
        if top <= low or bottom >= high:
            continue
        if bottom > low or top < high:
            return -1
        highest = max(highest, detail + 1 + i)
    return int(solids.material[highest])

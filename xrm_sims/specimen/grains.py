"""Grains of the polycrystalline particles: an implicit Voronoi tessellation that stores nothing.

Each cell of a cubic lattice with the particle's orientation contains one seed at a hashed position (a jittered
lattice). A point belongs to the nearest seed; the facet between two grains is the plane midway between their seeds.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, inline="always")
def _mix(value: np.uint64) -> np.uint64:
    """Hash a number with the SplitMix64 finaliser (Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, inline="always")
def _unit(value: np.uint64) -> float:
    return float(value >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, inline="always")
def _cell_hash(particle: int, i: int, j: int, k: int) -> np.uint64:
    packed = np.uint64(i + 512) | (np.uint64(j + 512) << np.uint64(10)) | (np.uint64(k + 512) << np.uint64(20))
    return _mix(packed | (np.uint64(particle + 1) << np.uint64(30)))


@njit(cache=True, inline="always")
def _beyond(within: float, step: int) -> float:
    """Return the squared distance along one edge from a position ``within`` a unit cell to its neighbour ``step``."""
    return 0.0 if step == 0 else (within * within if step < 0 else (1.0 - within) * (1.0 - within))


@njit(cache=True)
def nearest_seeds(centre, whiten, particle, pitch_um, x, y, z):  # type: ignore[no-untyped-def]
    """Return the hashes of the two nearest seeds and the distance in um to the facet between them."""
    d0, d1, d2 = x - centre[0], y - centre[1], z - centre[2]
    # an NCA particle is a sphere: its whitening matrix is a rotation divided by its radius
    scale = 1.0 / (pitch_um * np.sqrt(whiten[0, 0] ** 2 + whiten[0, 1] ** 2 + whiten[0, 2] ** 2))
    u = scale * (whiten[0, 0] * d0 + whiten[0, 1] * d1 + whiten[0, 2] * d2)
    v = scale * (whiten[1, 0] * d0 + whiten[1, 1] * d1 + whiten[1, 2] * d2)
    w = scale * (whiten[2, 0] * d0 + whiten[2, 1] * d1 + whiten[2, 2] * d2)
    i0, j0, k0 = int(np.floor(u)), int(np.floor(v)), int(np.floor(w))
    best = second = 1e30
    best_hash = second_hash = np.uint64(0)
    bu = bv = bw = su = sv = sw = 0.0
    for di in (0, -1, 1):
        near_u = _beyond(u - i0, di)
        for dj in (0, -1, 1):
            near_uv = near_u + _beyond(v - j0, dj)
            for dk in (0, -1, 1):
                if near_uv + _beyond(w - k0, dk) >= second:  # no seed of this cell can be nearer
                    continue
                i, j, k = i0 + di, j0 + dj, k0 + dk
                h = _cell_hash(particle, i, j, k)
                pu = i + float(h & np.uint64(0xFFFFF)) / 1048576.0
                pv = j + float((h >> np.uint64(20)) & np.uint64(0xFFFFF)) / 1048576.0
                pw = k + float((h >> np.uint64(40)) & np.uint64(0xFFFFF)) / 1048576.0
                r = (pu - u) ** 2 + (pv - v) ** 2 + (pw - w) ** 2
                if r < best:
                    second, second_hash, su, sv, sw = best, best_hash, bu, bv, bw
                    best, best_hash, bu, bv, bw = r, h, pu, pv, pw
                elif r < second:
                    second, second_hash, su, sv, sw = r, h, pu, pv, pw
    apart = np.sqrt((bu - su) ** 2 + (bv - sv) ** 2 + (bw - sw) ** 2)
    return best_hash, second_hash, 0.5 * (second - best) / apart * pitch_um


@njit(cache=True)
def is_boundary(centre, whiten, particle, grains, x, y, z):  # type: ignore[no-untyped-def]
    """Return whether a point lies in a decorated facet; ``grains`` = pitch, thinnest, thickest boundary, share."""
    one, other, distance = nearest_seeds(centre, whiten, particle, grains[0], x, y, z)
    if distance > 0.5 * grains[2]:
        return False
    facet = _mix(one ^ other)
    thickness = grains[1] + (grains[2] - grains[1]) * _unit(_mix(facet + np.uint64(1)))
    return distance <= 0.5 * thickness and _unit(facet) < grains[3]


@njit(cache=True)
def grain_ids(
    solid: NDArray[np.int64],
    polycrystal: NDArray[np.bool_],
    crystal: NDArray[np.bool_],
    centre: NDArray[np.float64],
    whiten: NDArray[np.float64],
    pitch_um: float,
    points: NDArray[np.float64],
) -> NDArray[np.uint32]:
    """Return a number per crystal grain for (n, 3) points in ellipsoids ``solid``; 0 outside crystals."""
    ids = np.zeros(len(points), np.uint32)
    for p in range(len(points)):
        i = solid[p]
        if i < 0:
            continue
        if polycrystal[i]:
            grain = nearest_seeds(centre[i], whiten[i], i, pitch_um, points[p, 0], points[p, 1], points[p, 2])[0]
            ids[p] = np.uint32(grain >> np.uint64(32)) | np.uint32(1)
        elif crystal[i]:
            ids[p] = np.uint32(_mix(np.uint64(i + 1)) >> np.uint64(32)) | np.uint32(1)
    return ids

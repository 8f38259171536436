"""Total variation that does not penalise edges which another volume of the same specimen (the guide) has too.

Directional total variation (M. J. Ehrhardt, M. M. Betcke, SIAM J. Imaging Sci. 9 (2016) 1084): the sum of
|g - xi (xi . g)| over the voxels, where g is the gradient of the volume and xi that of the guide, of a length below 1
that vanishes where the guide is flat. A step of any sign and height across an edge of the guide costs almost nothing;
where the guide is flat, or has an edge that the volume has not, this is plain total variation, so that no edges of the
guide are copied. Solved by hand as in :mod:`recon.kernels.total_variation`, because no library here has it: the
operator's norm is no larger than that of the gradient.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, njit, prange
from numpy.typing import NDArray

EDGE = 0.05  # of the guide's rms: step between neighbouring voxels that counts half as an edge
ARRAYS = 10  # of the iteration, each as large as the volume


def edge_scale(guide: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Return the step between voxels of a guide (x, y, z) that counts half as an edge, from its rms in the mask."""
    total = sum(float(np.square(plane[mask]).sum(dtype=np.float64)) for plane, mask in zip(guide, inside, strict=True))
    return EDGE * math.sqrt(total / (np.count_nonzero(inside) * guide.shape[2]))


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def climb(dual, flux, ahead, guide, span, step, limit, scale):
    """Dual ascent: dual += step * (gradient of ahead without its part along the guide's), each vector shortened to
    ``limit``; ``flux`` is the dual without its part along the guide's."""
    nx, ny, nz = ahead.shape
    one, tiny = float32(1.0), float32(1e-30)
    least = max(scale * scale, tiny)
    for i in prange(nx):
        for j in range(span[i, 0], span[i, 1]):
            here, same = ahead[i, j], guide[i, j]
            east, same_east = (ahead[i + 1, j], guide[i + 1, j]) if i < nx - 1 else (here, same)
            north, same_north = (ahead[i, j + 1], guide[i, j + 1]) if j < ny - 1 else (here, same)
            px, py, pz = dual[0, i, j], dual[1, i, j], dual[2, i, j]
            fx, fy, fz = flux[0, i, j], flux[1, i, j], flux[2, i, j]
            for k in range(nz):
                up = min(k + 1, nz - 1)
                x, y, z = same_east[k] - same[k], same_north[k] - same[k], same[up] - same[k]
                length = one / math.sqrt(x * x + y * y + z * z + least)
                x, y, z = x * length, y * length, z * length
                a, b, c = east[k] - here[k], north[k] - here[k], here[up] - here[k]
                along = a * x + b * y + c * z
                a = px[k] + step * (a - along * x)
                b = py[k] + step * (b - along * y)
                c = pz[k] + step * (c - along * z)
                shrink = min(one, limit / math.sqrt(a * a + b * b + c * c + tiny))
                a, b, c = a * shrink, b * shrink, c * shrink
                px[k], py[k], pz[k] = a, b, c
                along = a * x + b * y + c * z
                fx[k], fy[k], fz[k] = a - along * x, b - along * y, c - along * z

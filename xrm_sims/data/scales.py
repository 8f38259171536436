"""Smaller scales of a volume, each with half the resolution of the one before.

The halving is written here because skimage's ``block_reduce`` pads an odd end with a constant and sums the eight voxels
in another order, which changes the last bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLER = "smaller"  # container beside a volume
SLAB_BYTES = 64 << 20


def halve_mean(array: NDArray[Any], factors: Sequence[int]) -> NDArray[Any]:
    """Return means over two pixels along each axis with factor 2; an odd last pixel keeps its value."""
    mean = array.astype(np.float32, copy=False)
    for axis, factor in enumerate(factors):
        if factor == 2:
            odd = mean.shape[axis] % 2
            if odd:
                mean = np.concatenate([mean, mean.take([-1], axis)], axis)
            pairs = (*mean.shape[:axis], mean.shape[axis] // 2, 2, *mean.shape[axis + 1 :])
            mean = mean.reshape(pairs).mean(axis + 1)
    return mean if array.dtype.kind == "f" else np.rint(mean)


def halve_pick(array: NDArray[Any], factors: Sequence[int]) -> NDArray[Any]:
    """Return every other pixel along each axis with factor 2, because labels cannot be averaged."""
    return array[tuple(slice(None, None, factor) for factor in factors)]


def smaller_scales(volume: Any, least_bytes: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield ``(2, half size), (4, quarter size), …`` of a volume (z, y, x), until one has at most ``least_bytes``.

    Floating-point numbers are averaged, integers (labels) picked. ``volume`` may be lazy: it is read in slabs.
    """
    factor, above, halve = 1, volume, halve_mean if volume.dtype.kind == "f" else halve_pick
    while above.nbytes > least_bytes:
        rows = 2 * max(1, SLAB_BYTES // (2 * above[:1].nbytes))
        slabs = (np.asarray(above[start : start + rows]) for start in range(0, len(above), rows))
        above = np.concatenate([halve(slab, (2, 2, 2)).astype(above.dtype, copy=False) for slab in slabs])
        factor *= 2
        yield factor, above

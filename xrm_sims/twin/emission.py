"""Compiled sum over what the points of a raster send out, many points a pixel."""

from __future__ import annotations

from numba import njit, prange

NO_BINDER = -1.0


@njit(cache=True, parallel=True)
def add_ions(  # type: ignore[no-untyped-def]
    codes, aluminium, gain, share, by_code, binder_al, organics, sputtered, seen, collected
):
    """Add one point of each of n pixels to its sums.

    Parameters
    ----------
    codes : (n,) materials; aluminium : (n,) atomic fraction in binder, ``NO_BINDER`` elsewhere.
    gain : (n,) ions relative to a flat surface; share : (n,) of them that leaves the place.
    by_code : (materials, channels) ions per primary; binder_al : (channels,) per fraction of aluminium in binder;
        organics : (channels,) from binder.
    sputtered, seen : (channels, n) sums of the ions made and of those that leave; collected : (n,) sum of ``share``.
    """
    for p in prange(len(codes)):
        for k in range(len(sputtered)):
            ions = by_code[codes[p], k]
            if aluminium[p] >= 0.0:
                ions += aluminium[p] * binder_al[k] + organics[k]
            ions *= gain[p]
            sputtered[k, p] += ions
            seen[k, p] += ions * share[p]
        collected[p] += share[p]

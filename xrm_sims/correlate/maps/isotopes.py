"""Ratios of two isotopes counted in parallel, with their standard errors, and regions that deviate from the rest.

Topography, matrix and beam affect both isotopes alike and cancel in the ratio. Instrumental mass fractionation does
not, so regions are compared with the rest of the field instead of with natural abundance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special, stats

from xrm_sims.correlate.maps.counting import Ions
from xrm_sims.patterns import Raster

Mask = NDArray[np.bool_]
LEAST_OF_RARER = 25.0  # expected ions of the rarer isotope in a block that is tested
MANY_BLOCKS = 100  # enough for the typical ratio
LINK_PX = 2  # patches that touch after dilation by this are one region


@dataclass(frozen=True)
class Ratio:
    """Ratio of the sums of two isotopes, with its standard error from counting, and both sums."""

    value: float
    sigma: float
    light: float
    heavy: float


@dataclass(frozen=True, eq=False)
class RatioMap:
    """``ratio`` and its standard error ``sigma`` (row, column), constant over each block of ``blocks`` (row, column).

    Both are NaN where the denominator has too few ions.
    """

    ratio: NDArray[np.float64]
    sigma: NDArray[np.float64]
    blocks: NDArray[np.int64]


@dataclass(frozen=True)
class Region:
    """A region whose ratio deviates from the rest.

    ``p_value`` is that of its clearest block, times the number of blocks tested; ``u_um`` and ``v_um`` are the middle
    in the scan frame.
    """

    number: int
    kind: str  # "enriched" or "depleted" in the numerator
    ratio: float
    sigma: float
    p_value: float
    pixels: int
    area_um2: float
    u_um: float
    v_um: float

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Departures:
    """Deviating regions, the map of their numbers (row, column), 0 elsewhere, and the ratio of the rest."""

    regions: list[Region]
    numbers: NDArray[np.int64]
    rest: Ratio


def ratio_over(light: Ions, heavy: Ions, mask: Mask) -> Ratio:
    """Return the ratio of the sums of two isotopes (row, column) over a mask, with its standard error to first order.

    Raises ValueError unless the denominator's sum is at least five times its error.
    """
    a, b = light.over(mask), heavy.over(mask)
    if not b.number > 5 * np.sqrt(b.variance):
        raise ValueError(
            f"ratio: only {float(b.number):.1f} +- {float(b.error):.1f} ions of the denominator over "
            f"{int(mask.sum())} pixels; at least five times the error is needed"
        )
    value, sigma = _quotient(a, b)
    return Ratio(float(value), float(sigma), float(a.number), float(b.number))


def ratio_map(light: Ions, heavy: Ions, mask: Mask, relative_error: float = 0.05) -> RatioMap:
    """Return the ratio of two isotopes (row, column) in blocks just large enough for a relative standard error.

    Each pixel belongs to the smallest square block around it, of side 1, 2, 4... pixels, with enough ions of the
    commoner isotope, so that fluctuations of the rarer one do not select blocks. The remainder of a block without its
    smaller blocks may have fewer ions and a larger error.
    """
    overall = ratio_over(light, heavy, mask)
    commoner, share = (heavy, overall.value) if overall.value < 1 else (light, 1.0 / max(overall.value, 1e-12))
    needed = (1.0 + share) / max(share, 1e-12) / relative_error**2  # sigma^2 / ratio^2 = 1 / light + 1 / heavy
    blocks = np.zeros(mask.shape, np.int64)
    first = 1
    for side in reversed(_sides(mask.shape)):
        enough = _pooled(np.where(mask, commoner.number, 0.0), side) >= needed
        numbers = np.where(enough, first + np.arange(enough.size).reshape(enough.shape), 0)
        first += enough.size
        here = _spread(numbers, side, mask.shape)
        blocks = np.where(mask & (here > 0), here, blocks)
    _, blocks = np.unique(blocks, return_inverse=True)
    inside = np.where(mask, blocks.reshape(mask.shape), -1)
    a, b = (_by_block(ions, inside) for ions in (light, heavy))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, sigma = _quotient(a, b)
        known = (b.number > 5 * np.sqrt(b.variance)) & np.isfinite(sigma)
    ratio, sigma = np.where(known, ratio, np.nan), np.where(known, sigma, np.nan)
    return RatioMap(np.where(mask, ratio[inside], np.nan), np.where(mask, sigma[inside], np.nan), inside)


def find_enriched(
    light: Ions, heavy: Ions, mask: Mask, raster: Raster, false_alarms: float = 0.01, rounds: int = 5
) -> Departures:
    """Find regions where the ratio of two isotopes (row, column) deviates from the rest of the mask.

    Square blocks of side 1, 2, 4... pixels are compared with the ratio of the rest by the exact binomial test. A region
    consists of the smallest blocks that are significant at a false discovery rate of ``false_alarms`` (Benjamini and
    Hochberg, J. R. Stat. Soc. B 57 (1995) 289), without those that deviate by less than half of the region's median. It
    needs one block that is significant at that chance of any false alarm in the whole field (Bonferroni). The rest is
    at first the typical ratio of blocks, then the sum without the regions, until nothing changes.

    Raises ValueError as :func:`ratio_over` does.
    """
    a, b = (ions.each(lambda part: np.where(mask, part, 0.0)) for ions in (light, heavy))
    rest = ratio_over(a, b, mask)
    expected = _typical_ratio(a, b, rest.value)
    signs = away = chance = np.zeros(mask.shape)
    for _ in range(rounds):
        before = signs
        signs, away, chance = _deviating(a, b, expected, false_alarms)
        if not (signs == 0)[mask].any():
            break
        rest = ratio_over(a, b, mask & (signs == 0))
        expected = rest.value
        if (signs == before).all():
            break
    numbers = np.zeros(mask.shape, np.int64)
    regions: list[Region] = []
    for sign in (1, -1):
        patches, count = ndimage.label(ndimage.binary_dilation(signs == sign, iterations=LINK_PX))
        for n in range(1, count + 1):
            patch = (patches == n) & (signs == sign)
            patch &= away >= 0.5 * np.median(away[patch])  # without its halo, which deviates less
            if (p_value := float(chance[patch].min())) < false_alarms:
                regions.append(_region(len(regions) + 1, a, b, patch, p_value, expected, raster))
                numbers[patch] = len(regions)
    return Departures(regions, numbers, rest)


def channels_of(ratio: str) -> tuple[str, str]:
    """Return the two channels of "6Li/7Li"; ValueError for anything else."""
    light, stroke, heavy = (word.strip() for word in ratio.partition("/"))
    if not (light and stroke and heavy and "/" not in heavy) or light == heavy:
        raise ValueError(f"ratio: needs two channels with a slash between them, such as 6Li/7Li, got {ratio!r}")
    return light, heavy


def _quotient(a: Ions, b: Ions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ratio of sums and its standard error; both counts are independent."""
    ratio = a.number / b.number
    return ratio, np.sqrt(a.variance + ratio**2 * b.variance) / np.abs(b.number)


def _sides(shape: tuple[int, ...]) -> list[int]:
    """Return block sides in pixels from one up to a quarter of the field."""
    return [2**k for k in range(max(1, int(np.log2(max(min(shape) / 4, 1))) + 1))]


def _pooled(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return sums over square blocks, of which the last may be incomplete, in the same order at every call."""
    rows, columns = (range(0, n, side) for n in image.shape)
    return np.asarray(np.add.reduceat(np.add.reduceat(image, rows, axis=0), columns, axis=1))


def _spread(blocks: NDArray[Any], side: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an image with the value of each block in its pixels."""
    return blocks.repeat(side, axis=0).repeat(side, axis=1)[: shape[0], : shape[1]]


def _by_block(ions: Ions, blocks: NDArray[np.int64]) -> Ions:
    inside = blocks >= 0
    return ions.each(lambda part: np.bincount(blocks[inside], part[inside]).astype(float))


def _blocks(a: Ions, b: Ions, expected: float) -> Iterator[tuple[int, Ions, Ions, Mask]]:
    """Yield for each size, the smallest first: side, sums of both isotopes, and which blocks have enough ions."""
    for side in _sides(a.number.shape):
        light, heavy = (_pooled_ions(ions, side) for ions in (a, b))
        yield side, light, heavy, _enough(heavy, expected)


def _pooled_ions(ions: Ions, side: int, where: Mask | bool = True) -> Ions:
    return ions.each(lambda part: _pooled(np.where(where, part, 0.0), side))


def _enough(heavy: Ions, expected: float) -> Mask:
    return np.asarray(min(expected, 1.0) * heavy.number >= LEAST_OF_RARER)


def _typical_ratio(a: Ions, b: Ions, overall: float) -> float:
    """Return the mean of the closest half of the blocks' ratios, which a region biases less than the mean of all."""
    ratios: NDArray[np.float64] = np.array([overall])
    for _, light, heavy, enough in _blocks(a, b, overall):  # the largest size with many blocks
        if enough.sum() >= min(MANY_BLOCKS, len(ratios)):
            ratios = np.sort(light.number[enough] / heavy.number[enough])
    half = (len(ratios) + 1) // 2
    first = int(np.argmin(ratios[half - 1 :] - ratios[: len(ratios) - half + 1]))
    return float(ratios[first : first + half].mean())


def _deviating(
    a: Ions, b: Ions, expected: float, false_alarms: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return for the smallest significant block around each pixel: sign, distance from the expected ratio, p-value.

    The sign is 1 above and -1 below the expected ratio, 0 without a significant block; the p-value is multiplied by the
    number of blocks. A block is tested without the smaller significant blocks in it.
    """
    signs, away, chance = np.zeros(a.number.shape), np.zeros(a.number.shape), np.ones(a.number.shape)
    p_of_size = [_binomial_test(light, heavy, expected)[0][ok] for _, light, heavy, ok in _blocks(a, b, expected)]
    p_values = np.concatenate(p_of_size)
    if not p_values.size:
        return signs, away, chance
    significant = stats.false_discovery_control(p_values) < false_alarms
    limit = p_values[significant].max(initial=0.0)
    for side in _sides(signs.shape):
        light, heavy = (_pooled_ions(ions, side, signs == 0) for ions in (a, b))
        p, sign = _binomial_test(light, heavy, expected)
        found = (p <= limit) & _enough(heavy, expected)
        here = _spread(found, side, signs.shape) & (signs == 0)
        ratio = light.number / np.where(found, heavy.number, 1.0)
        signs = np.where(here, _spread(sign, side, signs.shape), signs)
        away = np.where(here, _spread(np.abs(ratio - expected), side, signs.shape), away)
        chance = np.where(here, _spread(np.minimum(len(p_values) * p, 1.0), side, signs.shape), chance)
    return signs, away, chance


def _binomial_test(a: Ions, b: Ions, expected: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the two-sided p-value of each block, and its side of the expected ratio.

    Given the sum of two Poisson numbers, each of them is binomial. Corrected ions vary a little more than Poisson
    numbers and are replaced by the number of counts with the same relative error.
    """
    counts, per_ion = [], []
    for ions in (a, b):
        number, variance = np.maximum(ions.number, 0.0), np.maximum(ions.variance, 1e-12)
        per_ion.append(np.where(number > 0, number / variance, 1.0))
        counts.append(number * per_ion[-1])
    odds = expected * per_ion[0] / per_ion[1]
    share = odds / (1.0 + odds)
    above = special.betainc(np.maximum(counts[0], 1e-9), counts[1] + 1.0, share)  # this many or more
    below = special.betainc(np.maximum(counts[1], 1e-9), counts[0] + 1.0, 1.0 - share)  # this many or fewer
    return np.minimum(2.0 * np.minimum(above, below), 1.0), np.where(above < below, 1, -1)


def _region(number: int, a: Ions, b: Ions, patch: Mask, p_value: float, expected: float, raster: Raster) -> Region:
    ratio = ratio_over(a, b, patch)
    rows, columns = raster.shape
    r, c = (float(np.mean(index)) for index in np.nonzero(patch))
    return Region(
        number=number,
        kind="enriched" if ratio.value > expected else "depleted",
        ratio=ratio.value,
        sigma=ratio.sigma,
        p_value=p_value,
        pixels=int(patch.sum()),
        area_um2=float(patch.sum() * raster.pixel_um**2),
        u_um=(c - 0.5 * (columns - 1)) * raster.pixel_um + raster.centre_um[0],
        v_um=(r - 0.5 * (rows - 1)) * raster.pixel_um + raster.centre_um[1],
    )

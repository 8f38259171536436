"""One line of the validation, and the arithmetic that rows share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

BINS = 80  # of a histogram, between the outermost thousandths of both samples
RESAMPLINGS = 50


@dataclass(frozen=True)
class Row:
    """A statement of the paper and what the twin says to it.

    figure, sigma : the measured value and its standard uncertainty, in ``unit``.
    limits : lowest and highest figure that passes, both included; infinite where there is none.
    remark : how it was measured and what else came out.
    """

    name: str
    statement: str
    figure: float
    sigma: float
    limits: tuple[float, float]
    unit: str = ""
    remark: str = ""

    @property
    def passed(self) -> bool:
        return self.limits[0] <= self.figure <= self.limits[1]  # never true of nan

    @property
    def measured(self) -> str:
        """Figure and uncertainty, rounded to two digits of the latter."""
        digits = 3
        if math.isfinite(self.sigma) and self.sigma > 0:
            digits = max(0, 1 - math.floor(math.log10(self.sigma)))
        return f"{self.figure:.{digits}f} ± {self.sigma:.{digits}f} {self.unit}".strip()

    @property
    def allowed(self) -> str:
        low, high = self.limits
        if math.isinf(low):
            said = f"≤ {high:g}"
        elif math.isinf(high):
            said = f"≥ {low:g}"
        elif low == high:
            said = f"{low:g}"
        else:
            said = f"{low:g} to {high:g}"
        return f"{said} {self.unit}".strip()


def at_least(low: float) -> tuple[float, float]:
    return (low, math.inf)


def at_most(high: float) -> tuple[float, float]:
    return (-math.inf, high)


def overlap(a: ArrayLike, b: ArrayLike) -> float:
    """Common area, 0 to 1, of the normalised histograms of two samples."""
    x, y = np.asarray(a, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    if not len(x) or not len(y):
        return math.nan
    low, high = np.quantile(np.concatenate([x, y]), (0.001, 0.999))
    edges = np.concatenate([[-np.inf], np.linspace(low, high, BINS - 1), [np.inf]])
    shares = (np.histogram(sample, edges)[0] / len(sample) for sample in (x, y))
    return float(np.minimum(*shares).sum())


def best_split(a: ArrayLike, b: ArrayLike) -> float:
    """Share, 0.5 to 1, of two samples that the best single threshold puts on its right side, both counting alike.

    The threshold knows the labels, so no rule by value alone does better: half of one plus the Kolmogorov-Smirnov
    distance.
    """
    x, y = (np.sort(np.asarray(sample, dtype=float).ravel()) for sample in (a, b))
    if not len(x) or not len(y):
        return math.nan
    every = np.concatenate([x, y])
    below = [np.searchsorted(sample, every, side="right") / len(sample) for sample in (x, y)]
    return 0.5 + 0.5 * float(np.abs(below[0] - below[1]).max())


def grouped_sigma(
    measure: Callable[[ArrayLike, ArrayLike], float],
    a: ArrayLike,
    b: ArrayLike,
    groups_a: ArrayLike,
    groups_b: ArrayLike,
) -> float:
    """Standard uncertainty of a measure of two samples from resampled groups (particles, crystals), whose members go
    together."""
    rng = np.random.default_rng(0)
    parts = [_parts(np.asarray(s, dtype=float), np.asarray(g)) for s, g in ((a, groups_a), (b, groups_b))]
    if not all(parts):
        return math.nan

    def drawn(part: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([part[n] for n in rng.integers(0, len(part), len(part))])

    return float(np.std([measure(drawn(parts[0]), drawn(parts[1])) for _ in range(RESAMPLINGS)]))


def _parts(values: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    """The values of each group."""
    if not len(values):
        return []
    order = np.argsort(groups, kind="stable")
    return np.split(values[order], np.flatnonzero(np.diff(groups[order])) + 1)


def share_with_sigma(right: int, total: int) -> tuple[float, float]:
    """A share and its standard uncertainty; that of all or none is of one case more (rule of succession)."""
    if not total:
        return math.nan, math.nan
    expected = (right + 1) / (total + 2)
    return right / total, math.sqrt(expected * (1 - expected) / total)


def mean_with_sigma(values: ArrayLike) -> tuple[float, float]:
    """Mean and its standard error."""
    sample = np.asarray(values, dtype=float).ravel()
    if len(sample) < 2:
        return (float(sample.mean()) if len(sample) else math.nan), math.nan
    return float(sample.mean()), float(sample.std(ddof=1) / math.sqrt(len(sample)))


def median_with_sigma(values: ArrayLike) -> tuple[float, float]:
    """Median and its standard uncertainty, from resampled values: it assumes no shape of their distribution."""
    sample = np.asarray(values, dtype=float).ravel()
    if len(sample) < 2:
        return (float(sample[0]) if len(sample) else math.nan), math.nan
    drawn = np.random.default_rng(0).choice(sample, (20 * RESAMPLINGS, len(sample)))
    return float(np.median(sample)), float(np.median(drawn, axis=1).std())


def two_means(values: ArrayLike) -> float:
    """The threshold that splits values into two groups with the least scatter within both.

    N. Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62, on the values themselves.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = np.arange(1, len(ordered))
    below = np.cumsum(ordered)[:-1]
    between = (below / n - (ordered.sum() - below) / (len(ordered) - n)) ** 2 * n * (len(ordered) - n)
    cut = int(between.argmax())
    return float(0.5 * (ordered[cut] + ordered[cut + 1]))


def detection_limit(background: float) -> float:
    """Net counts that are certain to be seen above a known background (L. A. Currie, Anal. Chem. 40 (1968) 586)."""
    return 2.71 + 3.29 * math.sqrt(background)

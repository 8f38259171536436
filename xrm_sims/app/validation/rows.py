"""The rows of the validation report, and the statistics that they share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.filters import threshold_otsu

if TYPE_CHECKING:
    from xrm_sims.app.validation.laboratory import Laboratory

BINS = 80  # of a histogram, between the outermost thousandths of both samples
RESAMPLINGS = 50

Limits = tuple[float, float]  # lowest and highest figure that passes, both included; infinite for an open end


@dataclass(frozen=True)
class Row:
    """A statement of the paper and the value measured on the twin.

    figure, sigma : the measured value and its standard uncertainty, in ``unit``.
    remark : how it was measured, and further results.
    """

    name: str
    statement: str
    figure: float
    sigma: float
    limits: Limits
    unit: str = ""
    remark: str = ""

    @property
    def passed(self) -> bool:
        return self.limits[0] <= self.figure <= self.limits[1]  # never true of nan

    @property
    def measured(self) -> str:
        """Figure and uncertainty, rounded to two digits of the uncertainty."""
        digits = 3
        if math.isfinite(self.sigma) and self.sigma > 0:
            digits = max(0, 1 - math.floor(math.log10(self.sigma)))
        return f"{self.figure:.{digits}f} ± {self.sigma:.{digits}f} {self.unit}".strip()

    @property
    def allowed(self) -> str:
        low, high = self.limits
        if math.isinf(low):
            allowed = f"≤ {high:g}"
        elif math.isinf(high):
            allowed = f"≥ {low:g}"
        elif low == high:
            allowed = f"{low:g}"
        else:
            allowed = f"{low:g} to {high:g}"
        return f"{allowed} {self.unit}".strip()


class Measured(NamedTuple):
    """What a row's function returns: figure, standard uncertainty, remark, and limits that depend on the data."""

    figure: float
    sigma: float
    remark: str
    limits: Limits | None = None


@dataclass(frozen=True)
class Check:
    """How a row is measured; ``seconds`` is about how long the scans take that this row is the first to need."""

    name: str
    measure: Callable[[Laboratory], Measured]
    statement: str
    limits: Limits
    unit: str
    seconds: float

    def row(self, lab: Laboratory) -> Row:
        """Measure the row."""
        found = self.measure(lab)
        limits = self.limits if found.limits is None else found.limits
        return Row(self.name, self.statement, found.figure, found.sigma, limits, self.unit, found.remark)


def row(
    statement: str, limits: Limits = (math.nan, math.nan), unit: str = "", *, seconds: float = 1.0
) -> Callable[[Callable[[Laboratory], Measured]], Check]:
    """Make a row of the report, of the same name, from a function that measures it; without limits it returns them."""
    return lambda measure: Check(measure.__name__, measure, statement, limits, unit, seconds)


def at_least(low: float) -> Limits:
    return (low, math.inf)


def at_most(high: float) -> Limits:
    return (-math.inf, high)


def overlap(a: ArrayLike, b: ArrayLike) -> float:
    """Return the common area, 0 to 1, of the normalised histograms of two samples."""
    x, y = np.asarray(a, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    if not len(x) or not len(y):
        return math.nan
    low, high = np.quantile(np.concatenate([x, y]), (0.001, 0.999))
    edges = np.concatenate([[-np.inf], np.linspace(low, high, BINS - 1), [np.inf]])
    shares = (np.histogram(sample, edges)[0] / len(sample) for sample in (x, y))
    return float(np.minimum(*shares).sum())


def best_split(a: ArrayLike, b: ArrayLike) -> float:
    """Return the share, 0.5 to 1, of two equally weighted samples that the best single threshold classifies rightly.

    It is half of one plus the Kolmogorov-Smirnov distance. The threshold is chosen with the labels, so that no rule by
    value alone does better.
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
    """Return the standard uncertainty of a measure of two samples, by resampling whole groups (particles, crystals)."""
    rng = np.random.default_rng(0)
    parts = [_parts(np.asarray(s, dtype=float), np.asarray(g)) for s, g in ((a, groups_a), (b, groups_b))]
    if not all(parts):
        return math.nan

    def drawn(part: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([part[n] for n in rng.integers(0, len(part), len(part))])

    return float(np.std([measure(drawn(parts[0]), drawn(parts[1])) for _ in range(RESAMPLINGS)]))


def _parts(values: NDArray[Any], groups: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the values of each group."""
    if not len(values):
        return []
    order = np.argsort(groups, kind="stable")
    return np.split(values[order], np.flatnonzero(np.diff(groups[order])) + 1)


def share_with_sigma(right: int, total: int) -> tuple[float, float]:
    """Return a share and its standard uncertainty, which the rule of succession keeps above 0 for none or all."""
    if not total:
        return math.nan, math.nan
    expected = (right + 1) / (total + 2)
    return right / total, math.sqrt(expected * (1 - expected) / total)


def mean_with_sigma(values: ArrayLike) -> tuple[float, float]:
    """Return the mean and its standard error."""
    sample = np.asarray(values, dtype=float).ravel()
    if len(sample) < 2:
        return (float(sample.mean()) if len(sample) else math.nan), math.nan
    return float(sample.mean()), float(sample.std(ddof=1) / math.sqrt(len(sample)))


def median_with_sigma(values: ArrayLike) -> tuple[float, float]:
    """Return the median and its standard uncertainty by resampling, whatever the distribution."""
    sample = np.asarray(values, dtype=float).ravel()
    if len(sample) < 2:
        return (float(sample[0]) if len(sample) else math.nan), math.nan
    drawn = np.random.default_rng(0).choice(sample, (20 * RESAMPLINGS, len(sample)))
    return float(np.median(sample)), float(np.median(drawn, axis=1).std())


def two_means(values: ArrayLike) -> float:
    """Return Otsu's threshold, half-way between the two groups, from the values themselves instead of a histogram."""
    ordered = np.sort(np.asarray(values, dtype=float))
    lower = threshold_otsu(hist=(np.ones(len(ordered)), ordered))  # the largest value of the lower group
    return float(0.5 * (lower + ordered[ordered > lower].min()))


def detection_limit(background: float) -> float:
    """Return the net counts that are reliably detected on a known background (Currie, Anal. Chem. 40 (1968) 586)."""
    return 2.71 + 3.29 * math.sqrt(background)

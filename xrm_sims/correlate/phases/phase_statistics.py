"""Mean counts of each phase, and the aluminium in binder without C2H3.

Neighbouring pixels are correlated (grains, shading, the beam's tail), so confidence intervals come from tiles of the
field: delete-one jackknife of the ratio of counts to pixels (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, ch. 11), and are never narrower than those of counting.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from xrm_sims.correlate.phases.interference import C2H3_U, slit_share
from xrm_sims.correlate.phases.particles import CONFIDENCE, poisson_interval
from xrm_sims.correlate.phases.phases import CHANNELS, Phase, PhaseMap
from xrm_sims.settings import Settings

TILE_UM = 1.0
GUARD_UM = 0.15  # one standard deviation of the beam's tail
REGION_UM, REGION_SHARE = 0.15, 0.9  # a pixel is inside a phase if its surroundings are


@dataclass(frozen=True)
class Mean:
    """Counts per pixel with the limits of their 95 % confidence interval; NaN without pixels."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"

    def less(self, known: float) -> Mean:
        return Mean(self.mean - known, self.low - known, self.high - known)


@dataclass(frozen=True)
class PhaseRow:
    """One channel of one phase: ``share`` of the field, ``pixels`` inside the phase, ``tiles`` that contain them."""

    phase: str
    channel: str
    share: float
    pixels: int
    tiles: int
    counts: int
    mean: float
    low: float
    high: float

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class BinderAluminium:
    """Counts per pixel of binder on mass 27: all, those from the surroundings and darks, C2H3, and the remaining Al.

    ``hydrocarbon`` follows from the settings: C2H3 per ion, times the transmission of the slit of 27Al.
    """

    pixels: int
    measured: Mean
    around: float
    hydrocarbon: float
    aluminium: Mean

    @property
    def hydrocarbon_share(self) -> float:
        """Share of C2H3 in the counts from the binder itself."""
        own = self.measured.mean - self.around
        return self.hydrocarbon / own if own > 0 else nan

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"hydrocarbon_share": self.hydrocarbon_share}


def phase_table(phases: PhaseMap, counts: NDArray[np.float64]) -> list[PhaseRow]:
    """Return a row for every phase and channel; ``counts`` (channel, row, column) are summed over frames."""
    codes = phases.codes
    rows = []
    for phase in Phase:
        there = well_inside(phases, phase)
        tiles = len(np.unique(_tiles(there.shape, phases.pixel_um)[there]))
        for name, image in zip(CHANNELS, counts, strict=True):
            mean = mean_in(image, there, phases.pixel_um)
            rows.append(
                PhaseRow(
                    phase=phase.words,
                    channel=name,
                    share=float((codes == phase).mean()),
                    pixels=int(there.sum()),
                    tiles=tiles,
                    counts=int(image[there].sum()),
                    mean=mean.mean,
                    low=mean.low,
                    high=mean.high,
                )
            )
    return rows


def well_inside(phases: PhaseMap, phase: Phase) -> NDArray[np.bool_]:
    """Return the pixels (row, column) inside this phase, at least ``GUARD_UM`` from all others."""
    size = 2 * round(REGION_UM / phases.pixel_um / 2) + 1
    there: NDArray[np.bool_] = ndimage.uniform_filter(phases.probabilities[phase], size, mode="nearest") >= REGION_SHARE
    if there.all():
        return there
    return np.asarray(ndimage.distance_transform_edt(there) * phases.pixel_um > GUARD_UM)


def mean_in(image: NDArray[np.float64], there: NDArray[np.bool_], pixel_um: float) -> Mean:
    """Return the mean of counts (row, column) over the pixels ``there``."""
    pixels = int(there.sum())
    if not pixels:
        return Mean(nan, nan, nan)
    total = float(image[there].sum())
    mean = total / pixels
    low, high = (limit / pixels for limit in poisson_interval(round(total)))
    tiles = _tiles(there.shape, pixel_um)[there]
    n = np.bincount(tiles)
    counted = np.bincount(tiles, image[there])[n > 0]
    n = n[n > 0]
    if len(n) > 1:
        without = (total - counted) / (pixels - n)
        spread = np.sqrt((len(n) - 1) / len(n) * ((without - without.mean()) ** 2).sum())
        half = float(stats.t.ppf(0.5 * (1 + CONFIDENCE), len(n) - 1) * spread)
        low, high = min(low, mean - half), max(high, mean + half)
    return Mean(mean, max(low, 0.0), high)


def _tiles(shape: tuple[int, ...], pixel_um: float) -> NDArray[np.intp]:
    """Return the number of each pixel's tile (row, column)."""
    side = max(1, round(TILE_UM / pixel_um))
    r, c = (index // side for index in np.indices(shape))
    return np.asarray(r * (shape[1] // side + 1) + c)


def binder_aluminium(
    phases: PhaseMap, counts: NDArray[np.float64], ions_per_pixel: float, settings: Settings
) -> BinderAluminium:
    """Return aluminium in binder with and without C2H3; ``ions_per_pixel`` are those of all frames together."""
    there = well_inside(phases, Phase.BINDER)
    k = CHANNELS.index("27Al")
    measured = mean_in(counts[k], there, phases.pixel_um)
    around = float(phases.spill[k][there].mean()) if there.any() else nan
    made = settings.sector.hydrocarbon_on_al_per_ion * ions_per_pixel if settings.sector.hydrocarbon_on_al else 0.0
    hydrocarbon = made * slit_share(C2H3_U, "27Al", settings.sector)
    return BinderAluminium(int(there.sum()), measured, around, hydrocarbon, measured.less(around + hydrocarbon))

"""Probabilities of the phases at each pixel of a SIMS map, from its counts and the CT slice below it.

The material under the beam emits counts; the beam's tail and redeposition add some from the surroundings (``spill``,
computed from the map itself). For active material, the shares of the channels distinguish LCO from NCA whatever the
shading and tilt, and the sum of counts distinguishes the exposed plane from the bottom of a pore. Binder emits Al (and
C2H3, of nearly the same mass), an empty pore nothing. CT does not show binder, so its depth is unknown: at the
bottom of a pore it is classified as binder unless it is too weak.

Shares, distributions of sums and levels of aluminium are fitted to the map by expectation maximisation from a rough
first guess. CT gives the prior; similarity to the neighbours is a mean field (Zhang, IEEE Trans. Signal Process. 40
(1992) 2570). Maps are (channel, row, column) counts; labels name the channels by isotope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, field_validator
from scipy import ndimage
from scipy.special import gammaln, logsumexp

from xrm_sims.correlate.maps.field_maps import check_labels, sum_frames
from xrm_sims.settings import Settings
from xrm_sims.settings.section import Length, Section

CHANNELS = ("7Li", "27Al", "58Ni", "59Co")


class Phase(IntEnum):
    PORE = 0
    BINDER = 1
    LCO = 2
    NCA = 3

    @property
    def words(self) -> str:
        return self.name if self in (Phase.LCO, Phase.NCA) else self.name.lower()


# States of a pixel: a pore is empty, or shows the material at its bottom.
EMPTY, BINDER, LCO, NCA, LCO_BELOW, NCA_BELOW = range(6)
_PHASE_OF = (Phase.PORE, Phase.BINDER, Phase.LCO, Phase.NCA, Phase.PORE, Phase.PORE)


def _start(li: float, al: float, ni: float, co: float) -> Mapping[str, float]:
    return dict(zip(CHANNELS, (li, al, ni, co), strict=True))


# Sums and levels are relative to the sum of counts of active material.
BINDER_AL = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)  # levels of aluminium, whose weights are fitted: doubled from step to step
STATE_SHARES = (0.3, 0.4, 0.5, 0.5, 0.15, 0.15)  # prior of the states, where CT shows no or some active material
FLAT_SPREAD = 0.25  # first guess of the relative spread of the counts on the exposed plane; the fit replaces it
SUM_BINS = 40
LARGEST_SUM = 2.0  # the last bin is open
MAX_ROUNDS = 8  # of expectation and maximisation
SWEEPS = 5  # of the mean field


class PhaseSettings(Section):
    """Section ``[phases]``: first guess of the phases' channels, and the weights of neighbours and CT."""

    lco_start: Mapping[str, float] = _start(0.98, 1e-4, 1e-4, 0.02)  # share of each channel in the counts of LCO
    nca_start: Mapping[str, float] = _start(0.965, 0.02, 0.013, 0.002)
    coupling: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5  # of a pixel to each of its 8 neighbours
    ct_doubt: Annotated[float, Field(gt=0, lt=0.5)] = 0.03  # how often CT is wrong well inside a particle or a void
    ct_sigma_um: Length = 0.05  # of its boundaries, beyond the blur of the slice itself

    @field_validator("lco_start", "nca_start")
    @classmethod
    def _names_all_channels(cls, start: Mapping[str, float]) -> Mapping[str, float]:
        if set(start) != set(CHANNELS) or not all(share > 0 for share in start.values()):
            raise ValueError(f"needs a positive share of each of {', '.join(CHANNELS)}")
        return start

    def as_dict(self) -> dict[str, Any]:
        """Return all parameters of the model, the constants too, as they are recorded with a result."""
        fixed = {"binder_al": BINDER_AL, "shares": STATE_SHARES, "flat_spread": FLAT_SPREAD, "sum_bins": SUM_BINS}
        fixed |= {"largest_sum": LARGEST_SUM, "rounds": MAX_ROUNDS, "sweeps": SWEEPS}
        return self.model_dump() | fixed


@dataclass(frozen=True, eq=False)
class PhaseMap:
    """Probabilities (phase, row, column) in the order of ``Phase``; channels are in the order of ``CHANNELS``.

    nca_share : (row, column) probability of NCA at any depth, if the pixel shows active material.
    rates : mean counts per pixel (channel,) of LCO and NCA on the exposed plane.
    spill : (channel, row, column) expected counts from a pixel's surroundings and from the counters' dark rate.
    """

    probabilities: NDArray[np.float32]
    nca_share: NDArray[np.float32]
    rates: dict[Phase, NDArray[np.float64]]
    spill: NDArray[np.float64]
    pixel_um: float

    @property
    def codes(self) -> NDArray[np.uint8]:
        """(row, column), the most probable ``Phase``."""
        return np.asarray(self.probabilities.argmax(axis=0), dtype=np.uint8)


def has_phase_channels(labels: Sequence[str]) -> bool:
    """Return whether a map has all channels that the phases need."""
    return set(CHANNELS) <= set(labels)


def select_channels(counts: ArrayLike, labels: Sequence[str]) -> NDArray[np.float64]:
    """Return counts (channel, row, column), summed over frames, ordered as ``CHANNELS``; ValueError without one."""
    maps = sum_frames(counts)
    check_labels(maps, labels)
    for needed in CHANNELS:
        if needed not in labels:
            raise ValueError(f"labels: phases need channel {needed}, got {', '.join(labels)}")
    return maps[[list(labels).index(name) for name in CHANNELS]]


def spill_counts(
    counts: NDArray[np.float64], pixel_um: float, dwell_s: float, settings: Settings
) -> NDArray[np.float64]:
    """Return the counts (channel, row, column) from outside each pixel.

    These come from the beam's tail, from redeposited material, and from darks during ``dwell_s`` of all frames.
    """
    ion, sputtering = settings.ion, settings.sputtering
    spread = np.full(counts.shape, settings.sector.dark_rate_cps * dwell_s)
    for share, sigma_um in (
        (ion.tail_fraction, ion.tail_sigma_nm * 1e-3),
        (sputtering.redeposited_fraction, sputtering.redeposition_um),
    ):
        sigma_px = sigma_um / pixel_um
        spread += share * ndimage.gaussian_filter(counts, (0.0, sigma_px, sigma_px), mode="nearest")
    return spread


def active_prior(
    slice_: ArrayLike, pixel_um: float, sigma_um: float, settings: PhaseSettings = PhaseSettings()
) -> NDArray[np.float64]:
    """Return the prior probability (row, column) of active material from a normalised CT slice (0 void, 1 active).

    ``sigma_um`` is the registration's; pixels outside the volume (NaN) are undecided.
    """
    image = np.asarray(slice_, dtype=float)
    known = np.nan_to_num(np.clip(image, 0.0, 1.0), nan=0.5)
    smooth = ndimage.gaussian_filter(known, np.hypot(sigma_um, settings.ct_sigma_um) / pixel_um, mode="nearest")
    return np.asarray(np.clip(smooth, settings.ct_doubt, 1.0 - settings.ct_doubt))


class PhaseModel:
    """The mixture model fitted to one map; :meth:`posterior` applies it with a further prior.

    Parameters
    ----------
    counts : ([frame,] channel, row, column), raw; frames are summed.
    labels : of the channels; 7Li, 27Al, 58Ni and 59Co are needed.
    pixel_um, dwell_s : of the raster; the dwell of all frames together.
    active : prior probability of active material (row, column) by :func:`active_prior`; 0.5 if left out.

    Raises ValueError naming a channel that is missing, a prior of another shape, or a map without lithium.
    """

    def __init__(
        self,
        counts: ArrayLike,
        labels: Sequence[str],
        *,
        pixel_um: float,
        dwell_s: float,
        instrument: Settings,
        active: ArrayLike | None = None,
        settings: PhaseSettings = PhaseSettings(),
    ) -> None:
        self.counts = select_channels(counts, labels)
        self.pixel_um, self.settings = pixel_um, settings
        shape = self.counts.shape[1:]
        self.active = np.full(shape, 0.5) if active is None else np.asarray(active, dtype=float)
        if self.active.shape != shape:
            raise ValueError(f"active: has shape {self.active.shape}, the map {shape}")
        self.spill = spill_counts(self.counts, pixel_um, dwell_s, instrument)
        self.total = self.counts.sum(axis=0)
        self.typical = _typical_sum(self.total)
        self._spilt = self.spill.sum(axis=0)
        self._log_spill, self._log_factorial = np.log(self.spill), gammaln(self.total + 1.0)
        self._start()
        self._fit()

    def posterior(self, nca_prior: ArrayLike | None = None) -> PhaseMap:
        """Return probabilities; ``nca_prior`` (row, column) is that of NCA in active material, from its particle."""
        prior, sweeps = self._log_prior(nca_prior), SWEEPS
        weights = self._iterate(prior, self._log_likelihoods(), self._weights, sweeps)
        probabilities = np.zeros((len(Phase), *self.total.shape), np.float32)
        for state, phase in enumerate(_PHASE_OF):
            probabilities[phase] += weights[state]
        nca, lco = weights[NCA] + weights[NCA_BELOW], weights[LCO] + weights[LCO_BELOW]
        rates = {phase: self._mean_sum(s) * self._theta[s] for s, phase in ((LCO, Phase.LCO), (NCA, Phase.NCA))}
        return PhaseMap(
            probabilities,
            np.asarray(nca / np.maximum(nca + lco, 1e-30), dtype=np.float32),
            rates,
            self.spill,
            self.pixel_um,
        )

    def _start(self) -> None:
        s = self.settings
        self._theta = {LCO: _shares(s.lco_start), NCA: _shares(s.nca_start)}
        self._levels = np.array(BINDER_AL) * self.typical
        self._level_weights = np.full(len(self._levels), 1.0 / len(self._levels))
        edges = np.linspace(0.0, LARGEST_SUM, SUM_BINS + 1)
        middles = 0.5 * (edges[1:] + edges[:-1])
        flat = np.exp(-0.5 * ((middles - 1.0) / FLAT_SPREAD) ** 2)
        self._bins = np.clip((self.total / self.typical / edges[1]).astype(int), 0, SUM_BINS - 1)
        self._bin_counts = max(edges[1] * self.typical, 1.0)  # integers in a bin
        even = np.full(SUM_BINS, 1.0 / SUM_BINS)
        self._sums = {LCO: flat / flat.sum(), NCA: flat / flat.sum(), LCO_BELOW: even, NCA_BELOW: even.copy()}
        self._weights = np.full((len(_PHASE_OF), *self.total.shape), 1.0 / len(_PHASE_OF), np.float32)

    def _fit(self) -> None:
        for _ in range(MAX_ROUNDS):
            self._weights = self._iterate(self._log_prior(None), self._log_likelihoods(), self._weights, 1)
            self._maximise()

    def _iterate(
        self, prior: NDArray[np.float32], likelihood: NDArray[np.float32], weights: NDArray[np.float32], sweeps: int
    ) -> NDArray[np.float32]:
        """Update each pixel's probabilities given those of its neighbours (mean field)."""
        alone = prior + likelihood
        for _ in range(sweeps):
            around = 9.0 * ndimage.uniform_filter(weights, (0, 3, 3), mode="nearest") - weights
            weights = _normalised(alone + self.settings.coupling * around)
        return weights

    def _log_prior(self, nca_prior: ArrayLike | None) -> NDArray[np.float32]:
        """(state, row, column)."""
        prior = np.empty((len(_PHASE_OF), *self.total.shape))
        for state, share in enumerate(STATE_SHARES):
            prior[state] = share * (self.active if state in (LCO, NCA) else 1.0 - self.active)
        if nca_prior is not None:
            nca = np.asarray(nca_prior, dtype=float)
            for lco_state, nca_state in ((LCO, NCA), (LCO_BELOW, NCA_BELOW)):
                both = prior[lco_state] + prior[nca_state]
                prior[lco_state], prior[nca_state] = both * (1.0 - nca), both * nca
        return np.log(np.maximum(prior, 1e-12)).astype(np.float32)

    def _log_likelihoods(self) -> NDArray[np.float32]:
        """Return the log likelihood (state, row, column) of sum and shares, up to terms common to all states."""
        logs = np.empty((len(_PHASE_OF), *self.total.shape), np.float32)
        own = np.maximum(self.total - self._spilt, 0.0)
        for plane, below in ((LCO, LCO_BELOW), (NCA, NCA_BELOW)):
            shared = self._shared(own * self._theta[plane][:, None, None] + self.spill)
            for state in (plane, below):
                logs[state] = shared + np.log(self._sums[state] / self._bin_counts)[self._bins]
        logs[EMPTY] = self._empty()
        logs[BINDER] = logsumexp(self._binder_levels(), axis=0)
        return logs

    def _empty(self) -> NDArray[np.float64]:
        """Return the Poisson log likelihood (row, column) of spill alone."""
        return np.asarray((self.counts * self._log_spill).sum(axis=0) - self._spilt - self._log_factorial)

    def _binder_levels(self) -> NDArray[np.float64]:
        """Return log likelihood plus log weight (level, row, column) of each aluminium level on top of the spill."""
        empty, al = self._empty(), CHANNELS.index("27Al")
        gains = [self.counts[al] * (np.log(self.spill[al] + n) - self._log_spill[al]) - n for n in self._levels]
        return np.asarray(empty + np.stack(gains) + np.log(self._level_weights)[:, None, None])

    def _shared(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log likelihood (row, column) of the shares, without the multinomial coefficient."""
        safe = np.maximum(mean, 1e-9)
        return np.asarray((self.counts * np.log(safe)).sum(axis=0) - self.total * np.log(safe.sum(axis=0)))

    def _maximise(self) -> None:
        s, weights = self.settings, self._weights
        flat_bins = self._bins.ravel()
        net = self.counts - self.spill
        for state in (LCO, NCA):
            mean = np.maximum((weights[state] * net).sum(axis=(1, 2)), 0.0)
            start = _shares(s.lco_start if state == LCO else s.nca_start)
            self._theta[state] = _normalise(mean + self.typical * start)  # plus one pixel of the first guess
        for state, start in self._sums.items():
            seen = np.bincount(flat_bins, weights[state].ravel(), minlength=SUM_BINS)
            smooth = ndimage.gaussian_filter1d(seen, 1.0, mode="nearest") + 0.5
            self._sums[state] = smooth / smooth.sum() if seen.sum() > 1 else start
        levels = _normalised(self._binder_levels()) * weights[BINDER]
        self._level_weights = _normalise(levels.sum(axis=(1, 2)) + 1.0)

    def _mean_sum(self, state: int) -> float:
        weights = self._weights[state]
        return float((weights * (self.total - self._spilt)).sum() / max(float(weights.sum()), 1e-9))


def _typical_sum(total: NDArray[np.float64]) -> float:
    """Return the sum of counts of a pixel of active material, from the brighter half of a smoothed map."""
    smooth = ndimage.uniform_filter(total, 3, mode="nearest")
    bright = smooth > 0.5 * np.percentile(smooth, 95)
    typical = float(np.median(total[bright])) if bright.any() else 0.0
    if typical < 1.0:
        raise ValueError(f"counts: {total.mean():.3g} per pixel are too few for phases; sum frames or dwell longer")
    return typical


def _shares(table: Mapping[str, float]) -> NDArray[np.float64]:
    return _normalise(np.array([table[n] for n in CHANNELS]))


def _normalise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values / values.sum())


def _normalised(logs: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return probabilities from logarithms, normalised along the first axis."""
    weights = np.exp(logs - logs.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0), dtype=np.float32)

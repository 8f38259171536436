"""Particles of a phase map, from CT's labels and the map's counts, each classified as LCO or NCA.

A particle is classified by the nickel and cobalt counts of all its pixels. The share of nickel is that of LCO or NCA in
this map (beta-binomial, because shares vary between particles more than counting does), or arbitrary, for two merged
particles or another material.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import betaln, gammaincinv
from skimage.segmentation import expand_labels

from xrm_sims.correlate.phases.phases import CHANNELS, Phase, PhaseMap
from xrm_sims.settings.section import Length, Positive, Section

NICKEL, COBALT = CHANNELS.index("58Ni"), CHANNELS.index("59Co")
CONFIDENCE = 0.95
NEITHER = 0.02  # assumed: prior probability that a particle is neither LCO nor NCA
DECIDED = 0.95  # least probability of a particle's phase
DOUBT = 0.02  # assumed: share of a particle's pixels that may be of the other phase, however sure the particle is


class ParticleSettings(Section):
    """Section ``[particles]``: how CT's labels and a map's pixels become particles with a phase."""

    reach_um: Length = 0.3  # of CT's labels beyond their boundaries, for active pixels of the map
    least_area_um2: Positive = 0.1  # smaller patches of another phase, or without a label of CT, are no particles
    share_weight: Positive = 200.0  # assumed: shares of nickel scatter between particles like those of so many ions


@dataclass(frozen=True)
class Particle:
    """One particle of the map; ``ct_label`` is 0 without a label of CT.

    ``p_lco``, ``p_nca``, ``p_neither`` add up to 1. ``nickel``, ``cobalt``: counts of all its pixels with the limits of
    their 95 % confidence interval. ``remark``: deviations from CT or an uncertain phase, often empty.
    """

    number: int
    ct_label: int
    pixels: int
    area_um2: float
    p_lco: float
    p_nca: float
    p_neither: float
    nickel: int
    nickel_low: float
    nickel_high: float
    cobalt: int
    cobalt_low: float
    cobalt_high: float
    remark: str

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


COLUMNS = tuple(Particle.__dataclass_fields__)


@dataclass(frozen=True, eq=False)
class Particles:
    """``labels`` (row, column): numbers of the particles, 0 elsewhere; ``found`` in the order of their numbers.

    ``unseen``: CT's labels in the field without active material in the map.
    """

    labels: NDArray[np.int32]
    found: list[Particle]
    unseen: list[int]

    def nca_prior(self) -> NDArray[np.float64]:
        """Return the probability of NCA (row, column) of each pixel's particle, 0.5 outside particles."""
        known = [0.5] + [p.p_nca / max(p.p_nca + p.p_lco, 1e-12) for p in self.found]
        clipped = np.clip(known, DOUBT, 1.0 - DOUBT)
        return np.asarray(clipped[self.labels])


def find_particles(
    phases: PhaseMap,
    counts: NDArray[np.float64],
    ct_labels: NDArray[np.int32] | None = None,
    settings: ParticleSettings = ParticleSettings(),
) -> Particles:
    """Find and classify the particles in the field.

    Parameters
    ----------
    counts : (channel, row, column) in the order of ``CHANNELS``, summed over frames.
    ct_labels : (row, column) of the CT slice in the field, 0 outside particles.

    A CT label with both phases in the map, each over ``least_area_um2``, becomes two particles. A patch of active
    material beyond the reach of all labels becomes a particle without a label.
    """
    active = phases.probabilities[Phase.LCO] + phases.probabilities[Phase.NCA] > 0.5
    ct = np.zeros(active.shape, np.int32) if ct_labels is None else np.asarray(ct_labels, np.int32)
    least_px = settings.least_area_um2 / phases.pixel_um**2
    parents = np.where(active, expand_labels(ct, settings.reach_um / phases.pixel_um), 0)
    parts = _by_phase(parents, phases.nca_share > 0.5, least_px)
    parts = _add_unlabelled(parts, active & (parents == 0), phases.nca_share > 0.5, least_px)
    numbers, inverse = np.unique(parts, return_inverse=True)
    labels = (inverse.reshape(parts.shape) + (numbers[0] != 0)).astype(np.int32)
    ids = np.arange(1, labels.max() + 1)
    parent_of = ndimage.maximum(parents, labels, ids).astype(int) if len(ids) else np.zeros(0, int)
    halved = {int(p) for p, times in zip(*np.unique(parent_of, return_counts=True), strict=True) if p and times > 1}
    found = [
        _classify(number, int(parent), labels == number, phases, counts, int(parent) in halved, settings)
        for number, parent in zip(ids.tolist(), parent_of, strict=True)
    ]
    unseen = sorted(set(np.unique(ct[_large(ct, least_px)]).tolist()) - {0, *parent_of.tolist()})
    return Particles(labels, found, unseen)


def _by_phase(parents: NDArray[np.int32], nca: NDArray[np.bool_], least_px: float) -> NDArray[np.int64]:
    """Return labels 2 parent + (1 for NCA); a part of a parent that is too small joins the larger part."""
    size = np.bincount(parents.ravel())
    as_nca = np.bincount(parents.ravel(), nca.ravel())
    mostly = as_nca > 0.5 * size
    both = np.minimum(as_nca, size - as_nca) >= least_px
    return np.where(parents > 0, 2 * parents.astype(np.int64) + np.where(both[parents], nca, mostly[parents]), 0)


def _add_unlabelled(
    parts: NDArray[np.int64], unknown: NDArray[np.bool_], nca: NDArray[np.bool_], least_px: float
) -> NDArray[np.int64]:
    """Add patches of either phase that no label of CT reaches."""
    for mask in (unknown & ~nca, unknown & nca):
        patches, _ = ndimage.label(mask)
        kept = _large(patches, least_px)
        parts = np.where(kept, parts.max() + patches, parts)
    return parts


def _large(labels: NDArray[np.int32], least_px: float) -> NDArray[np.bool_]:
    return np.asarray((labels > 0) & (np.bincount(labels.ravel())[labels] >= least_px))


def _classify(
    number: int,
    parent: int,
    mask: NDArray[np.bool_],
    phases: PhaseMap,
    counts: NDArray[np.float64],
    halved: bool,
    settings: ParticleSettings,
) -> Particle:
    nickel, cobalt = (int(counts[k][mask].sum()) for k in (NICKEL, COBALT))
    p_lco, p_nca, p_neither = identity(nickel, cobalt, _expected_shares(mask, phases, counts), settings)
    remarks = [
        "CT merges it with another particle" if halved else "",
        "" if parent else "not labelled by CT",
        "undecided" if max(p_lco, p_nca) < DECIDED and p_neither < 0.5 else "",
        "neither LCO nor NCA by its nickel and cobalt" if p_neither >= 0.5 else "",
    ]
    pixels = int(mask.sum())
    limits = [poisson_interval(n) for n in (nickel, cobalt)]
    return Particle(
        number, parent, pixels, pixels * phases.pixel_um**2, p_lco, p_nca, p_neither,
        nickel, *limits[0], cobalt, *limits[1], "; ".join(filter(None, remarks)),
    )  # fmt: skip


def _expected_shares(mask: NDArray[np.bool_], phases: PhaseMap, counts: NDArray[np.float64]) -> tuple[float, float]:
    """Return the share of nickel in nickel and cobalt, with spill, if all these pixels were LCO, and if NCA."""
    spill = [float(phases.spill[k][mask].sum()) for k in range(len(CHANNELS))]
    own = max(float(counts[:, mask].sum()) - sum(spill), 0.0)
    shares = []
    for phase in (Phase.LCO, Phase.NCA):
        rate = phases.rates[phase] / max(phases.rates[phase].sum(), 1e-12)
        nickel, cobalt = (own * rate[k] + spill[k] for k in (NICKEL, COBALT))
        shares.append(nickel / max(nickel + cobalt, 1e-12))
    return shares[0], shares[1]


def identity(
    nickel: int, cobalt: int, shares: tuple[float, float], settings: ParticleSettings = ParticleSettings()
) -> tuple[float, float, float]:
    """Return the probabilities of LCO, NCA and neither; ``shares`` are the expected nickel shares of LCO and NCA."""
    prior = np.array([0.5 * (1 - NEITHER)] * 2 + [NEITHER])
    weight = settings.share_weight
    logs = [_beta_binomial(nickel, cobalt, weight * q, weight * (1 - q)) for q in np.clip(shares, 1e-3, 1 - 1e-3)]
    logs.append(_beta_binomial(nickel, cobalt, 1.0, 1.0))
    evidence = prior * np.exp(np.array(logs) - max(logs))
    p_lco, p_nca, p_neither = (evidence / evidence.sum()).tolist()
    return p_lco, p_nca, p_neither


def _beta_binomial(k: int, rest: int, a: float, b: float) -> float:
    """Return the log probability of k out of k + rest, without the binomial coefficient."""
    return float(betaln(k + a, rest + b) - betaln(a, b))


def poisson_interval(count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the confidence limits of a Poisson mean for ``count`` (Garwood, Biometrika 28 (1936) 437)."""
    tail = 0.5 * (1.0 - confidence)
    low = float(gammaincinv(count, tail)) if count else 0.0
    return low, float(gammaincinv(count + 1, 1.0 - tail))

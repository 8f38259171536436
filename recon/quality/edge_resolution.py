"""Resolution of a volume from an edge that a FIB cut: edge response, line spread, width, modulation (ASTM E1441).

As in ASTM E1695, every voxel near the edge is a sample of the edge response at its distance from the edge, so that the
response is sampled far more finely than the voxels and without interpolation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from recon.alignment.outline import Outline, round_outline

REACH_UM = 2.5  # of the edge response on both sides of the edge
LEAST_REACH_VOXELS = 12
BINS_PER_VOXEL = 16
PLATEAU, FREE = (-0.88, -0.2), 0.48  # shares of the reach: solid material inside, free space outside
BLOCK_UM = 1.0  # height of a piece of the side face
SECTORS = 36  # of the circle; they are independent, while neighbouring voxels share noise and particles
LEAST_SECTORS = 6
SOLID, EMPTY = 0.15, 0.15  # largest variation of a plateau, largest value in free space, as shares of the level
SCATTER = 3.0  # largest distance of an edge from the smooth side face, in median deviations
LEAST_SCATTER = 0.1  # voxels; smallest such deviation
SMOOTHING = (0.8, 1.0, 1.2, 1.6)  # reach of the local polynomial that differentiates, in widths
LARGEST_ERROR = 0.03  # the reach is increased until the standard error of the width is below this share of it
ORDER = 5
LEAST_WIDTH = 0.25  # smallest width for the local polynomial, as share of the edge's rise
RESAMPLINGS = 200


@dataclass(frozen=True, eq=False)
class EdgeCurves:
    """Edge response (1 inside, 0 outside) and line spread over the distance from the edge, outwards; modulation over
    spatial frequency. All (n,)."""

    distance_um: NDArray[np.float64]
    edge_response: NDArray[np.float64]
    line_spread_per_um: NDArray[np.float64]
    frequency_per_um: NDArray[np.float64]
    modulation: NDArray[np.float64]


@dataclass(frozen=True)
class EdgeResolution:
    """Full width at half maximum of the line spread, and the frequency with a modulation of 10 %, with standard errors.

    patches : number of pieces of the side face, each a sector of the circle in a block of slices.
    """

    fwhm_um: float
    sigma_um: float
    mtf10_per_um: float
    mtf10_sigma_per_um: float
    patches: int
    curves: EdgeCurves = field(repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures without the curves."""
        return {name: value for name, value in vars(self).items() if name != "curves"}

    def __str__(self) -> str:
        return (
            f"{self.fwhm_um * 1e3:.0f} +- {self.sigma_um * 1e3:.0f} nm (FWHM of the line spread, {self.patches} pieces "
            f"of edge), 10 % modulation at {self.mtf10_per_um:.2f} +- {self.mtf10_sigma_per_um:.2f} cycles per um"
        )


def edge_resolution(volume: NDArray[np.float32], voxel_um: float, *, seed: int = 0) -> EdgeResolution:
    """Measure the resolution at the round side face of a pillar standing along z.

    The side face is a circle that may be slightly oval, inclined and tapered; pieces of it with solid material behind
    and free space before it are found in the data. Their voxels, sorted by distance from that face, are the edge
    response; its derivative is the line-spread function, whose width is read directly at half of its maximum (without
    a Gaussian, because the source spot is none). Roughness along the edge counts as blur. Standard errors are those of
    resampled sectors of the circle (bootstrap, seeded).

    Total variation sharpens a strong edge more than weak contrasts: for the resolution of the data use a volume that
    was reconstructed without.
    Raises ValueError when there is no round edge with solid material behind it.

    Parameters
    ----------
    volume : (z, y, x).
    """
    reach_um = max(REACH_UM, LEAST_REACH_VOXELS * voxel_um)
    ring = _Ring.about(volume, _outline(volume, voxel_um), voxel_um, reach_um)
    kept, face = _clean_pieces(ring)
    sectors = np.moveaxis((ring.by_piece(face) * kept[..., None]).sum(axis=1), 1, 0)
    seen = np.flatnonzero(kept.any(axis=0))
    if len(seen) < LEAST_SECTORS:
        raise ValueError(
            f"volume: {len(seen)} of {SECTORS} sectors of the side face are solid behind and free before the edge, "
            f"{LEAST_SECTORS} are needed"
        )
    response = _response(sectors[seen].sum(axis=0), ring.distance_um)
    rng = np.random.default_rng(seed)
    resampled = [rng.choice(seen, len(seen)) for _ in range(RESAMPLINGS)]
    others = np.array([_response(sectors[n].sum(axis=0), ring.distance_um) for n in resampled])
    step_um = float(ring.distance_um[1] - ring.distance_um[0])
    for smoothing in SMOOTHING:
        length = _window(response, step_um, smoothing)
        spread = _line_spread(response, step_um, length)
        width = _half_width(spread, step_um)
        chance = _scatter([_half_width(each, step_um) for each in _line_spread(others, step_um, length)])
        if chance < LARGEST_ERROR * width:
            break
    # the same smoothing of the smooth line spread changes it about as much as the first smoothing did
    again = _line_spread(response[0] - np.cumsum(spread) * step_um, step_um, length)
    systematic = _half_width(again, step_um) - width
    frequency = np.linspace(0, 1 / voxel_um, 201)
    modulation = _modulation(response, step_um, frequency)
    mtf10 = _falls_to(modulation, 0.1, frequency)
    mtf_chance = _scatter([_falls_to(each, 0.1, frequency) for each in _modulation(others, step_um, frequency)])
    return EdgeResolution(
        width,
        math.hypot(chance, systematic),
        mtf10,
        mtf_chance,
        int(kept.sum()),
        EdgeCurves(ring.distance_um, response, spread, frequency, modulation),
    )


def _outline(volume: NDArray[np.float32], voxel_um: float) -> Outline:
    """Fit the outline to means of blocks of slices, in which noise does not hide the pillar."""
    block = _slices_per_block(volume, voxel_um)
    blocks = np.array_split(volume, max(1, len(volume) // block))
    return round_outline(np.stack([each.mean(axis=0) for each in blocks]))


def _slices_per_block(volume: NDArray[np.float32], voxel_um: float) -> int:
    return max(1, min(round(BLOCK_UM / voxel_um), len(volume)))


@dataclass(frozen=True, eq=False)
class _Ring:
    """The voxels (slice, n) within reach of a circle, with their distance to it and their angle."""

    values: NDArray[np.float32]
    distance: NDArray[np.float64]  # voxels, outwards
    angle: NDArray[np.float64]
    reach: float  # voxels
    voxel_um: float
    block: int  # slices

    @classmethod
    def about(cls, volume: NDArray[np.float32], circle: Outline, voxel_um: float, reach_um: float) -> _Ring:
        reach = reach_um / voxel_um
        if circle.radius < 1.5 * reach:
            raise ValueError(f"volume: the pillar's radius of {circle.radius:.0f} voxels is too small for its edge")
        y, x = np.indices(volume.shape[1:])
        radius = np.hypot(y - circle.row, x - circle.column)
        near = np.abs(radius - circle.radius) < 1.3 * reach  # the true face may lie a little off the circle
        angle = np.arctan2(y - circle.row, x - circle.column)[near] % (2 * np.pi)
        block = _slices_per_block(volume, voxel_um)
        return cls(volume[:, near], radius[near] - circle.radius, angle, reach, voxel_um, block)

    @property
    def distance_um(self) -> NDArray[np.float64]:
        """Middle of each bin."""
        half = math.ceil(self.reach * BINS_PER_VOXEL)
        return np.arange(-half, half + 1) * self.voxel_um / BINS_PER_VOXEL

    @property
    def blocks(self) -> NDArray[np.int64]:
        """Block of each slice; the last one includes the remaining slices."""
        return np.minimum(np.arange(len(self.values)) // self.block, max(len(self.values) // self.block, 1) - 1)

    def by_piece(self, face: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return voxel counts, sums of values and of distances to ``face`` in um: (3, block, sector, bin)."""
        blocks, bins = self.blocks, len(self.distance_um)
        sums = np.zeros((3, blocks[-1] + 1, SECTORS, bins))
        sector = (self.angle * SECTORS / (2 * np.pi)).astype(int) % SECTORS
        for k, line in enumerate(self.values):
            away = self.distance if face is None else self.distance - _face_terms(self.angle, self.height(k)) @ face
            place = np.round(away * BINS_PER_VOXEL).astype(int) + bins // 2
            inside = (place >= 0) & (place < bins)
            flat = sector[inside] * bins + place[inside]
            for n, weight in enumerate((None, line[inside], away[inside] * self.voxel_um)):
                sums[n, blocks[k]] += np.bincount(flat, weight, SECTORS * bins).reshape(SECTORS, bins)
        return sums

    def height(self, k: float) -> float:
        """-1 to 1 from the lowest to the highest slice."""
        return 2 * k / max(len(self.values) - 1, 1) - 1


def _face_terms(angle: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    """Terms (..., 10) of the face's distance from the circle: radius, shift and oval, each linear in height."""
    flat = [np.ones_like(angle), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    return np.stack([*flat, *(term * height for term in flat)], axis=-1)


def _clean_pieces(ring: _Ring) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which pieces (block, sector) have solid material behind and free space before the edge, and their face."""
    counts, sums, _ = ring.by_piece()
    at = ring.distance_um / (ring.reach * ring.voxel_um)

    def mean(low: float, high: float) -> NDArray[np.float64]:
        part = (at >= low) & (at < high)
        return np.asarray(sums[..., part].sum(axis=-1) / np.maximum(counts[..., part].sum(axis=-1), 1))

    steps = np.linspace(*PLATEAU, 7)
    plateau = np.stack([mean(low, high) for low, high in pairwise(steps)])
    inside, outside = plateau.mean(axis=0), mean(FREE, 1.0)
    level = float(np.quantile(inside, 0.9))
    clean = (inside > (1 - SOLID) * level) & (np.abs(outside) < EMPTY * level)
    clean &= (np.abs(plateau - inside) < SOLID * inside).all(axis=0)
    if not clean.any():
        raise ValueError("volume: no piece of its side face is solid behind and free before the edge")
    between = (at >= PLATEAU[1]) & (at < FREE)
    filled = counts[..., between] > 0
    response = sums[..., between] / np.maximum(counts[..., between], 1)
    share = np.where(filled, (response - outside[..., None]) / np.maximum(inside - outside, 1e-12)[..., None], np.nan)
    # the area under the response gives the position of the edge; bins without a voxel are left out
    width = (FREE - PLATEAU[1]) * ring.reach
    position = PLATEAU[1] * ring.reach + width * np.nanmean(share, axis=-1)
    middle = np.array([np.flatnonzero(ring.blocks == n).mean() for n in range(len(position))])
    angle = (np.arange(SECTORS) + 0.5) * 2 * np.pi / SECTORS
    terms = np.stack([_face_terms(angle, ring.height(k)) for k in middle])
    kept = clean
    for _ in range(3):
        face, *_ = np.linalg.lstsq(terms[kept], position[kept], rcond=None)
        away = np.abs(position - terms @ face)
        kept = clean & (away < SCATTER * max(1.4826 * float(np.median(away[kept])), LEAST_SCATTER))
    return kept, face


def _response(bins: NDArray[np.float64], distance_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the edge response at these distances, 1 inside and 0 outside, from the sums (3, bin) of some pieces."""
    counts, values, distances = bins[:, bins[0] > 0]
    response = np.interp(distance_um, distances / counts, values / counts)
    at = distance_um / distance_um[-1]
    inside = response[(at >= PLATEAU[0]) & (at < PLATEAU[1])].mean()
    outside = response[at >= FREE].mean()
    return np.asarray((response - outside) / (inside - outside))


def _window(response: NDArray[np.float64], step_um: float, smoothing: float) -> int:
    """Return the odd number of bins of a local polynomial that is ``smoothing`` widths long."""
    rise_um = step_um * float(np.clip(4 * response * (1 - response), 0, None).sum())  # robust against noise
    width_um = rise_um
    for _ in range(3):
        length = 2 * round(0.5 * smoothing * width_um / step_um) + 1
        length = min(max(length, ORDER + 4), len(response) // 2 * 2 - 1)
        width_um = max(_half_width(_line_spread(response, step_um, length), step_um), LEAST_WIDTH * rise_um)
    return length


def _line_spread(response: NDArray[np.float64], step_um: float, length: int) -> NDArray[np.float64]:
    """Minus the derivative by local polynomials (A. Savitzky, M. J. E. Golay, Anal. Chem. 36 (1964) 1627)."""
    return np.asarray(-signal.savgol_filter(response, length, ORDER, deriv=1, delta=step_um))


def _scatter(values: list[float]) -> float:
    """Return half the range of the central 68 % of the values."""
    low, high = np.quantile(values, (0.16, 0.84))
    return 0.5 * float(high - low)


def _modulation(response: NDArray[np.float64], step_um: float, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the magnitude (..., frequency) of the line spread's Fourier transform from edge responses (..., bin).

    It is 1 at zero frequency and corrected for binning and differencing.
    """
    spread = -np.diff(response)
    x = (np.arange(spread.shape[-1]) - (spread.shape[-1] - 1) / 2) * step_um
    share = np.abs(x) / (0.5 * len(x) * step_um)
    window = 0.5 + 0.5 * np.cos(np.pi * np.clip((share - 0.3) / 0.3, 0, 1))  # beyond lies noise alone
    transform = np.abs((window * spread) @ np.exp(-2j * np.pi * x[:, None] * frequency))
    return np.asarray(transform / transform[..., :1] / np.sinc(frequency * step_um) ** 2)


def _falls_to(curve: NDArray[np.float64], level: float, at: NDArray[np.float64]) -> float:
    """Return where a falling curve first crosses a level, the end when it never does."""
    below = np.flatnonzero(curve < level)
    if not len(below):
        return float(at[-1])
    n = below[0]
    return float(np.interp(level, [curve[n], curve[n - 1]], [at[n], at[n - 1]]))


def _half_width(spread: NDArray[np.float64], step_um: float) -> float:
    """Return the direct full width at half maximum of a line spread, whose peak is in the middle half."""
    n = len(spread)
    peak = np.array([n // 4 + int(spread[n // 4 : -n // 4].argmax())])
    above_zero = spread[peak], np.array([0]), np.array([n - 1])  # in place of the height above the neighbouring minima
    return float(signal.peak_widths(spread, peak, 0.5, above_zero)[0][0] * step_um)

"""How sharp a volume is, from the edge that a FIB cut: edge response, line spread, width (ASTM E1441)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from recon.outline import ANGLES, Outline, round_outline

REACH_UM = 2.5  # radial profiles run that far to both sides of the edge
RESAMPLINGS = 200
SECTORS = 36  # neighbouring profiles share voxels and particles: the circle's sectors are what is independent
LEAST_PROFILES = 50


@dataclass(frozen=True)
class EdgeResolution:
    """Full width at half maximum of the line-spread function, its standard error, and how many profiles gave it."""

    fwhm_um: float
    sigma_um: float
    profiles: int

    def __str__(self) -> str:
        return (
            f"{self.fwhm_um * 1e3:.0f} +- {self.sigma_um * 1e3:.0f} nm (FWHM of the line spread, {self.profiles} edges)"
        )


def edge_resolution(volume: NDArray[np.float32], voxel_um: float, *, seed: int = 0) -> EdgeResolution:
    """Width of the round side face of a pillar standing along z.

    In each slice radial profiles across the circle are taken where solid material reaches the edge and free space lies
    outside. Their mean is the edge response; its derivative the line-spread function, whose width is read directly at
    half of its maximum (no Gaussian is fitted: the source spot is none). The standard error is that of resampled
    sectors of the circle (bootstrap, seeded).

    Parameters
    ----------
    volume : (z, y, x).

    Raises
    ------
    ValueError when there is no round edge with solid material behind it.
    """
    profiles, sector, step_um = _profiles(volume, voxel_um, round_outline(volume))
    if len(profiles) < LEAST_PROFILES:
        raise ValueError(f"volume: only {len(profiles)} clean edges on the side face, {LEAST_PROFILES} are needed")
    counts = np.bincount(sector, minlength=SECTORS)
    sums = np.zeros((SECTORS, profiles.shape[1]))
    np.add.at(sums, sector, profiles)
    seen = np.flatnonzero(counts)
    rng = np.random.default_rng(seed)
    widths = []
    for _ in range(RESAMPLINGS):
        drawn = rng.choice(seen, len(seen))
        widths.append(_half_width(sums[drawn].sum(axis=0) / counts[drawn].sum(), step_um))
    return EdgeResolution(_half_width(profiles.mean(axis=0), step_um), float(np.std(widths)), len(profiles))


def _profiles(
    volume: NDArray[np.float32], voxel_um: float, circle: Outline
) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """Radial profiles (n, points) normalised to 1 inside and 0 outside, the sector each lies in, and their step."""
    step = 0.25
    offset = np.arange(-REACH_UM / voxel_um, REACH_UM / voxel_um + step, step)
    angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    rows = circle.row + np.sin(angle)[:, None] * (circle.radius + offset)
    columns = circle.column + np.cos(angle)[:, None] * (circle.radius + offset)
    lines = np.concatenate([ndimage.map_coordinates(each, [rows, columns], order=3) for each in volume]).astype(float)
    um = offset * voxel_um
    inner, outer = lines[:, (um > -2.2) & (um < -0.8)], lines[:, um > 1.2]
    level = np.quantile(inner.mean(axis=1), 0.9)
    solid = (inner.min(axis=1) > 0.7 * level) & (inner.mean(axis=1) > 0.85 * level)
    free = np.abs(outer.mean(axis=1)) < 0.15 * level
    clean = solid & free
    kept = lines[clean]
    sector = np.tile(np.arange(ANGLES) * SECTORS // ANGLES, len(volume))[clean]
    inside = kept[:, (um > -2.2) & (um < -0.8)].mean(axis=1, keepdims=True)
    outside = kept[:, um > 1.2].mean(axis=1, keepdims=True)
    return (kept - outside) / (inside - outside), sector, step * voxel_um


def _half_width(edge: NDArray[np.float64], step_um: float) -> float:
    """Direct full width at half maximum of the derivative of an edge response that falls."""
    spread = -np.gradient(edge, step_um)
    peak = int(spread.argmax())
    half = 0.5 * spread[peak]
    left, right = peak, peak
    while left > 0 and spread[left] > half:
        left -= 1
    while right < len(spread) - 1 and spread[right] > half:
        right += 1
    low = left + (half - spread[left]) / max(spread[left + 1] - spread[left], 1e-12)
    high = right - (half - spread[right]) / max(spread[right - 1] - spread[right], 1e-12)
    return float((high - low) * step_um)

"""Depth profiles: ions of successive frames over one field against depth.

Depth is dose times erosion rate over area, from the surface before the raster. The material under the beam is unknown,
so the rate is the mean of the active materials' rates, and the uncertainty of depth is proportional to depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrm_sims.correlate.maps.counting import AlignedFrames, Ions
from xrm_sims.patterns import Raster
from xrm_sims.settings import Settings


@dataclass(frozen=True, eq=False)
class DepthScale:
    """Depth (frame,) at half of each frame, and its standard uncertainty, which is fully correlated between frames."""

    depth_um: NDArray[np.float64]
    sigma_um: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DepthProfile:
    """Ions per pixel (frame, channel) with their counting errors, over ``pixels`` pixels."""

    labels: tuple[str, ...]
    scale: DepthScale
    per_pixel: Ions
    pixels: int

    def as_rows(self) -> list[dict[str, Any]]:
        """Return a row for each frame: depth, its uncertainty, and each channel with its error."""
        number, error = self.per_pixel.number, self.per_pixel.error
        return [
            {"depth_um": float(depth_um), "depth_sigma_um": float(sigma_um)}
            | {label: float(number[n, k]) for k, label in enumerate(self.labels)}
            | {f"{label}_error": float(error[n, k]) for k, label in enumerate(self.labels)}
            for n, (depth_um, sigma_um) in enumerate(zip(self.scale.depth_um, self.scale.sigma_um, strict=True))
        ]


def depth_scale(dose_nc: ArrayLike, raster: Raster, settings: Settings) -> DepthScale:
    """Return the depths of doses (frame,) in nC on a raster's field.

    The uncertainty is that of the rates plus, in quadrature, half the difference between the two active materials.
    """
    s = settings.sputtering
    rate = 0.5 * (s.rate_lco_um3_per_nc + s.rate_nca_um3_per_nc)
    between = abs(s.rate_lco_um3_per_nc - s.rate_nca_um3_per_nc) / (2 * rate)
    depth_um = np.asarray(dose_nc, dtype=float) * rate / raster.area_um2
    return DepthScale(depth_um, depth_um * np.hypot(s.rate_uncertainty, between))


def depth_profiles(
    frames: AlignedFrames, scale: DepthScale, masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, DepthProfile]:
    """Return a profile over each mask (row, column), reading each frame once.

    Raises ValueError for an empty mask, and unless each frame has a depth.
    """
    if len(scale.depth_um) != len(frames):
        raise ValueError(f"scale: has {len(scale.depth_um)} depths for {len(frames)} frames")
    for name, mask in masks.items():
        if not mask.any():
            raise ValueError(f"masks: {name!r} has no pixels")
    sums: dict[str, list[Ions]] = {name: [] for name in masks}
    for n in range(len(frames)):
        ions = frames[n]
        for name, mask in masks.items():
            sums[name].append(ions.over(mask))
    profiles = {}
    for name, mask in masks.items():
        pixels = int(mask.sum())
        number, variance = (np.stack([getattr(one, part) for one in sums[name]]) for part in ("number", "variance"))
        per_pixel = Ions(number / pixels, variance / pixels**2)
        profiles[name] = DepthProfile(frames.counters.labels, scale, per_pixel, pixels)
    return profiles

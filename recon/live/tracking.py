"""Where the image of a new view lies, told from its moments by the views that were aligned before.

The same consistency conditions as in :mod:`recon.moments`, at the price of two sums over one image: the centre of mass
across the columns follows a sinusoid (with a second harmonic in a cone beam), and the profile of row sums has the same
shape in every view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.alignment.moments import sinusoids

HARMONICS = 2
LARGEST_LAG = 1 / 4  # of the rows: how far a profile is searched for
MARGIN = 1 / 8  # of the rows left out at either end, where profiles enter and leave
STEPS = 6


@dataclass(frozen=True)
class Moments:
    """Of line integrals: centre of mass (n,) in columns from the middle, sums over the columns (n, row)."""

    centre_px: NDArray[np.float64]
    profile: NDArray[np.float64]

    @classmethod
    def of(cls, p: NDArray[np.float32]) -> Moments:
        columns = p.shape[2]
        mass = p.sum(axis=1, dtype=np.float64)
        total = mass.sum(axis=1)
        centre = mass @ np.arange(columns) / np.where(total > 0, total, 1.0) - (columns - 1) / 2
        profile = p.sum(axis=2, dtype=np.float64)
        level = profile.mean(axis=1, keepdims=True)
        return cls(centre, profile / np.where(level > 0, level, 1.0))

    def of_views(self, views: NDArray[np.int64]) -> Moments:
        return Moments(self.centre_px[views], self.profile[views])


@dataclass(frozen=True)
class Track:
    """What aligned views agree upon: the path of their centre of mass, their common profile, and how the line of sight
    turns with the column shift."""

    path: NDArray[np.float64]
    profile: NDArray[np.float64]
    turn: NDArray[np.float64]

    @classmethod
    def through(
        cls,
        moments: Moments,
        angles_deg: NDArray[np.float64],
        shifts_px: NDArray[np.float64],
        turned_deg: NDArray[np.float64],
    ) -> Track:
        """From views whose shifts (n, 2) are known, and by how much their angle differs from the one measured."""
        path, *_ = np.linalg.lstsq(sinusoids(angles_deg, HARMONICS), moments.centre_px - shifts_px[:, 1], rcond=None)
        across = np.column_stack([np.ones(len(shifts_px)), shifts_px[:, 1]])
        turn, *_ = np.linalg.lstsq(across, turned_deg, rcond=None)
        grid = np.arange(moments.profile.shape[1])
        upright = [np.interp(grid + s, grid, row) for s, row in zip(shifts_px[:, 0], moments.profile, strict=True)]
        return cls(np.asarray(path, float), np.mean(upright, axis=0), np.asarray(turn, float))

    def shifts_px(self, moments: Moments, angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) displacement of further views along (row, column)."""
        across = moments.centre_px - sinusoids(angles_deg, HARMONICS) @ self.path
        return np.column_stack([[self._lag(row) for row in moments.profile], across])

    def turned_deg(self, shifts_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) by how much the line of sight of views with these shifts (n, 2) is turned."""
        return np.asarray(self.turn[0] + self.turn[1] * shifts_px[:, 1])

    def _lag(self, profile: NDArray[np.float64]) -> float:
        """Displacement of one profile: whole rows, then Gauss-Newton with a free scale."""
        rows = len(profile)
        reach, margin = max(1, round(LARGEST_LAG * rows)), max(1, round(MARGIN * rows))
        lags = range(-reach, reach + 1)
        cost = [
            np.mean((profile[max(n, 0) : rows + min(n, 0)] - self.profile[max(-n, 0) : rows + min(-n, 0)]) ** 2)
            for n in lags
        ]
        lag = float(lags[int(np.argmin(cost))])
        grid, inner = np.arange(rows), slice(margin, rows - margin)
        slope = np.gradient(self.profile)
        for _ in range(STEPS):
            moved, inclined = (np.interp(grid - lag, grid, each)[inner] for each in (self.profile, slope))
            design = np.column_stack([moved, -inclined])
            (scale, change), *_ = np.linalg.lstsq(design, profile[inner], rcond=None)
            lag += float(np.clip(change / scale if scale > 0.1 else 0.0, -1.0, 1.0))
        return lag

"""Predict the displacement of a new view from the moments of its image and those of the views aligned before.

The same consistency conditions as in :mod:`recon.alignment.moments`, at the cost of two sums over one image: the centre
of mass across the columns follows a sinusoid (with a second harmonic in a cone beam), and the profile of row sums has
the same shape in every view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.alignment.moments import moved_profiles, normalised, profile_shifts, sinusoids

HARMONICS = 2


@dataclass(frozen=True)
class ShiftPrediction:
    """Path of the centre of mass of aligned views, their mean profile, and the line of sight's turn by column shift."""

    path: NDArray[np.float64]
    profile: NDArray[np.float64]
    turn: NDArray[np.float64]

    @classmethod
    def from_aligned(
        cls,
        p: NDArray[np.float32],
        angles_deg: NDArray[np.float64],
        shifts_px: NDArray[np.float64],
        turned_deg: NDArray[np.float64],
    ) -> ShiftPrediction:
        """Fit line integrals of views with known shifts (n, 2) and turns of their angle from the one measured."""
        centre_px, profiles = _moments(p)
        path, *_ = np.linalg.lstsq(sinusoids(angles_deg, HARMONICS), centre_px - shifts_px[:, 1], rcond=None)
        across = np.column_stack([np.ones(len(shifts_px)), shifts_px[:, 1]])
        turn, *_ = np.linalg.lstsq(across, turned_deg, rcond=None)
        profile = moved_profiles(profiles, -shifts_px[:, 0]).mean(axis=0)
        return cls(np.asarray(path, float), profile, np.asarray(turn, float))

    def shifts_px(self, p: NDArray[np.float32], angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the displacement (n, 2) along (row, column) of further views from their line integrals."""
        centre_px, profiles = _moments(p)
        across = centre_px - sinusoids(angles_deg, HARMONICS) @ self.path
        return np.column_stack([profile_shifts(profiles, self.profile), across])

    def turned_deg(self, shifts_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much (n,) the line of sight of views with these shifts (n, 2) is turned."""
        return np.asarray(self.turn[0] + self.turn[1] * shifts_px[:, 1])


def _moments(p: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres of mass (n,) in columns from the middle, and normalised sums over the columns (n, row)."""
    columns = p.shape[2]
    mass = p.sum(axis=1, dtype=np.float64)
    total = mass.sum(axis=1)
    centre = mass @ np.arange(columns) / np.where(total > 0, total, 1.0) - (columns - 1) / 2
    return centre, normalised(p.sum(axis=2, dtype=np.float64))

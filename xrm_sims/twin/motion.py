"""Unwanted motion: drift of the focal spot with time, and run-out of the rotation stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import Motion

_STEP_S = 60.0  # of the random walk; positions between steps are interpolated
_CHUNK = 256  # steps drawn from one seed
_HARMONICS = 8


class SourceDrift:
    """Path of the focal spot relative to its nominal position; it depends only on seed and time.

    It is the sum of a steady drift in a random direction, a random walk of the same size after one hour, and an
    exponential approach to thermal equilibrium from twin time 0.
    """

    def __init__(self, settings: Motion, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        directions = np.random.default_rng([seed, 1]).normal(size=(2, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self._steady_um_per_h = 1e-3 * settings.drift_nm_per_h * directions[0]
        self._thermal_um = settings.thermal_drift_um * directions[1]
        self._chunks: list[NDArray[np.float64]] = []

    def at(self, time_s: float) -> NDArray[np.float64]:
        """Return the displacement (3,) along x, y, z of the laboratory in um; ValueError before time 0."""
        if not time_s >= 0:
            raise ValueError(f"time_s: needs a twin time of 0 s or later, got {time_s}")
        hours = time_s / 3600.0
        settled = 1.0 - np.exp(-hours / self._settings.thermal_time_h)
        step, part = divmod(time_s / _STEP_S, 1.0)
        walk = (1.0 - part) * self._walk(int(step)) + part * self._walk(int(step) + 1)
        return self._steady_um_per_h * hours + self._thermal_um * settled + walk

    def _walk(self, step: int) -> NDArray[np.float64]:
        """Return the position of the random walk after ``step`` steps."""
        sigma_um = 1e-3 * self._settings.drift_nm_per_h * np.sqrt(_STEP_S / 3600.0 / 3.0)
        while len(self._chunks) <= step // _CHUNK:
            number = len(self._chunks)
            start = self._chunks[-1][-1] if self._chunks else np.zeros(3)
            steps = np.random.default_rng([self._seed, 2, number]).normal(0.0, sigma_um, (_CHUNK, 3))
            self._chunks.append(np.vstack([start, start + np.cumsum(steps, axis=0)]))
        return self._chunks[step // _CHUNK][step % _CHUNK]


def settling(settings: Motion, seed: int, moves_s: Sequence[float], first: int, time_s: float) -> NDArray[np.float64]:
    """Return the displacement (3,) in um of the focal spot after changes of mode or target at ``moves_s`` (ascending).

    Each change warms another part of the instrument, and the spot approaches a new equilibrium exponentially.
    ``first`` is the number of the first change in the list; the number of a change determines its equilibrium.
    """
    at_um = equilibrium = _equilibrium(settings, seed, first - 1)
    since_s = 0.0
    for number, moved_s in enumerate(moves_s, first):
        if moved_s > time_s:
            break
        at_um = _approach(settings, at_um, equilibrium, moved_s - since_s)
        equilibrium, since_s = _equilibrium(settings, seed, number), moved_s
    return _approach(settings, at_um, equilibrium, time_s - since_s)


def _approach(
    settings: Motion, start_um: NDArray[np.float64], end_um: NDArray[np.float64], seconds: float
) -> NDArray[np.float64]:
    return end_um + (start_um - end_um) * np.exp(-seconds / 3600.0 / settings.move_time_h)


def _equilibrium(settings: Motion, seed: int, number: int) -> NDArray[np.float64]:
    """Return the equilibrium of the spot after a change; 0 before the first one."""
    if number < 0:
        return np.zeros(3)
    direction = np.random.default_rng([seed, 5, number]).normal(size=3)
    return settings.move_drift_um * direction / np.linalg.norm(direction)


class RunOut:
    """Run-out of the rotation stage: harmonics whose amplitudes fall as 1/k, with the same rms along x, y and z."""

    def __init__(self, settings: Motion, seed: int) -> None:
        draws = np.random.default_rng([seed, 3]).normal(size=(2, 3, _HARMONICS)) / np.arange(1, _HARMONICS + 1)
        rms = np.sqrt(0.5 * (draws**2).sum(axis=(0, 2)))
        self._cosine, self._sine = 1e-3 * settings.runout_nm * draws / rms[:, None]

    def at(self, angle_deg: float) -> NDArray[np.float64]:
        """Return the displacement (3,) along x, y, z of the laboratory in um."""
        phase = np.radians(angle_deg % 360.0) * np.arange(1, _HARMONICS + 1)
        return self._cosine @ np.cos(phase) + self._sine @ np.sin(phase)

"""Sharpness of filtered back projection: transfer functions of everything that blurs, and the width of an edge.

The focal spot is not a Gaussian, so widths do not add in quadrature. The transfer functions are multiplied, and the
width of the resulting line spread is read at half of its maximum, as :func:`recon.edge_resolution` does on a volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from recon.algorithms.fdk import ramp_response
from recon.algorithms.focal_spot import FocalSpot

_STEP_UM, _SAMPLES = 5e-4, 1 << 14  # of the line spread
_COLUMNS = 1024  # detector columns for which the filter is computed


@dataclass(frozen=True)
class Blur:
    """pitch_um : of pixels at the rotation axis, and of voxels; motion_um : standard deviation of uncorrected motion;
    window : of :func:`recon.fdk`."""

    spot: FocalSpot
    pitch_um: float
    motion_um: float = 0.0
    window: str = "ramp"

    def projected(self, frequency_per_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the transfer from the specimen to the projections: focal spot, pixel, motion."""
        shaken = np.exp(-2 * (math.pi * frequency_per_um * self.motion_um) ** 2)
        return self.spot.transfer(frequency_per_um) * np.sinc(frequency_per_um * self.pitch_um) * shaken

    def back_projected(self, frequency_per_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the transfer of filtering and of linear interpolation, on average sinc^2 over positions in a pixel.

        The ramp of sampled projections repeats beyond their Nyquist frequency (Kak and Slaney 1988, section 3.3); the
        random offsets of the views average out aliasing.
        """
        cycles = np.abs(frequency_per_um) * self.pitch_um
        folded = np.abs((cycles + 0.5) % 1 - 0.5)
        ramp = np.where(cycles > 0, folded / np.maximum(cycles, 1e-12), 1.0)
        return np.asarray(ramp * np.sinc(cycles) ** 2 * window_transfer(self.window, folded))

    def edge_width_um(self) -> float:
        """Return the direct full width at half maximum of the line spread of an edge."""
        frequency = np.asarray(np.fft.rfftfreq(_SAMPLES, _STEP_UM), float)
        spread = np.fft.irfft(self.projected(frequency) * self.back_projected(frequency), _SAMPLES)
        half = 0.5 * spread[0]
        below = int(np.argmax(spread < half))
        part = (spread[below - 1] - half) / (spread[below - 1] - spread[below])
        return 2 * _STEP_UM * float(below - 1 + part)


@cache
def filter_response(window: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cycles per pixel (n,) up to 0.5 and the filter of :func:`recon.fdk`; ValueError for an unknown window."""
    response = ramp_response(_COLUMNS, 2 * _COLUMNS, window).astype(float)
    return np.linspace(0.0, 0.5, len(response)), response


def window_transfer(window: str, cycles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the filter over the plain ramp, at up to half a cycle per pixel."""
    grid, response = filter_response(window)
    return np.asarray(np.interp(cycles, grid[1:], response[1:] / filter_response("ramp")[1][1:]))

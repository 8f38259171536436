"""X-ray spectrum of the target, and efficiency of the silicon sensor."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xraylib
from numpy.typing import ArrayLike, NDArray

from xrm_sims.settings import Detector, Settings
from xrm_sims.twin.charge_sharing import sharing

# Bins of the bremsstrahlung; the K edges of Fe, Co and Ni are bin edges.
_K_EDGES_KEV = tuple(xraylib.EdgeEnergy(z, xraylib.K_SHELL) for z in (26, 27, 28))
_BIN_EDGES_KEV = np.array(
    sorted((1, 2, 3, 4, 5, 6, *_K_EDGES_KEV, 9, 10, 11, 12, 13, 14, 16, 18, 20, 22.5, 25, 27.5, 30))
)
_SILICON_G_CM3 = 2.33


@cache
def _table() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("spectra.json").read_text())


def target_materials() -> tuple[str, ...]:
    """Return the tabulated targets."""
    return tuple(_table()["targets"])


def emission(
    target: str, voltage_kv: float, take_off_deg: float = 30.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return energies (n,) in keV and photons per cm² and mAs at 1 m (n,), above 1 keV: bremsstrahlung, then lines.

    Both are interpolated between the tabulated voltages and take-off angles, bremsstrahlung at equal fractions of the
    maximum energy. ValueError for a target without a table, and outside the voltages and angles of the table.
    """
    if target not in target_materials():
        raise ValueError(
            f"target: needs one of {', '.join(target_materials())}, got {target!r}; "
            "python -m xrm_sims.twin.make_spectra tabulates other materials"
        )
    voltages_kv, take_offs_deg = (np.array(_table()[name], float) for name in ("voltages_kv", "take_offs_deg"))
    slow = "slower electrons make next to no photons above a detector's threshold"
    _within("voltage_kv", voltage_kv, voltages_kv, "kV", slow)
    _within("take_off_deg", take_off_deg, take_offs_deg, "deg", "at a flatter exit the target's roughness dominates")
    table = _table()["targets"][target]

    def tabulated(part: str) -> NDArray[np.float64]:
        """Return a table (voltage, ...) at the take-off angle."""
        return _between(np.array(table[part]), take_offs_deg, take_off_deg)

    shape = _between(tabulated("bremsstrahlung") * voltages_kv[:, None], voltages_kv, voltage_kv)
    edge_kev = np.linspace(0, voltage_kv, len(shape) + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(shape) / len(shape)])
    first_moment = np.concatenate([[0.0], np.cumsum(shape / len(shape) * 0.5 * (edge_kev[1:] + edge_kev[:-1]))])
    photons = np.diff(np.interp(_BIN_EDGES_KEV, edge_kev, cumulative))
    moments = np.diff(np.interp(_BIN_EDGES_KEV, edge_kev, first_moment))
    filled = photons > 0
    energies = np.concatenate([moments[filled] / photons[filled], table["lines_kev"]])
    return energies, np.concatenate([photons[filled], _between(tabulated("lines"), voltages_kv, voltage_kv)])


def pixel_rate(settings: Settings, target: str, voltage_kv: float, current_na: float) -> tuple[Any, Any]:
    """Return energies (n,) in keV and photons/s (n,) at one pixel on the axis, 22.8/s in all for the defaults."""
    energies, fluence = emission(target, voltage_kv, settings.source.take_off_deg)
    area_cm2 = (0.1 * settings.detector.pixel_mm) ** 2
    distance_m = settings.xray.source_detector_mm * 1e-3
    return energies, fluence * (current_na * 1e-6) * area_cm2 / distance_m**2


def absorbed_fraction(energy_kev: ArrayLike, detector: Detector) -> NDArray[np.float64]:
    """Return the probability that a photon is absorbed in the silicon: 1 - exp(-mu d)."""
    energy = np.asarray(energy_kev, dtype=float)
    per_g = np.array([xraylib.CS_Total(14, float(e)) for e in energy.ravel()]).reshape(energy.shape)
    return -np.expm1(-per_g * _SILICON_G_CM3 * detector.sensor_um * 1e-4)


def detection_efficiency(energy_kev: ArrayLike, detector: Detector, threshold_kev: float) -> NDArray[np.float64]:
    """Return the mean counts per photon: absorption in the silicon, noisy threshold, and charge sharing."""
    energy = np.asarray(energy_kev, dtype=float)
    return absorbed_fraction(energy, detector) * sharing(energy, detector, threshold_kev).counts


def _within(name: str, value: float, tabulated: NDArray[np.float64], unit: str, reason: str) -> None:
    """Raise ValueError outside the table; ``reason`` explains its lower end."""
    if not tabulated[0] <= value <= tabulated[-1]:
        raise ValueError(
            f"{name}: the table of spectra reaches from {tabulated[0]:.4g} to {tabulated[-1]:.4g} {unit}, got "
            f"{value:.4g}" + (f"; {reason}" if value < tabulated[0] else "")
        )


def _between(rows: NDArray[np.float64], at: NDArray[np.float64], where: float) -> NDArray[np.float64]:
    """Interpolate ``rows`` (n, ...), tabulated at ``at`` (n,)."""
    k = min(int(np.searchsorted(at, where, side="right")) - 1, len(at) - 2)
    weight = (where - at[k]) / (at[k + 1] - at[k])
    return (1 - weight) * rows[k] + weight * rows[k + 1]

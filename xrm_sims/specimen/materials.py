"""Materials of the specimen: densities, compositions and X-ray attenuation."""

from __future__ import annotations

from enum import IntEnum
from functools import cache

import numpy as np
import xraylib
from numpy.typing import ArrayLike, NDArray

from xrm_sims.settings import Specimen


class Material(IntEnum):
    VACUUM = 0
    LCO = 1
    NCA = 2
    NCA_BOUNDARY = 3
    BINDER = 4
    DEPOSIT = 5
    STEEL = 6
    CARBON = 7
    PILLAR_AVERAGE = 8  # the pillar below its detailed part


# Density in g/cm^3, and atoms per formula unit. Binder: carbon black and PVDF, C6 + C2H2F2 = 2 (C4HF).
_PURE: dict[Material, tuple[float, dict[str, float]]] = {
    Material.VACUUM: (0.0, {}),
    Material.LCO: (5.05, {"Li": 1, "Co": 1, "O": 2}),
    Material.NCA: (4.75, {"Li": 1, "Ni": 0.8, "Co": 0.15, "Al": 0.05, "O": 2}),
    Material.NCA_BOUNDARY: (4.4, {"Li": 1, "Ni": 0.63, "Co": 0.12, "Al": 0.25, "O": 2}),
    Material.BINDER: (1.2, {"C": 4, "H": 1, "F": 1}),
    Material.DEPOSIT: (4.5, {"Pt": 20, "C": 80}),
    Material.STEEL: (7.87, {"Fe": 1}),
    Material.CARBON: (1.8, {"C": 1}),
}
_AS_PUBLISHED = Specimen()


def density_g_cm3(material: Material, settings: Specimen = _AS_PUBLISHED) -> float:
    """Return the mass density; that of ``PILLAR_AVERAGE`` follows from the volume fractions in ``settings``."""
    if material is Material.PILLAR_AVERAGE:
        return sum(share * _PURE[part][0] for part, share in _volume_fractions(settings).items())
    return _PURE[material][0]


def atomic_fractions(material: Material, settings: Specimen = _AS_PUBLISHED) -> dict[str, float]:
    """Return element symbol → share of the atoms (sums to 1; empty for vacuum)."""
    moles = {e: w / _atomic_weight(e) for e, w in mass_fractions(material, settings).items()}
    return {element: n / sum(moles.values()) for element, n in moles.items()}


def mass_fractions(material: Material, settings: Specimen = _AS_PUBLISHED) -> dict[str, float]:
    """Return element symbol → share of the mass (sums to 1; empty for vacuum)."""
    if material is Material.PILLAR_AVERAGE:
        total: dict[str, float] = {}
        for part, share in _volume_fractions(settings).items():
            for element, fraction in mass_fractions(part).items():
                total[element] = total.get(element, 0.0) + share * _PURE[part][0] * fraction
    else:
        total = {element: n * _atomic_weight(element) for element, n in _PURE[material][1].items()}
    return {element: mass / sum(total.values()) for element, mass in total.items()}


def atoms_per_um3(material: Material, settings: Specimen = _AS_PUBLISHED) -> float:
    """Return the number density of all atoms."""
    moles_per_g = sum(w / _atomic_weight(e) for e, w in mass_fractions(material, settings).items())
    return density_g_cm3(material, settings) * 1e-12 * moles_per_g * 6.02214076e23


def attenuation_per_um(
    material: Material, energy_kev: ArrayLike, settings: Specimen = _AS_PUBLISHED
) -> NDArray[np.float64]:
    """Return the linear attenuation coefficient, shape of ``energy_kev``, from xraylib's total cross sections."""
    energies = np.asarray(energy_kev, dtype=float)
    per_cm = np.zeros(energies.shape)
    for element, fraction in mass_fractions(material, settings).items():
        number = xraylib.SymbolToAtomicNumber(element)
        per_g = np.array([xraylib.CS_Total(number, float(energy)) for energy in energies.ravel()])
        per_cm += density_g_cm3(material, settings) * fraction * per_g.reshape(energies.shape)
    return per_cm * 1e-4


def _volume_fractions(settings: Specimen) -> dict[Material, float]:
    return {
        Material.LCO: settings.fraction_lco,
        Material.NCA: settings.fraction_nca,
        Material.BINDER: settings.fraction_binder,
    }


@cache
def _atomic_weight(element: str) -> float:
    return float(xraylib.AtomicWeight(xraylib.SymbolToAtomicNumber(element)))

"""Collector radius for an ion mass: r = sqrt(2 m V / q) / B for singly charged ions.

Isotope masses from the Atomic Mass Evaluation 2020; constants from CODATA 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from xrm_sims.settings import Sector

ROUNDING_MM = 1e-9
ATOMIC_MASS_KG = 1.66053906660e-27
E_CHARGE_C = 1.602176634e-19
ISOTOPE_MASSES_U = {
    "1H": 1.007825,
    "6Li": 6.015123,
    "7Li": 7.016003,
    "12C": 12.0,
    "16O": 15.994915,
    "19F": 18.998403,
    "27Al": 26.981538,
    "55Mn": 54.938043,
    "56Fe": 55.934936,
    "58Ni": 57.935342,
    "59Co": 58.933194,
    "60Ni": 59.930785,
    "69Ga": 68.925574,
    "71Ga": 70.924703,
}


def radius_mm(mass_u: float, voltage_v: float, field_t: float) -> float:
    """Return the path radius of a singly charged ion; 41.77 mm for 7Li at 3 kV and 0.5 T."""
    return 1e3 * math.sqrt(2 * mass_u * ATOMIC_MASS_KG * voltage_v / E_CHARGE_C) / field_t


def mass_u(radius_mm: float, voltage_v: float, field_t: float) -> float:
    """Return the mass for a radius, the inverse of :func:`radius_mm`."""
    return E_CHARGE_C * (radius_mm * 1e-3 * field_t) ** 2 / (2 * voltage_v * ATOMIC_MASS_KG)


def label(mass: float, resolving_power: float) -> str:
    """Return the name of the nearest isotope if it is within the mass resolution, else the mass in u."""
    name = min(ISOTOPE_MASSES_U, key=lambda isotope: abs(ISOTOPE_MASSES_U[isotope] - mass))
    near = abs(ISOTOPE_MASSES_U[name] - mass) * resolving_power <= mass
    return name if near else f"{mass:.2f} u"


def collector_radii_mm(wanted_u: Sequence[float], voltage_v: float, field_t: float, sector: Sector) -> list[float]:
    """Return radii in mm for masses in u, in the same order.

    ValueError for a mass that is not positive, a radius out of the collectors' range, and collectors that would touch.
    """
    low_mm, high_mm = sector.radius_limits_mm
    at = f"at {voltage_v:g} V and {field_t:g} T"
    for mass in wanted_u:
        if not (math.isfinite(mass) and mass > 0):
            raise ValueError(f"mass: needs a positive number of u, got {mass}")
        if not low_mm - ROUNDING_MM <= radius_mm(mass, voltage_v, field_t) <= high_mm + ROUNDING_MM:
            lightest, heaviest = (mass_u(radius, voltage_v, field_t) for radius in (low_mm, high_mm))
            raise ValueError(
                f"mass {mass:g} u: has radius {radius_mm(mass, voltage_v, field_t):.4g} mm {at}, the collectors reach "
                f"{low_mm:g} to {high_mm:g} mm, {lightest:.3g} to {heaviest:.3g} u; change the field or the voltage"
            )
    for one, other in pairwise(sorted(wanted_u)):
        apart_mm = radius_mm(other, voltage_v, field_t) - radius_mm(one, voltage_v, field_t)
        if apart_mm < sector.min_collector_spacing_mm:
            raise ValueError(
                f"masses {one:g} and {other:g} u: are {apart_mm:.3g} mm apart {at}, two collectors need "
                f"{sector.min_collector_spacing_mm:g} mm; use one of them, or a higher voltage or lower field"
            )
    return [radius_mm(mass, voltage_v, field_t) for mass in wanted_u]


def isotope_mass_u(name: str) -> float:
    """Return the mass of an isotope such as "7Li"; ValueError lists the known names."""
    if name not in ISOTOPE_MASSES_U:
        raise ValueError(f"channel: unknown isotope {name!r}; known are {', '.join(ISOTOPE_MASSES_U)}")
    return ISOTOPE_MASSES_U[name]

"""Double-focusing magnetic sector: position of each mass, and its transmission through a collector's slit.

Radius in the field: r = sqrt(2 m V / q) / B (singly charged ions, V the whole acceleration: stage bias plus
extraction). On a Mattauch-Herzog focal plane a mass of radius r lies at sqrt(2) r from the entrance (Mattauch and
Herzog, Z. Phys. 89 (1934) 786), so the image of a mass with resolving power R is sqrt(2) r / (2 R) wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from xrm_sims.patterns import E_CHARGE_C, require_positive
from xrm_sims.settings import Sector, Settings

ATOMIC_MASS_KG = 1.66053906660e-27  # CODATA 2018
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
FOCAL_PER_RADIUS = math.sqrt(2.0)


@dataclass(frozen=True)
class Isotope:
    element: str
    mass_u: float
    abundance: float


# Masses: AME2020 (Wang et al., Chin. Phys. C 45 (2021) 030003). Abundances: IUPAC 2013 representative values
# (Meija et al., Pure Appl. Chem. 88 (2016) 293); lithium from the LSVEC-scale value 7.59 %, not the mid-interval.
ISOTOPES: dict[str, Isotope] = {
    "6Li": Isotope("Li", 6.015123, 0.0759),
    "7Li": Isotope("Li", 7.016003, 0.9241),
    "12C": Isotope("C", 12.0, 0.9893),
    "13C": Isotope("C", 13.003355, 0.0107),
    "16O": Isotope("O", 15.994915, 0.99757),
    "18O": Isotope("O", 17.999160, 0.00205),
    "19F": Isotope("F", 18.998403, 1.0),
    "27Al": Isotope("Al", 26.981538, 1.0),
    "54Fe": Isotope("Fe", 53.939608, 0.05845),
    "56Fe": Isotope("Fe", 55.934936, 0.91754),
    "57Fe": Isotope("Fe", 56.935392, 0.02119),
    "58Fe": Isotope("Fe", 57.933274, 0.0028),
    "58Ni": Isotope("Ni", 57.935342, 0.6808),
    "60Ni": Isotope("Ni", 59.930785, 0.2622),
    "61Ni": Isotope("Ni", 60.931055, 0.0114),
    "62Ni": Isotope("Ni", 61.928345, 0.0363),
    "64Ni": Isotope("Ni", 63.927966, 0.0093),
    "59Co": Isotope("Co", 58.933194, 1.0),
    "194Pt": Isotope("Pt", 193.962681, 0.329),
    "195Pt": Isotope("Pt", 194.964792, 0.338),
    "196Pt": Isotope("Pt", 195.964952, 0.252),
    "198Pt": Isotope("Pt", 197.967895, 0.074),
}
HYDROGEN_U, OXYGEN_U = 1.007825, 15.994915  # 1H and 16O, AME2020
MOLECULES_U = {"C2H3": 27.023475, "CHN": 27.010899, "C3H7O": 59.049690}  # of 12C, 1H, 14N and 16O


def radius_for(mass_u: float, voltage_v: float, field_t: float) -> float:
    """Return the radius in mm of a singly charged mass: 41.77 for 7Li at 3 kV and 0.5 T; ValueError for 0 or less."""
    require_positive(mass_u=mass_u, voltage_v=voltage_v, field_t=field_t)
    return 1e3 * math.sqrt(2.0 * mass_u * ATOMIC_MASS_KG * voltage_v / E_CHARGE_C) / field_t


def mass_at(radius_mm: float, voltage_v: float, field_t: float) -> float:
    """Return the mass in u on ``radius_mm``: the inverse of :func:`radius_for`, with the same errors."""
    require_positive(radius_mm=radius_mm, voltage_v=voltage_v, field_t=field_t)
    return (radius_mm * 1e-3 * field_t) ** 2 * E_CHARGE_C / (2.0 * voltage_v * ATOMIC_MASS_KG)


def focal_position_mm(radius_mm: float) -> float:
    """Return the position on the focal plane, measured from the magnet's entrance."""
    return FOCAL_PER_RADIUS * radius_mm


def accepted_fraction(
    mass_u: float,
    collector_radius_mm: float,
    *,
    voltage_v: float,
    field_t: float,
    sector: Sector,
    slit_mm: float | None = None,
) -> float:
    """Return the share (0 to 1) of an ion current of one mass that passes the slit of a collector.

    The image is a Gaussian of FWHM sqrt(2) r / (2 R). The slit is ``slit_mm`` (default: the settings') wide at the
    reference radius and scales with its radius, so that the resolving power is the same for all masses.
    """
    if voltage_v <= 0:
        return 0.0
    radius_mm = radius_for(mass_u, voltage_v, field_t)
    sigma_mm = FOCAL_PER_RADIUS * radius_mm / (2.0 * sector.resolving_power * FWHM_PER_SIGMA)
    slit = sector.slit_mm if slit_mm is None else slit_mm
    half_mm = 0.5 * slit * collector_radius_mm / sector.slit_reference_radius_mm
    offset_mm = focal_position_mm(collector_radius_mm) - focal_position_mm(radius_mm)
    return float(ndtr((offset_mm + half_mm) / sigma_mm) - ndtr((offset_mm - half_mm) / sigma_mm))


def centred_fraction(sector: Sector) -> float:
    """Return the transmission of a well-placed slit of the settings' width, which useful yields include."""
    sigma_mm = FOCAL_PER_RADIUS * sector.slit_reference_radius_mm / (2.0 * sector.resolving_power * FWHM_PER_SIGMA)
    return math.erf(0.5 * sector.slit_mm / (math.sqrt(2.0) * sigma_mm))


def bias_transmission(bias_v: float, sector: Sector) -> float:
    """Return the share of the secondary ions that is extracted: 1 at the working bias, 0 with a grounded stage."""
    return min(max(bias_v, 0.0) / sector.full_transmission_bias_v, 1.0)


def collector_radii(channels: Sequence[str], settings: Settings) -> list[float]:
    """Return radii in mm for isotopes ("7Li") at the settings' voltages and field; ValueError names an unknown one."""
    for channel in channels:
        if channel not in ISOTOPES:
            raise ValueError(f"channels: {channel!r} is not in the isotope table; known are {', '.join(ISOTOPES)}")
    sector = settings.sector
    voltage_v = sector.bias_v + sector.extraction_v
    return [radius_for(ISOTOPES[channel].mass_u, voltage_v, sector.field_t) for channel in channels]


def observed_rate_cps(rate_cps: NDArray[np.float64], dead_time_ns: float) -> NDArray[np.float64]:
    """Return the rate of a non-paralyzable counter: r / (1 + r tau) (Knoll, Radiation Detection and Measurement)."""
    return rate_cps / (1.0 + rate_cps * dead_time_ns * 1e-9)

"""Sputter yields and removal rates by material, impact energy and tilt, and the effect of implanted gallium.

The settings' tables hold at their reference energy and normal incidence; the functions here scale them.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import xraylib
from numpy.typing import ArrayLike, NDArray

from xrm_sims import settings as instrument
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material, atomic_fractions

NUM_MATERIALS = len(Material)
GALLIUM_Z, GALLIUM_U = 31, 68.925574  # the beam is 69Ga (AME2020)


def by_material(lco: float, nca: float, binder: float, metal: float, average: float) -> NDArray[np.float64]:
    """Return a table (materials,) of a property; carbon counts as binder, free space gets 0."""
    table = np.zeros(NUM_MATERIALS)
    table[Material.LCO] = lco
    table[[Material.NCA, Material.NCA_BOUNDARY]] = nca
    table[[Material.BINDER, Material.CARBON]] = binder
    table[[Material.DEPOSIT, Material.STEEL]] = metal
    table[Material.PILLAR_AVERAGE] = average
    return table


def sputter_yields(settings: Settings, impact_energy_kev: float | None = None) -> NDArray[np.float64]:
    """Return atoms per incident ion (materials,); the pillar's average is the mean of the active materials."""
    s = settings.sputtering
    at_reference = by_material(
        s.yield_lco, s.yield_nca, s.yield_binder, s.yield_metal, 0.5 * (s.yield_lco + s.yield_nca)
    )
    return at_reference * energy_gain(settings, impact_energy_kev)


def removal_rates(settings: Settings, impact_energy_kev: float | None = None) -> NDArray[np.float64]:
    """Return um^3 per nC (materials,). Doses per volume add, so the pillar's average is a harmonic mean by volume."""
    s, shares = settings.sputtering, settings.specimen
    dose_per_um3 = (
        shares.fraction_lco / s.rate_lco_um3_per_nc
        + shares.fraction_nca / s.rate_nca_um3_per_nc
        + shares.fraction_binder / s.rate_binder_um3_per_nc
    )
    at_reference = by_material(
        s.rate_lco_um3_per_nc,
        s.rate_nca_um3_per_nc,
        s.rate_binder_um3_per_nc,
        s.rate_metal_um3_per_nc,
        1.0 / dose_per_um3,
    )
    return at_reference * energy_gain(settings, impact_energy_kev)


def energy_gain(settings: Settings, impact_energy_kev: float | None = None) -> NDArray[np.float64]:
    """Return yields (materials,) relative to the reference energy (None); ValueError for an energy of 0 or less."""
    if impact_energy_kev is None:
        return np.ones(NUM_MATERIALS)
    if not (math.isfinite(impact_energy_kev) and impact_energy_kev > 0):
        raise ValueError(f"impact_energy_kev: needs an energy above 0, got {impact_energy_kev}")
    s, gain = settings.sputtering, np.ones(NUM_MATERIALS)
    for material in Material:
        if material is not Material.VACUUM:
            z, mass_u = _mean_atom(material, settings.specimen)
            now, then = (
                relative_yield(e, GALLIUM_Z, GALLIUM_U, z, mass_u, s.surface_binding_ev)
                for e in (impact_energy_kev, s.reference_kev)
            )
            gain[material] = now / then
    return gain


def relative_yield(
    energy_kev: float, ion_z: int, ion_u: float, target_z: float, target_u: float, binding_ev: float
) -> float:
    """Return the sputter yield at normal incidence, without the factor that depends only on ion and target.

    Yamamura and Tawara, At. Data Nucl. Data Tables 62 (1996) 149, eqs. 15 to 20: Thomas-Fermi nuclear stopping,
    electronic stopping, threshold.
    """
    energy_ev, mass_sum_u = 1e3 * energy_kev, ion_u + target_u
    transfer = 4.0 * ion_u * target_u / mass_sum_u**2
    heavy_ion = ion_u >= target_u
    threshold_ev = binding_ev / transfer * (6.7 if heavy_ion else 1.0 + 5.7 * ion_u / target_u)
    if energy_ev <= threshold_ev:
        return 0.0
    screening = ion_z ** (2 / 3) + target_z ** (2 / 3)
    reduced = 0.03255 / (ion_z * target_z * math.sqrt(screening)) * target_u / mass_sum_u * energy_ev
    root = math.sqrt(reduced)
    nuclear = 3.441 * root * math.log(reduced + math.e) / (1.0 + 6.355 * root + reduced * (6.882 * root - 1.708))
    electronic = 0.079 * mass_sum_u**1.5 / (ion_u**1.5 * math.sqrt(target_u))
    electronic *= ion_z ** (2 / 3) * math.sqrt(target_z) / screening**0.75
    damping = 0.35 * binding_ev / (1.0 + (ion_u / 7.0) ** 3)
    return nuclear / (1.0 + damping * electronic * reduced**0.3) * (1.0 - math.sqrt(threshold_ev / energy_ev)) ** 2.5


def tilt_gain(cos_tilt: ArrayLike, settings: Settings) -> NDArray[np.float64]:
    """Return the sputter yield relative to normal incidence, x^f exp(-f cos(optimum) (x - 1)) with x = 1 / cos(tilt).

    Yamamura, Radiat. Eff. 55 (1981) 49: maximum of 4.5 at 77.5 degrees, then a fall to grazing incidence.
    """
    s = settings.sputtering
    x = 1.0 / np.maximum(np.asarray(cos_tilt, dtype=float), 1e-3)
    fall = s.tilt_power * math.cos(math.radians(s.tilt_optimum_deg))
    return np.asarray(x**s.tilt_power * np.exp(-fall * (x - 1.0)))


def implantation_gain(
    before_um: NDArray[np.floating],
    lost_um: NDArray[np.float64],
    sputter_yield: NDArray[np.float64],
    settings: Settings,
) -> NDArray[np.float64]:
    """Return the ion yield relative to the steady state, averaged over a frame that lowers a surface by ``lost_um``.

    The gallium content approaches 1 / (1 + Y) while about its range is eroded. The missing gallium, to first order
    exp(-depth / range), changes the ion yield in proportion.

    Parameters
    ----------
    before_um : depth eroded since the surface was exposed.
    sputter_yield : atoms per ion, which determines the gallium content of the steady state.
    """
    s = settings.sputtering
    range_um = 1e-3 * s.gallium_range_nm
    lost = np.maximum(lost_um / range_um, 1e-9)
    missing = np.exp(-before_um / range_um) * -np.expm1(-lost) / lost
    return np.asarray(1.0 + s.gallium_on_ion_yield * missing / (1.0 + sputter_yield))


@cache
def _mean_atom(material: Material, specimen: instrument.Specimen) -> tuple[float, float]:
    """Return atomic number and mass in u, averaged over the atoms of a material."""
    shares = {xraylib.SymbolToAtomicNumber(e): f for e, f in atomic_fractions(material, specimen).items()}
    return sum(f * z for z, f in shares.items()), sum(f * xraylib.AtomicWeight(z) for z, f in shares.items())

"""Checks of what is physically possible. Plans call them before anything moves, and the twin calls them again.

Each check raises ValueError with one sentence that gives the physical reason and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import xraylib

from xrm_sims.settings import Settings

_SERIES = ((xraylib.K_SHELL, xraylib.KA_LINE), (xraylib.L3_SHELL, xraylib.LA_LINE))


def check_photons(settings: Settings, voltage_kv: float, threshold_kev: float) -> None:
    """Raise ValueError for a voltage too low for X-rays, and for a threshold above the end of the spectrum."""
    least_kv = settings.source.least_voltage_kv
    if voltage_kv < least_kv:
        raise ValueError(
            f"beam.voltage_kv: {voltage_kv:.4g} kV make next to no photons above a detector's threshold; X-rays need "
            f"{least_kv:.4g} kV or more"
        )
    if threshold_kev >= voltage_kv:
        raise ValueError(
            f"widepix.threshold_kev: {threshold_kev:.4g} keV lies above the end of the spectrum, electrons of "
            f"{voltage_kv:.4g} kV make no photon of more than {voltage_kv:.4g} keV; lower the threshold or raise "
            "beam.voltage_kv"
        )


def check_target_power(
    settings: Settings, material: str, voltage_kv: float, current_na: float, probe_nm: float
) -> None:
    """Raise ValueError for a beam that would melt the target.

    A disc of width d that absorbs the power P on the surface of a thick body is hotter by 2 P / (pi conductivity d) in
    its middle (Carslaw and Jaeger 1959), so the allowed power is proportional to the probe width. Electrons scatter and
    heat a wider spot, which makes this limit a safe one.
    """
    limit_mw = settings.source.melting_w_per_um.get(material, math.inf) * probe_nm
    power_mw = voltage_kv * current_na * 1e-3
    if power_mw > limit_mw:
        raise ValueError(
            f"beam: {current_na:.4g} nA at {voltage_kv:.4g} kV bring {power_mw:.3g} mW into a probe of "
            f"{probe_nm:.4g} nm, and {material} melts there above {limit_mw:.3g} mW; lower the current to "
            f"{1e3 * limit_mw / voltage_kv:.3g} nA or widen the probe"
        )


def check_lines(settings: Settings, elements: Iterable[str], voltage_kv: float) -> None:
    """Raise ValueError for an element without a line that EDS detects at this voltage."""
    for element in elements:
        mapped_line(settings, element, voltage_kv)


def mapped_line(settings: Settings, element: str, voltage_kv: float) -> tuple[int, int, int]:
    """Return atomic number, shell and line (xraylib's numbers) for an EDS map: the K line where the voltage excites it,
    else the L line.

    Raises ValueError for an unknown element, an element without a detectable line (lithium), and a voltage that
    excites no line.
    """
    e = settings.electrons
    try:
        number = xraylib.SymbolToAtomicNumber(element)
    except ValueError as error:
        raise ValueError(f"elements: {element!r} is not an element") from error
    edges = [(shell, line, edge_kev(number, shell)) for shell, line in _SERIES]
    edges = [entry for entry in edges if entry[2] > e.eds_lowest_kev]
    if not edges:
        raise ValueError(
            f"elements: {element} cannot be mapped by EDS, it has no characteristic line above "
            f"{e.eds_lowest_kev:g} keV, and the detector's window absorbs softer ones"
        )
    for shell, line, needed_kev in edges:
        if voltage_kv >= e.eds_overvoltage * needed_kev:
            return number, shell, line
    needed_kv = e.eds_overvoltage * edges[-1][2]
    raise ValueError(f"voltage_kv: {voltage_kv:g} kV excites no line of {element}, it needs {needed_kv:.3g} kV")


def edge_kev(number: int, shell: int) -> float:
    """Return the energy of an absorption edge in keV; 0 where the atom has no such shell."""
    try:
        return float(xraylib.EdgeEnergy(number, shell))
    except ValueError:
        return 0.0

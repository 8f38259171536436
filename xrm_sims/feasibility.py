"""What physics refuses whatever the devices' own limits are: plans ask before anything moves, the twin once more.

Each check raises ValueError in one sentence that gives the physical reason and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import xraylib

from xrm_sims.settings import Settings

_SERIES = ((xraylib.K_SHELL, xraylib.KA_LINE), (xraylib.L3_SHELL, xraylib.LA_LINE))


def check_photons(settings: Settings, voltage_kv: float, threshold_kev: float) -> None:
    """Refuses a voltage that makes no X-rays worth the name, and a threshold that none of its photons can pass."""
    least_kv = settings.source.least_voltage_kv
    if voltage_kv < least_kv:
        raise ValueError(
            f"beam.voltage_kv: {voltage_kv:.4g} kV make next to no photons above a detector's threshold, slow "
            f"electrons excite no hard line and brake softly; X-rays need {least_kv:.4g} kV or more"
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
    """Refuses a beam that would melt the target.

    A disc of width d that takes up the power P on the surface of a thick body is hotter by 2 P / (pi conductivity d) in
    its middle (Carslaw and Jaeger 1959): for a given rise, power goes with the width of the probe. Electrons that
    scatter heat a wider spot, so this is on the safe side.
    """
    limit_mw = settings.source.melting_w_per_um.get(material, math.inf) * probe_nm
    power_mw = voltage_kv * current_na * 1e-3
    if power_mw > limit_mw:
        raise ValueError(
            f"beam: {current_na:.4g} nA at {voltage_kv:.4g} kV bring {power_mw:.3g} mW into a probe of "
            f"{probe_nm:.4g} nm, and {material} melts there from {limit_mw:.3g} mW on; lower the current to "
            f"{1e3 * limit_mw / voltage_kv:.3g} nA or widen the probe"
        )


def check_lines(settings: Settings, elements: Iterable[str], voltage_kv: float) -> None:
    """Refuses elements of which EDS sees no line at this voltage."""
    for element in elements:
        mapped_line(settings, element, voltage_kv)


def mapped_line(settings: Settings, element: str, voltage_kv: float) -> tuple[int, int, int]:
    """Atomic number, shell and line (xraylib's numbers) by which EDS maps an element: K where the voltage excites it,
    else L.

    ValueError for an unknown element, one without a line that EDS sees (lithium), and a voltage that excites none.
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
            f"{e.eds_lowest_kev:g} keV, the softest that gets through the detector's window"
        )
    for shell, line, needed_kev in edges:
        if voltage_kv >= e.eds_overvoltage * needed_kev:
            return number, shell, line
    needed_kv = e.eds_overvoltage * edges[-1][2]
    raise ValueError(f"voltage_kv: {voltage_kv:g} kV excites no line of {element}, it needs {needed_kv:.3g} kV")


def edge_kev(number: int, shell: int) -> float:
    """Absorption edge; 0 where the atom has no such shell."""
    try:
        return float(xraylib.EdgeEnergy(number, shell))
    except ValueError:
        return 0.0

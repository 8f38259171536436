"""Make ``spectra.json``, the table of ``spectrum.py``, with spekpy 2.5 (``pip install xrm-sims[spectra]``).

``python -m xrm_sims.twin.make_spectra`` tabulates W, Cu and Cr. Its arguments are further targets of spekpy (Mo, Rh,
Ag, Au), which the settings' ``target.materials`` must list as well. Physics model "casim" (Omar, Andreo and
Poludniowski 2020), from 10 kV; no filtration, photons above 1 keV. Bremsstrahlung is tabulated over the fraction of the
maximum energy, so that neighbouring voltages can be interpolated; lines are separate.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

TARGETS = ("W", "Cu", "Cr")
VOLTAGES_KV = (10.0, 12.5, 15.0, 17.5, 20.0, 25.0, 30.0)
TAKE_OFFS_DEG = (10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
FRACTIONS = 120
_LINES_FROM_DEG = 30.0  # angle at which the lines are selected
_LINE_STEP_KEV = 0.01
_SAME_LINE_KEV = 0.05  # closer lines are merged
_SMALLEST_LINE = 0.002  # share of all lines of the target; weaker ones are omitted

Lines = dict[float, float]


def tube(target: str, voltage_kv: float, take_off_deg: float, step_kev: float, **parts: bool) -> tuple[Any, Any]:
    """Return energies in keV, and photons per cm², mAs and keV at 1 m."""
    import spekpy

    source = spekpy.Spek(
        kvp=voltage_kv, th=take_off_deg, targ=target, physics="casim", mas=1, z=100, dk=step_kev, **parts
    )
    energy_kev, fluence_per_kev = source.get_spectrum()
    return energy_kev, np.where(energy_kev > 1, fluence_per_kev, 0.0)


def bremsstrahlung(target: str, voltage_kv: float, take_off_deg: float) -> list[float]:
    """Return photons per cm², mAs and keV at 1 m over equal fractions of the maximum energy."""
    energy_kev, fluence_per_kev = tube(target, voltage_kv, take_off_deg, voltage_kv / (8 * FRACTIONS), char=False)
    part = np.minimum((energy_kev / voltage_kv * FRACTIONS).astype(int), FRACTIONS - 1)
    return _rounded(np.bincount(part, fluence_per_kev / 8, FRACTIONS))


def lines(target: str, voltage_kv: float, take_off_deg: float) -> Lines:
    """Return photons per cm² and mAs at 1 m by energy."""
    energy_kev, fluence_per_kev = tube(target, voltage_kv, take_off_deg, _LINE_STEP_KEV, brem=False)
    return dict(zip(np.round(energy_kev, 4).tolist(), fluence_per_kev * _LINE_STEP_KEV, strict=True))


def target_table(target: str) -> dict[str, Any]:
    """Return bremsstrahlung (take-off, voltage, fraction) and lines (take-off, voltage, line) with their energies."""
    top = lines(target, VOLTAGES_KV[-1], _LINES_FROM_DEG)
    present = np.array(sorted(e for e, n in top.items() if n > _SMALLEST_LINE * sum(top.values())))
    groups = np.split(present, np.flatnonzero(np.diff(present) > _SAME_LINE_KEV) + 1)

    def grouped(found: Lines) -> list[float]:
        return _rounded([sum(found.get(float(e), 0.0) for e in group) for group in groups])

    return {
        "bremsstrahlung": [[bremsstrahlung(target, v, a) for v in VOLTAGES_KV] for a in TAKE_OFFS_DEG],
        "lines_kev": [round(float(np.average(g, weights=[top[float(e)] for e in g])), 3) for g in groups],
        "lines": [[grouped(lines(target, v, a)) for v in VOLTAGES_KV] for a in TAKE_OFFS_DEG],
    }


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def main(further: list[str]) -> None:
    table = {
        "unit": "photons per cm2 and mAs at 1 m; bremsstrahlung per keV over equal fractions of the maximum energy",
        "source": "spekpy 2.5, casim, no filtration",
        "take_offs_deg": TAKE_OFFS_DEG,
        "voltages_kv": VOLTAGES_KV,
        "targets": {target: target_table(target) for target in dict.fromkeys([*TARGETS, *further])},
    }
    path = Path(__file__).with_name("spectra.json")
    path.write_text(json.dumps(table, separators=(",", ":")) + "\n")
    for target, parts in table["targets"].items():  # type: ignore[attr-defined]
        print(target, "lines at", parts["lines_kev"], "keV")


if __name__ == "__main__":
    main(sys.argv[1:])

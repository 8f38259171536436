"""Makes ``spectra.json``, the table behind ``spectrum.py``, with spekpy 2.5 (``pip install spekpy``).

Run ``python -m xrm_sims.twin.make_spectra``. Physics model "casim" (Omar, Andreo and Poludniowski 2020), take-off angle
30 degrees, no filtration, photons above 1 keV. Bremsstrahlung is tabulated over the fraction of the maximum energy, so
that spectra of neighbouring voltages can be interpolated; characteristic lines apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

TARGETS = ("W", "Cu", "Cr")
VOLTAGES_KV = (10, 15, 20, 25, 30)
TAKE_OFF_DEG = 30
FRACTIONS = 120
_LINE_STEP_KEV = 0.01
_SAME_LINE_KEV = 0.05  # lines nearer than this are one
_SMALLEST_LINE = 0.002  # of all lines of the target; weaker ones are left out


def target_table(target: str) -> dict[str, Any]:
    """Photons per cm² and mAs at 1 m: bremsstrahlung per keV (voltage, fraction) and lines (voltage, line)."""
    import spekpy

    def spectrum(voltage_kv: float, step_kev: float, **parts: bool) -> tuple[Any, Any]:
        tube = spekpy.Spek(
            kvp=voltage_kv, th=TAKE_OFF_DEG, targ=target, physics="casim", mas=1, z=100, dk=step_kev, **parts
        )
        energy_kev, fluence_per_kev = tube.get_spectrum()
        return energy_kev, np.where(energy_kev > 1, fluence_per_kev, 0.0)

    bremsstrahlung, line_fluences = [], []
    for voltage_kv in VOLTAGES_KV:
        energy_kev, fluence_per_kev = spectrum(voltage_kv, voltage_kv / (8 * FRACTIONS), char=False)
        part = np.minimum((energy_kev / voltage_kv * FRACTIONS).astype(int), FRACTIONS - 1)
        bremsstrahlung.append(np.bincount(part, fluence_per_kev / 8, FRACTIONS))
        line_kev, line_per_kev = spectrum(voltage_kv, _LINE_STEP_KEV, brem=False)
        line_fluences.append(dict(zip(np.round(line_kev, 4), line_per_kev * _LINE_STEP_KEV, strict=True)))
    top = line_fluences[-1]
    present = np.array(sorted(e for e, n in top.items() if n > _SMALLEST_LINE * sum(top.values())))
    groups = np.split(present, np.flatnonzero(np.diff(present) > _SAME_LINE_KEV) + 1)
    return {
        "bremsstrahlung": [[float(f"{v:.4g}") for v in row] for row in bremsstrahlung],
        "lines_kev": [round(float(np.average(g, weights=[top[e] for e in g])), 3) for g in groups],
        "lines": [[float(f"{sum(row.get(e, 0.0) for e in g):.4g}") for g in groups] for row in line_fluences],
    }


def main() -> None:
    targets = {target: target_table(target) for target in TARGETS}
    table = {
        "unit": "photons per cm2 and mAs at 1 m; bremsstrahlung per keV over equal fractions of the maximum energy",
        "source": f"spekpy 2.5, casim, take-off angle {TAKE_OFF_DEG} degrees",
        "voltages_kv": VOLTAGES_KV,
        "targets": targets,
    }
    path = Path(__file__).with_name("spectra.json")
    path.write_text(json.dumps(table, separators=(",", ":")) + "\n")
    for target, parts in targets.items():
        print(target, "lines at", parts["lines_kev"], "keV")


if __name__ == "__main__":
    main()

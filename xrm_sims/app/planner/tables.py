"""Tables of X-ray counts and ion yields from the twin's physics; the planner uses the twin only here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material, attenuation_per_um
from xrm_sims.twin.charge_sharing import sharing
from xrm_sims.twin.ions import Analyser, ion_sensitivity
from xrm_sims.twin.sector import collector_radii
from xrm_sims.twin.spectrum import absorbed_fraction, detection_efficiency, pixel_rate


@dataclass(frozen=True, eq=False)
class Beam:
    """X-ray counts of one target in a pixel, and the pillar's attenuation of them.

    counts_per_s_na : (e,) in the open beam, for each energy.
    pillar_per_um, active_per_um : (e,) attenuation of the pillar on average and of its active material.
    paired : share of a pixel's counts that a given neighbour counts as well.
    """

    counts_per_s_na: NDArray[np.float64]
    pillar_per_um: NDArray[np.float64]
    active_per_um: NDArray[np.float64]
    paired: float

    @cached_property
    def open_per_s_na(self) -> float:
        return float(self.counts_per_s_na.sum())

    def transmission(self, path_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the transmission of paths (...) through the pillar: Beer-Lambert over the spectrum."""
        return np.asarray(self._behind(path_um).sum(axis=-1) / self.open_per_s_na)

    def active_behind(self, path_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the attenuation in 1/um of active material for a beam hardened by paths (...) through the pillar."""
        left = self._behind(path_um)
        return np.asarray(left @ self.active_per_um / left.sum(axis=-1))

    def _behind(self, path_um: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.counts_per_s_na * np.exp(-np.multiply.outer(path_um, self.pillar_per_um)))


def beam_of(settings: Settings, target: str) -> Beam:
    """Return the beam of a target at the settings' voltage and threshold; ValueError for an unknown target."""
    detector, shares = settings.detector, settings.specimen
    threshold_kev = detector.threshold_kev
    energies, rate = pixel_rate(settings, target, settings.electron.voltage_kv, 1.0)

    def per_um(material: Material) -> NDArray[np.float64]:
        return attenuation_per_um(material, energies, shares)

    active = {Material.LCO: shares.fraction_lco, Material.NCA: shares.fraction_nca}
    crosstalk = sharing(energies, detector, threshold_kev).crosstalk(rate * absorbed_fraction(energies, detector))
    return Beam(
        rate * detection_efficiency(energies, detector, threshold_kev),
        per_um(Material.PILLAR_AVERAGE),
        sum((share * per_um(m) for m, share in active.items()), np.zeros(len(energies))) / sum(active.values()),
        crosstalk.paired,
    )


def counts_per_ion(settings: Settings) -> dict[str, dict[str, float]]:
    """Return counts per gallium ion by material ("LCO", "NCA") and channel, on a flat gallium-saturated surface."""
    sector = settings.sector
    analyser = Analyser(sector.bias_v, sector.extraction_v, sector.field_t, collector_radii(sector.channels, settings))
    impact_kev = settings.ion.voltage_kv - 1e-3 * sector.bias_v
    by_code, _, _ = ion_sensitivity(analyser, settings, impact_kev)
    return {
        material.name: dict(zip(sector.channels, by_code[material].tolist(), strict=True))
        for material in (Material.LCO, Material.NCA)
    }

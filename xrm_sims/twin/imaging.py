"""Drivers of the two imaging detectors: secondary electrons under either beam, and EDS under the electron beam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.patterns import check_within_field
from xrm_sims.settings import Settings
from xrm_sims.twin.driver import Driver, Frame, Quantity, scan_quantities, scan_raster
from xrm_sims.twin.ions import Scan
from xrm_sims.twin.sem_signals import eds_map, line_intensity, se_image


class _SemDetector(Driver):
    """A detector with a scan generator of its own."""

    def require_electrons(self, what: str) -> None:
        """Raise ValueError outside mode "sem", and while the X-ray target blocks the electron beam."""
        self.require("sem", what)
        if self._simulator.target_in_place:
            raise ValueError("target: stands in the electron beam; park it before imaging the specimen")


class SecondaryElectrons(_SemDetector):
    """SE detector. An image with the ion beam erodes its field."""

    name = "se"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        low_ms, high_ms = settings.scan.dwell_limits_ms
        return {
            "source": Quantity("electron", choices=("electron", "ion")),
            **scan_quantities(settings, settings.electron.max_scan_field_um),
            "dwell_us": Quantity(settings.scan.sem_dwell_us, "us", (1e3 * low_ms, 1e3 * high_ms)),
        }

    def image(self) -> Frame:
        """Return counts (row, column) uint32; with the beam blanked, dark counts.

        Raises ValueError outside mode "sem" (electrons) or "fib" (ions), and when the target blocks the electron beam;
        RuntimeError when stopped.
        """
        raster = scan_raster(self.values, 1e-3 * self.values["dwell_us"])
        source = self.values["source"]
        if source == "ion":
            self.require("fib", "an ion-induced SE image")
            check_within_field(raster, self._simulator.settings)
        else:
            self.require_electrons("an SE image")

        def count(scan: Scan) -> NDArray[np.uint32]:
            s = self._simulator
            return se_image(s.specimen, s.surface, scan, source=source, settings=s.settings, rng=s.rng("se"))

        return self.draw_frame("image", raster, count, ions=source == "ion")


class EDS(_SemDetector):
    """Energy-dispersive X-ray detector."""

    name = "eds"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        return {
            "elements": Quantity("Ni,Co,C"),
            **scan_quantities(settings, settings.electron.max_scan_field_um),
            "dwell_ms": Quantity(settings.scan.eds_dwell_ms, "ms", settings.scan.dwell_limits_ms),
        }

    def check(self, name: str, value: Any) -> None:
        if name == "elements":
            self._elements(value, self._simulator.settings.electron.voltage_limits_kv[1])

    def image(self) -> Frame:
        """Return counts (element, row, column) uint32 in the order of ``elements``; zeros with the beam blanked.

        Raises ValueError outside mode "sem", when the target blocks the electron beam, and when the beam's voltage
        excites no line of an element; RuntimeError when stopped.
        """
        raster = scan_raster(self.values, self.values["dwell_ms"])
        voltage_kv = float(self._simulator.state.values["beam"]["voltage_kv"])
        self.require_electrons("an EDS map")
        elements = self._elements(self.values["elements"], voltage_kv)

        def count(scan: Scan) -> NDArray[np.uint32]:
            s = self._simulator
            return eds_map(
                s.specimen,
                s.surface,
                scan,
                voltage_kv=voltage_kv,
                elements=elements,
                settings=s.settings,
                rng=s.rng("eds"),
            )

        return self.draw_frame("image", raster, count, ions=False)

    def _elements(self, symbols: str, voltage_kv: float) -> tuple[str, ...]:
        """Return the element symbols of a comma-separated list; ValueError when EDS cannot map one at this voltage."""
        elements = tuple(name.strip() for name in symbols.split(",") if name.strip())
        if not elements:
            raise ValueError(f"eds.elements: needs element symbols separated by commas, got {symbols!r}")
        for element in elements:
            line_intensity(element, voltage_kv, self._simulator.settings)
        return elements

"""Pictures of the surface: secondary electrons under either beam, and EDS maps under the electron beam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xrm_sims.patterns import Raster, check_within_field
from xrm_sims.settings import Settings
from xrm_sims.twin.beams import require_level, require_mode, scan_quantities, scan_raster
from xrm_sims.twin.driver import Driver, Frame, Quantity
from xrm_sims.twin.ions import Scan, dose_field
from xrm_sims.twin.sem_signals import eds_map, line_intensity, se_image
from xrm_sims.twin.simulator import Simulator


class SecondaryElectrons(Driver):
    """SE detector with a scan generator of its own. An image under the ion beam erodes its field."""

    name = "se"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        low_ms, high_ms = settings.scan.dwell_limits_ms
        return {
            "source": Quantity("electron", choices=("electron", "ion")),
            **scan_quantities(settings, settings.electron.max_scan_field_um),
            "dwell_us": Quantity(settings.scan.sem_dwell_us, "us", (1e3 * low_ms, 1e3 * high_ms)),
        }

    def image(self) -> Frame:
        """Counts (row, column) uint32; with the beam blanked its darks.

        Electrons need mode "sem" and the target out of their way, ions mode "fib": else ValueError. RuntimeError when
        stopped.
        """
        simulator = self._simulator
        raster = scan_raster(self.values, 1e-3 * self.values["dwell_us"])
        require_level(simulator, "an SE image")
        if self.values["source"] == "ion":
            require_mode(simulator, "fib", "an ion-induced SE image")
            check_within_field(raster, simulator.settings)
            return self._under_ions(raster)
        require_mode(simulator, "sem", "an SE image")
        require_free_beam(simulator)
        with self.command(), simulator.scanning(self.name, "image"):
            started_s, current_na = simulator.state.time_s, electron_current_na(simulator)
            scan = simulator.scan(raster, current_na * 1e3)
            self.wait(raster.frame_s)
            counts = self._seen(scan, "electron")
            return Frame(counts, started_s, simulator.state.time_s, current_na)

    def _under_ions(self, raster: Raster) -> Frame:
        simulator, fib = self._simulator, self._simulator.state.values["fib"]
        current_pa = 0.0 if fib["blanked"] else float(fib["current_pa"])
        with self.command(), simulator.scanning(self.name, "image"):
            started_s = simulator.state.time_s
            scan = simulator.ion_scan(raster, current_pa)

            def cut_short(share: float) -> None:
                seconds = share * raster.frame_s
                simulator.scanned(current_pa * 1e-3 * seconds)
                dose_field(simulator.specimen, simulator.surface, scan, seconds=seconds, settings=simulator.settings)

            self.wait(raster.frame_s, cut_short, fib_parked=False)
            counts = self._seen(scan, "ion")
            simulator.scanned(current_pa * 1e-3 * raster.frame_s)
            return Frame(counts, started_s, simulator.state.time_s, 1e-3 * current_pa)

    def _seen(self, scan: Scan, source: Literal["electron", "ion"]) -> NDArray[np.uint32]:
        m = self._simulator
        return se_image(m.specimen, m.surface, scan, source=source, settings=m.settings, rng=m.rng("se"))


class EDS(Driver):
    """Energy-dispersive X-ray detector with a scan generator of its own."""

    name = "eds"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        return {
            "elements": Quantity("Ni,Co,C"),
            **scan_quantities(settings, settings.electron.max_scan_field_um),
            "dwell_ms": Quantity(settings.scan.eds_dwell_ms, "ms", settings.scan.dwell_limits_ms),
        }

    def check(self, name: str, value: Any) -> None:
        if name == "elements":
            for element in _names(value):
                line_intensity(
                    element, self._simulator.settings.electron.voltage_limits_kv[1], self._simulator.settings
                )

    def image(self) -> Frame:
        """Counts (element, row, column) uint32 in the order of ``elements``; with the beam blanked none.

        ValueError outside mode "sem", with the target in the beam's way, or when the beam's voltage excites no line of
        an element. RuntimeError when stopped.
        """
        simulator = self._simulator
        raster = scan_raster(self.values, self.values["dwell_ms"])
        elements = _names(self.values["elements"])
        voltage_kv = float(simulator.state.values["beam"]["voltage_kv"])
        require_level(simulator, "an EDS map")
        require_mode(simulator, "sem", "an EDS map")
        require_free_beam(simulator)
        for element in elements:
            line_intensity(element, voltage_kv, simulator.settings)
        with self.command(), simulator.scanning(self.name, "image"):
            started_s, current_na = simulator.state.time_s, electron_current_na(simulator)
            scan = simulator.scan(raster, current_na * 1e3)
            self.wait(raster.frame_s)
            counts = eds_map(
                simulator.specimen,
                simulator.surface,
                scan,
                voltage_kv=voltage_kv,
                elements=elements,
                settings=simulator.settings,
                rng=simulator.rng("eds"),
            )
            return Frame(counts, started_s, simulator.state.time_s, current_na)


def electron_current_na(simulator: Simulator) -> float:
    """What reaches the specimen now: nothing while the beam is blanked."""
    return 0.0 if simulator.state.values["beam"]["blanked"] else simulator.current_na(simulator.state.time_s)


def require_free_beam(simulator: Simulator) -> None:
    """ValueError while the X-ray target stands between the electron column and the specimen."""
    if simulator.target_in_place:
        raise ValueError("target: stands in the electron beam; park it before imaging the specimen")


def _names(elements: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in elements.split(",") if name.strip())
    if not names:
        raise ValueError(f"eds.elements: needs element symbols separated by commas, got {elements!r}")
    return names

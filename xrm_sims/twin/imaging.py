"""Pictures of the surface: secondary electrons under either beam, and EDS maps under the electron beam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xrm_sims.patterns import Raster, check_within_field
from xrm_sims.settings import Settings
from xrm_sims.twin.columns import require_level, require_mode, scan_quantities, scan_raster
from xrm_sims.twin.driver import Driver, Frame, Quantity
from xrm_sims.twin.electrons import eds_map, line_intensity, se_image
from xrm_sims.twin.ions import Scan, dose_field
from xrm_sims.twin.machine import Machine


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
        machine = self._machine
        raster = scan_raster(self.values, 1e-3 * self.values["dwell_us"])
        require_level(machine, "an SE image")
        if self.values["source"] == "ion":
            require_mode(machine, "fib", "an ion-induced SE image")
            check_within_field(raster, machine.settings)
            return self._under_ions(raster)
        require_mode(machine, "sem", "an SE image")
        require_free_beam(machine)
        with self.command(), machine.scanning(self.name, "image"):
            started_s, current_na = machine.state.time_s, electron_current_na(machine)
            scan = machine.scan(raster, current_na * 1e3)
            self.wait(raster.frame_s)
            counts = self._seen(scan, "electron")
            return Frame(counts, started_s, machine.state.time_s, current_na)

    def _under_ions(self, raster: Raster) -> Frame:
        machine, fib = self._machine, self._machine.state.values["fib"]
        current_pa = 0.0 if fib["blanked"] else float(fib["current_pa"])
        with self.command(), machine.scanning(self.name, "image"):
            started_s = machine.state.time_s
            scan = machine.ion_scan(raster, current_pa)

            def cut_short(share: float) -> None:
                seconds = share * raster.frame_s
                machine.scanned(current_pa * 1e-3 * seconds)
                dose_field(machine.specimen, machine.surface, scan, seconds=seconds, settings=machine.settings)

            self.wait(raster.frame_s, cut_short, fib_parked=False)
            counts = self._seen(scan, "ion")
            machine.scanned(current_pa * 1e-3 * raster.frame_s)
            return Frame(counts, started_s, machine.state.time_s, 1e-3 * current_pa)

    def _seen(self, scan: Scan, source: Literal["electron", "ion"]) -> NDArray[np.uint32]:
        m = self._machine
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
                line_intensity(element, self._machine.settings.electron.voltage_limits_kv[1], self._machine.settings)

    def image(self) -> Frame:
        """Counts (element, row, column) uint32 in the order of ``elements``; with the beam blanked none.

        ValueError outside mode "sem", with the target in the beam's way, or when the beam's voltage excites no line of
        an element. RuntimeError when stopped.
        """
        machine = self._machine
        raster = scan_raster(self.values, self.values["dwell_ms"])
        elements = _names(self.values["elements"])
        voltage_kv = float(machine.state.values["beam"]["voltage_kv"])
        require_level(machine, "an EDS map")
        require_mode(machine, "sem", "an EDS map")
        require_free_beam(machine)
        for element in elements:
            line_intensity(element, voltage_kv, machine.settings)
        with self.command(), machine.scanning(self.name, "image"):
            started_s, current_na = machine.state.time_s, electron_current_na(machine)
            scan = machine.scan(raster, current_na * 1e3)
            self.wait(raster.frame_s)
            counts = eds_map(
                machine.specimen,
                machine.surface,
                scan,
                voltage_kv=voltage_kv,
                elements=elements,
                settings=machine.settings,
                rng=machine.rng("eds"),
            )
            return Frame(counts, started_s, machine.state.time_s, current_na)


def electron_current_na(machine: Machine) -> float:
    """What reaches the specimen now: nothing while the beam is blanked."""
    return 0.0 if machine.state.values["beam"]["blanked"] else machine.current_na(machine.state.time_s)


def require_free_beam(machine: Machine) -> None:
    """ValueError while the X-ray target stands between the electron column and the specimen."""
    if machine.target_in_place:
        raise ValueError("target: stands in the electron beam; park it before imaging the specimen")


def _names(elements: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in elements.split(",") if name.strip())
    if not names:
        raise ValueError(f"eds.elements: needs element symbols separated by commas, got {elements!r}")
    return names

"""Drivers of the two beams: the electron column, and the gallium column with its scan generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xrm_sims.feasibility import check_photons, check_target_power
from xrm_sims.patterns import Milled, Raster, check_deposition, check_within_field, pattern_from_dict
from xrm_sims.settings import Settings
from xrm_sims.twin.driver import Driver, Quantity, Readings, scan_quantities, scan_raster
from xrm_sims.twin.milling import deposit_pass, mill_pass


class ElectronBeam(Driver):
    """Electron column. The current decays after it was set; ``measured_current_na`` is the present current."""

    name = "beam"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        column = settings.electron
        reach = (-0.5 * column.max_scan_field_um, 0.5 * column.max_scan_field_um)
        return {
            "voltage_kv": Quantity(column.voltage_kv, "kV", column.voltage_limits_kv),
            "current_na": Quantity(column.current_na, "nA", column.current_limits_na),
            "blanked": Quantity(True),
            "probe_nm": Quantity(column.probe_nm, "nm", column.probe_limits_nm),
            "position_y_um": Quantity(0.0, "um", reach),
            "position_z_um": Quantity(0.0, "um", reach),
        }

    def readings(self) -> Readings:
        simulator, totals = self._simulator, self._simulator.state.totals
        return {
            "measured_current_na": lambda: simulator.current_na(simulator.time_s),
            "target_charge_c": lambda: totals.get("target_charge_c", 0.0),
            "specimen_charge_c": lambda: totals.get("specimen_electron_charge_c", 0.0),
        }

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError when no photon would pass the detector's threshold, or the power would melt the target."""
        state = self._simulator.state.values
        if state["instrument"]["mode"] != "xray" or (name == "blanked" and value):
            return
        after = self.values | {name: value}
        settings = self._simulator.settings
        if name == "voltage_kv":
            check_photons(settings, value, state["widepix"]["threshold_kev"])
        if name in ("voltage_kv", "current_na", "probe_nm", "blanked"):
            power = (after[quantity] for quantity in ("voltage_kv", "current_na", "probe_nm"))
            check_target_power(settings, str(state["target"]["material"]), *power)

    def move(self, name: str, value: Any) -> None:
        before = self.values[name]
        super().move(name, value)
        if name == "current_na":
            self._simulator.state.since_s["current_na"] = self._simulator.state.time_s
        elif name.startswith("position") and value != before:
            self._simulator.state.totals["target_spot_charge_c"] = 0.0


class GalliumFIB(Driver):
    """Gallium column. While unblanked and not scanning, the beam mills at the scan centre."""

    name = "fib"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        ion, scan = settings.ion, settings.scan
        return {
            "voltage_kv": Quantity(ion.voltage_kv, "kV", ion.voltage_limits_kv),
            "current_pa": Quantity(ion.current_pa, "pA", ion.current_limits_pa),
            "blanked": Quantity(True),
            **scan_quantities(settings, ion.max_scan_field_um),
            "dwell_ms": Quantity(scan.sims_dwell_ms, "ms", scan.dwell_limits_ms),
        }

    def readings(self) -> Readings:
        totals = self._simulator.state.totals
        return {
            "dose_nc": lambda: totals.get("fib_dose_nc", 0.0),
            "scan_dose_nc": lambda: totals.get("fib_scan_dose_nc", 0.0),
        }

    def raster(self) -> Raster:
        """Return the raster of the scan generator; ValueError when it leaves the scan field."""
        raster = scan_raster(self.values, self.values["dwell_ms"])
        check_within_field(raster, self._simulator.settings)
        return raster

    def mill_pass(self, pattern: dict[str, Any]) -> dict[str, float]:
        """Draw one pass of a milling pattern; return the dose on the specimen (``dose_nc``) and its ``seconds``.

        Raises ValueError outside FIB mode, with the beam blanked, the stage tilted or a pattern that cannot be drawn;
        RuntimeError when stopped (what was milled until then is gone).
        """
        drawn, simulator = self._drawable(pattern, "milling"), self._simulator

        def mill(share: float) -> dict[str, float]:
            return mill_pass(
                simulator.specimen,
                simulator.surface,
                pattern=drawn,
                fraction=share,
                impact_energy_kev=simulator.impact_energy_kev,
                **self._beam(),
            )

        return self._draw("mill_pass", drawn, simulator.settings.sputtering.rate_lco_um3_per_nc, mill)

    def deposit_pass(self, pattern: dict[str, Any]) -> dict[str, float]:
        """Draw one pass of a pattern under the platinum precursor, which flows only during the pass.

        Returns and raises as :meth:`mill_pass`; ValueError also when the current would use up the gas.
        """
        drawn, simulator = self._drawable(pattern, "a deposition"), self._simulator
        check_deposition(drawn, self.values["current_pa"], simulator.settings)

        def deposit(share: float) -> dict[str, float]:
            return deposit_pass(simulator.surface, pattern=drawn, fraction=share, **self._beam())

        return self._draw("deposit_pass", drawn, simulator.settings.deposition.rate_um3_per_nc, deposit)

    def _drawable(self, pattern: dict[str, Any], what: str) -> Milled:
        """Return the milling pattern; ValueError when it cannot be drawn now."""
        drawn = pattern_from_dict(pattern)
        if isinstance(drawn, Raster):
            raise ValueError(f"fib: {what} needs a rectangle, polygon, annulus or cross_section, got a raster")
        check_within_field(drawn, self._simulator.settings)
        self.require("fib", what)
        if self.values["blanked"]:
            raise ValueError(f"fib: the beam is blanked; unblank it before {what}")
        return drawn

    def _draw(
        self, command: str, pattern: Milled, rate_um3_per_nc: float, draw: Callable[[float], dict[str, float]]
    ) -> dict[str, float]:
        """Let the time of one pass go by, then ``draw`` the share of the pass for which there was time."""
        simulator = self._simulator
        seconds = pattern.estimated_s(self.values["current_pa"], rate_um3_per_nc) / pattern.passes

        def drawn(share: float) -> None:
            if share > 0:
                simulator.add_scan_dose(draw(share)["dose_nc"])

        with self.command(), simulator.scanning(self.name, command, pattern.as_dict()):
            before_nc = simulator.state.totals.get("fib_dose_nc", 0.0)
            self.wait(seconds, drawn, fib_parked=False)
            drawn(1.0)
            return {"dose_nc": simulator.state.totals["fib_dose_nc"] - before_nc, "seconds": seconds}

    def _beam(self) -> dict[str, Any]:
        """Return the present scan frame, the current and the settings, as arguments of a pass."""
        simulator, current_pa = self._simulator, self.values["current_pa"]
        return {
            "scan_to_specimen": simulator.ions_to_specimen(simulator.state.time_s, current_pa),
            "current_pa": current_pa,
            "settings": simulator.settings,
        }

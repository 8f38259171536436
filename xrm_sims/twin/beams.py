"""The two beams: the electron column and the gallium column with its scan generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xrm_sims.feasibility import check_photons, check_target_power
from xrm_sims.patterns import Milled, Raster, check_deposition, check_within_field, pattern_from_dict
from xrm_sims.settings import Settings
from xrm_sims.twin.driver import Driver, Quantity
from xrm_sims.twin.milling import deposit_pass, mill_pass
from xrm_sims.twin.simulator import Simulator
from xrm_sims.twin.state_store import Value


class ElectronBeam(Driver):
    """Electron column. Its current decays from the moment it was set; ``measured_current_na`` is what is left."""

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

    def readings(self) -> Mapping[str, Callable[[], Value]]:
        simulator, totals = self._simulator, self._simulator.state.totals
        return {
            "measured_current_na": lambda: simulator.current_na(simulator.time_s),
            "target_charge_c": lambda: totals.get("target_charge_c", 0.0),
            "specimen_charge_c": lambda: totals.get("specimen_electron_charge_c", 0.0),
        }

    def check(self, name: str, value: Any) -> None:
        """On the X-ray target: enough voltage for the detector's threshold, no more power than the target stands."""
        state = self._simulator.state.values
        if state["instrument"]["mode"] != "xray" or (name == "blanked" and value):
            return
        after = self.values | {name: value}
        settings = self._simulator.settings
        if name == "voltage_kv":
            check_photons(settings, value, state["widepix"]["threshold_kev"])
        if name in ("voltage_kv", "current_na", "probe_nm", "blanked"):
            heat = (after[of] for of in ("voltage_kv", "current_na", "probe_nm"))
            check_target_power(settings, str(state["target"]["material"]), *heat)

    def reach(self, name: str, value: Any) -> None:
        before = self.values[name]
        super().reach(name, value)
        if name == "current_na":
            self._simulator.state.since_s["current_na"] = self._simulator.state.time_s
        elif name.startswith("position") and value != before:
            self._simulator.state.totals["target_spot_charge_c"] = 0.0


class GalliumFIB(Driver):
    """Gallium column. Unblanked and not scanning it digs at the scan centre."""

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

    def readings(self) -> Mapping[str, Callable[[], Value]]:
        totals = self._simulator.state.totals
        return {
            "dose_nc": lambda: totals.get("fib_dose_nc", 0.0),
            "scan_dose_nc": lambda: totals.get("fib_scan_dose_nc", 0.0),
        }

    def raster(self) -> Raster:
        """The raster that the scan generator is set to; ValueError when it leaves the scan field."""
        raster = scan_raster(self.values, self.values["dwell_ms"])
        check_within_field(raster, self._simulator.settings)
        return raster

    def mill_pass(self, pattern: dict[str, Any]) -> dict[str, float]:
        """One pass of a milling pattern; returns the dose on the specimen (``dose_nc``) and the ``seconds`` it took.

        Raises ValueError outside FIB mode, with the beam blanked, the stage tilted or a pattern it cannot draw;
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
        """One pass of a pattern under the platinum precursor, which flows as long; returns and raises as
        :meth:`mill_pass`, and ValueError for more current than the gas can feed."""
        drawn, simulator = self._drawable(pattern, "a deposition"), self._simulator
        check_deposition(drawn, self.values["current_pa"], simulator.settings)

        def deposit(share: float) -> dict[str, float]:
            return deposit_pass(simulator.surface, pattern=drawn, fraction=share, **self._beam())

        return self._draw("deposit_pass", drawn, simulator.settings.deposition.rate_um3_per_nc, deposit)

    def _drawable(self, pattern: dict[str, Any], what: str) -> Milled:
        drawn = pattern_from_dict(pattern)
        if isinstance(drawn, Raster):
            raise ValueError(f"fib: {what} needs a rectangle, polygon, annulus or cross_section, got a raster")
        simulator = self._simulator
        check_within_field(drawn, simulator.settings)
        require_mode(simulator, "fib", what)
        require_level(simulator, what)
        if self.values["blanked"]:
            raise ValueError(f"fib: the beam is blanked; unblank it before {what}")
        return drawn

    def _draw(
        self, command: str, pattern: Milled, rate_um3_per_nc: float, act: Callable[[float], dict[str, float]]
    ) -> dict[str, float]:
        """Let the time of one pass go by, and ``act`` on the share of it that was drawn."""
        simulator = self._simulator
        seconds = pattern.estimated_s(self.values["current_pa"], rate_um3_per_nc) / pattern.passes

        def drawn(share: float) -> None:
            if share > 0:
                simulator.scanned(act(share)["dose_nc"])

        with self.command(), simulator.scanning(self.name, command, pattern.as_dict()):
            before_nc = simulator.state.totals.get("fib_dose_nc", 0.0)
            self.wait(seconds, drawn, fib_parked=False)
            drawn(1.0)
            return {"dose_nc": simulator.state.totals["fib_dose_nc"] - before_nc, "seconds": seconds}

    def _beam(self) -> dict[str, Any]:
        """Where the beam draws now, and with how much."""
        simulator, current_pa = self._simulator, self.values["current_pa"]
        return {
            "scan_to_specimen": simulator.ions_to_specimen(simulator.state.time_s, current_pa),
            "current_pa": current_pa,
            "settings": simulator.settings,
        }


def scan_quantities(settings: Settings, max_field_um: float) -> dict[str, Quantity]:
    """What every scan generator can be told, dwell apart."""
    scan = settings.scan
    reach = (-0.5 * max_field_um, 0.5 * max_field_um)
    return {
        "fov_um": Quantity(scan.fov_um, "um", (scan.min_field_um, max_field_um)),
        "rows": Quantity(scan.side_px, "", scan.pixels),
        "columns": Quantity(scan.side_px, "", scan.pixels),
        "centre_u_um": Quantity(0.0, "um", reach),
        "centre_v_um": Quantity(0.0, "um", reach),
    }


def scan_raster(values: Mapping[str, Any], dwell_ms: float) -> Raster:
    """The raster that a scan generator's quantities describe."""
    centre = (values["centre_u_um"], values["centre_v_um"])
    return Raster((values["rows"], values["columns"]), values["fov_um"], dwell_ms, centre)


def require_mode(simulator: Simulator, mode: str, what: str) -> None:
    """ValueError when the instrument stands in another mode."""
    now = simulator.state.values["instrument"]["mode"]
    if now != mode:
        raise ValueError(f'instrument: {what} needs mode "{mode}", it is in "{now}"')


def require_level(simulator: Simulator, what: str) -> None:
    """ValueError when the stage is tilted: the beams of the twin look along -z, X-rays along x."""
    tilt_deg = simulator.state.values["stage"]["tilt_deg"]
    if tilt_deg != 0:
        raise ValueError(f"stage: {what} needs tilt_deg 0, it is at {tilt_deg:.4g} deg")

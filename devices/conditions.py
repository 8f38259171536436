"""Conditions for a valid measurement: beam current, vacuum, detector temperature.

They are read from any thread while other driver calls run, so drivers must return them at once (``devices.drivers``).
"""

from __future__ import annotations

from collections.abc import Callable

from devices.drivers import Drivers
from xrm_sims.settings import Settings

ANY_TIME = {
    "instrument": ("mode", "time_s", "chamber_pressure_pa"),
    "beam": ("current_na", "measured_current_na"),
    "widepix": ("temperature_c",),
}  # readings that drivers return during other calls


class Conditions:
    """The conditions of one instrument.

    ``on_trip`` is set by the suspender of plans. It is called with what is wrong, and returns True when the running
    plan is suspended and will take the current frame again.
    """

    def __init__(self, drivers: Drivers, settings: Settings) -> None:
        self._drivers = drivers
        self._limits = settings.suspension
        self.on_trip: Callable[[str], bool] | None = None

    def complaint(self) -> str:
        """Return what is wrong, or an empty string.

        Checks the vacuum always, the beam current in xray and sem mode, the detector temperature in xray mode.
        """
        drivers, limits = self._drivers, self._limits
        mode = drivers.instrument.get("mode")
        found = []
        pressure_pa = float(drivers.instrument.get("chamber_pressure_pa"))
        if not pressure_pa <= limits.max_pressure_pa:
            found.append(f"chamber pressure {pressure_pa:.3g} Pa is above {limits.max_pressure_pa:g} Pa")
        if mode in ("xray", "sem"):
            wanted_na, measured_na = (float(drivers.beam.get(name)) for name in ("current_na", "measured_current_na"))
            least_na = limits.min_current_fraction * wanted_na
            if not measured_na >= least_na:
                found.append(f"beam current {measured_na:.3g} nA is below {least_na:.3g} nA")
        if mode == "xray":
            temperature_c = float(drivers.widepix.get("temperature_c"))
            if not temperature_c <= limits.max_detector_temperature_c:
                found.append(
                    f"detector temperature {temperature_c:.1f} degC is above {limits.max_detector_temperature_c:g} degC"
                )
        return ", ".join(found)

    def tripped(self) -> bool:
        """Return True when something is wrong and the running plan is suspended for it."""
        if self.on_trip is None:
            return False
        complaint = self.complaint()
        return bool(complaint) and self.on_trip(complaint)

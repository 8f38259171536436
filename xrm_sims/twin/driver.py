"""Base class of the simulated devices: named quantities with units and limits, and commands.

``put`` returns when the quantity has reached its value and the state is on disk. It raises ValueError when it refuses
(nothing moved) and RuntimeError when it was stopped on the way (what happened until then is kept).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xrm_sims.patterns import Raster
from xrm_sims.settings import Settings
from xrm_sims.twin.ions import Scan, dose_field
from xrm_sims.twin.simulator import Simulator
from xrm_sims.twin.state_store import Value

Readings = Mapping[str, Callable[[], Value]]


@dataclass(frozen=True)
class Frame:
    """Counts of one frame, with the instrument's time and beam current."""

    counts: NDArray[np.generic]
    started_s: float
    stopped_s: float
    current_na: float


@dataclass(frozen=True)
class Quantity:
    """A quantity that can be set: initial value, unit and allowed values."""

    initial: Value
    unit: str = ""
    limits: tuple[float, float] = (-sys.float_info.max, sys.float_info.max)
    choices: tuple[Value, ...] = ()
    per_s: float | None = None  # speed of a motor; None: the quantity changes at once

    def accept(self, name: str, value: Any) -> Value:
        """Return ``value`` as a Python value of the right type; ValueError names what was given and what is needed."""
        given = value.item() if isinstance(value, np.generic) else value
        if not isinstance(given, (bool, int, float, str)):
            raise ValueError(f"{name}: needs a single value, got {type(given).__name__}")
        if self.choices:
            if isinstance(given, bool) or given not in self.choices:
                raise ValueError(f"{name}: needs one of {', '.join(map(str, self.choices))}, got {given!r}")
            return self.choices[self.choices.index(given)]
        if isinstance(self.initial, bool):
            if isinstance(given, str) or given not in (0, 1):
                raise ValueError(f"{name}: needs True or False, got {given!r}")
            return bool(given)
        if isinstance(self.initial, str):
            if not isinstance(given, str):
                raise ValueError(f"{name}: needs text, got {given!r}")
            return given
        return self._number(name, given)

    def _number(self, name: str, given: Any) -> Value:
        whole = isinstance(self.initial, int)
        kind, unit = "a whole number" if whole else "a finite number", f" of {self.unit}" if self.unit else ""
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not abs(given) <= sys.float_info.max:
            raise ValueError(f"{name}: needs {kind}{unit}, got {given!r}")
        if whole and given != int(given):
            raise ValueError(f"{name}: needs {kind}, got {given!r}")
        low, high = self.limits
        if not low <= given <= high:
            raise ValueError(f"{name}: needs {low:.6g} to {high:.6g} {self.unit}".rstrip() + f", got {given:.6g}")
        return int(given) if whole else float(given)


class Driver:
    """One device of the simulator; a subclass lists its quantities and readings and adds its commands."""

    name: ClassVar[str]

    def __init__(self, simulator: Simulator):
        self._simulator = simulator
        self._quantities = dict(self.quantities(simulator.settings))
        self._readings = dict(self.readings())
        self._halt = threading.Event()
        kept = simulator.state.values.setdefault(self.name, {})
        for name, quantity in self._quantities.items():
            kept.setdefault(name, quantity.initial)

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        """Return the quantities that can be set and are stored."""
        return {}

    def readings(self) -> Readings:
        """Return the functions behind quantities that can only be read."""
        return {}

    @property
    def values(self) -> dict[str, Any]:
        """Present values of the quantities."""
        return self._simulator.state.values[self.name]

    def get(self, name: str) -> Value:
        """Return a quantity or reading; ValueError lists the existing names."""
        if name in self._readings:
            return self._readings[name]()
        if name in self._quantities:
            return self.values[name]
        raise self._unknown(name)

    def put(self, name: str, value: Any) -> None:
        """Bring a quantity to a value; the module's docstring lists the errors."""
        if name in self._readings:
            raise ValueError(f"{self.name}.{name}: can only be read")
        if name not in self._quantities:
            raise self._unknown(name)
        accepted = self._quantities[name].accept(f"{self.name}.{name}", value)
        self.check(name, accepted)
        with self.command():
            self.move(name, accepted)

    def stop(self) -> None:
        """End a waiting command, from any thread; does nothing when none is waiting."""
        self._halt.set()

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError for a value within its limits that the other quantities do not allow."""

    def move(self, name: str, value: Any) -> None:
        """Change a quantity, which takes time when it has a speed."""
        speed = self._quantities[name].per_s
        if speed is not None:
            start = self.values[name]
            self.wait(abs(value - start) / speed, lambda share: self._set(name, start + share * (value - start)))
        self._set(name, value)

    def _set(self, name: str, value: Value) -> None:
        self.values[name] = value

    @contextmanager
    def command(self) -> Iterator[None]:
        """Run one command: it excludes all others and saves the state at its end."""
        with self._simulator.command():
            self._halt.clear()
            yield

    def wait(
        self, seconds: float, when_stopped: Callable[[float], None] = lambda share: None, *, fib_parked: bool = True
    ) -> None:
        """Let twin time pass; when stopped, call ``when_stopped`` with the share that passed and raise RuntimeError."""
        passed = self._simulator.let_pass(seconds, self._halt, fib_parked=fib_parked)
        if passed < seconds:
            when_stopped(passed / seconds)
            raise RuntimeError(f"{self.name}: stopped after {passed:.4g} s of {seconds:.4g} s")

    def require(self, mode: str, what: str) -> None:
        """Raise ValueError in another mode, and with a tilted stage (beams run along -z, X-rays along x)."""
        values = self._simulator.state.values
        now, tilt_deg = values["instrument"]["mode"], values["stage"]["tilt_deg"]
        if now != mode:
            raise ValueError(f'instrument: {what} needs mode "{mode}", it is in "{now}"')
        if tilt_deg != 0:
            raise ValueError(f"stage: {what} needs tilt_deg 0, it is at {tilt_deg:.4g} deg")

    def draw_frame(
        self, command: str, raster: Raster, count: Callable[[Scan], NDArray[np.uint32]], *, ions: bool
    ) -> Frame:
        """Draw one frame; ``count`` returns its counts. A stopped frame leaves the ion dose until then."""
        simulator = self._simulator
        with self.command(), simulator.scanning(self.name, command):
            started_s = simulator.state.time_s
            if not ions:
                current_na = simulator.electron_current_na
                scan = simulator.electron_scan(raster, 1e3 * current_na)
                self.wait(raster.frame_s)
                return Frame(count(scan), started_s, simulator.state.time_s, current_na)
            scan = simulator.ion_scan(raster)
            current_na = 1e-3 * scan.current_pa

            def stopped(share: float) -> None:
                seconds = share * raster.frame_s
                simulator.add_scan_dose(current_na * seconds)
                dose_field(simulator.specimen, simulator.surface, scan, seconds=seconds, settings=simulator.settings)

            self.wait(raster.frame_s, stopped, fib_parked=False)
            counts = count(scan)
            simulator.add_scan_dose(current_na * raster.frame_s)
            return Frame(counts, started_s, simulator.state.time_s, current_na)

    def _unknown(self, name: str) -> ValueError:
        known = sorted([*self._quantities, *self._readings])
        return ValueError(f"{self.name}: has no quantity {name!r}; it has {', '.join(known) or 'none'}")


def scan_quantities(settings: Settings, max_field_um: float) -> dict[str, Quantity]:
    """Return the quantities of a scan generator, without its dwell time."""
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
    """Return the raster that the quantities of a scan generator describe."""
    centre = (values["centre_u_um"], values["centre_v_um"])
    return Raster((values["rows"], values["columns"]), values["fov_um"], dwell_ms, centre)

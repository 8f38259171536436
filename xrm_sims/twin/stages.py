"""Drivers of what moves: the instrument's mode, the target manipulator, the specimen stage and its rotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.settings import ModeChange, Settings
from xrm_sims.twin.driver import Driver, Quantity, Readings
from xrm_sims.twin.specimen_registry import check_sample
from xrm_sims.twin.state_store import Value


class Instrument(Driver):
    """Mode, time and chamber."""

    name = "instrument"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        return {"mode": Quantity("xray", choices=("xray", "sem", "fib", "transfer"))}

    def readings(self) -> Readings:
        simulator = self._simulator
        pressure_pa = simulator.settings.chamber.pressure_pa
        return {
            "time_s": lambda: simulator.time_s,
            "specimen": lambda: simulator.state.sample,
            "chamber_pressure_pa": lambda: simulator.disturbed("chamber_pressure_pa", pressure_pa, simulator.time_s),
        }

    def put(self, name: str, value: Any) -> None:
        """As for every driver; another specimen also takes time to exchange, and the old one is lost."""
        if name != "specimen":
            return super().put(name, value)
        simulator = self._simulator
        check_sample(value)
        with self.command():
            if value != simulator.state.sample:
                self.wait(simulator.settings.chamber.exchange_s)
                simulator.exchange_specimen(value)

    def let_pass(self, seconds: float) -> None:
        """Wait in twin time; RuntimeError when stopped."""
        with self.command():
            self.wait(seconds)

    def move(self, name: str, value: Any) -> None:
        """Change the mode, which takes time and displaces the scan frame at random."""
        if value == self.values["mode"]:
            return
        simulator = self._simulator
        self.wait(simulator.settings.mode_change.duration_s)
        frame, drift = draw_scan_frame(simulator.rng("mode change"), simulator.settings.mode_change)
        simulator.state.scan_frame = frame.tolist()
        simulator.state.frame_drift_um_per_s = drift.tolist()
        simulator.state.since_s["mode"] = simulator.state.time_s
        simulator.note_change()
        self.values["mode"] = value


class Target(Driver):
    """Target manipulator; coordinates are those of the tip in the laboratory frame."""

    name = "target"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        limits = settings.target
        speed = limits.speed_um_per_s
        return {
            "x_um": Quantity(limits.park_x_um, "um", limits.x_um, per_s=speed),
            "y_um": Quantity(0.0, "um", limits.y_um, per_s=speed),
            "z_um": Quantity(0.0, "um", limits.z_um, per_s=speed),
            "material": Quantity(limits.materials[0], choices=limits.materials),
        }

    def move(self, name: str, value: Any) -> None:
        if value == self.values[name]:
            return
        if name == "material":
            self.wait(self._simulator.settings.target.exchange_s)
            self._simulator.note_change()
        super().move(name, value)

    def _set(self, name: str, value: Value) -> None:
        super()._set(name, value)
        self._simulator.state.totals["target_spot_charge_c"] = 0.0


class Stage(Driver):
    """Specimen stage and its bias."""

    name = "stage"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        limits = settings.stage
        return {
            "x_um": Quantity(0.0, "um", limits.xy_um, per_s=limits.speed_um_per_s),
            "y_um": Quantity(0.0, "um", limits.xy_um, per_s=limits.speed_um_per_s),
            "z_um": Quantity(0.0, "um", limits.z_um, per_s=limits.speed_um_per_s),
            "tilt_deg": Quantity(0.0, "deg", limits.tilt_deg, per_s=limits.tilt_deg_per_s),
            "bias_v": Quantity(0.0, "V", limits.bias_v),
        }


class Rotation(Driver):
    """Rotation stage."""

    name = "rotation"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        limits = settings.stage
        return {"angle_deg": Quantity(0.0, "deg", limits.rotation_deg, per_s=limits.rotation_deg_per_s)}


def draw_scan_frame(rng: np.random.Generator, settings: ModeChange) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the mismatch between scan frame and specimen frame after a change of mode.

    Returns the 2 x 3 affine scan -> specimen at the moment of change (scale * rotation * shear, offset in um) and the
    drift (2,) in um/s after it.
    """
    angle, shear = np.radians(rng.uniform(-1, 1, 2) * (settings.rotation_deg, settings.shear_deg))
    scale = 1.0 + settings.scale * rng.uniform(-1, 1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.array([[1.0, np.tan(shear)], [0.0, 1.0]])
    offset_angle, drift_angle = rng.uniform(0, 2 * np.pi, 2)
    offset_um = rng.uniform(*settings.offset_um) * np.array([np.cos(offset_angle), np.sin(offset_angle)])
    drift = settings.drift_nm_per_min * 1e-3 / 60.0 * np.array([np.cos(drift_angle), np.sin(drift_angle)])
    return np.column_stack([linear, offset_um]), drift

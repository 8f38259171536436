"""Electron beam, ion beam and X-ray target."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from ophyd import Kind
from ophyd.status import Status

from devices.quantity import DriverDevice, done, quantity, readback, setting


class ElectronBeam(DriverDevice):
    """SEM column: voltage, probe current, blanker, position of the probe on the target."""

    voltage_kv = quantity("voltage_kv", egu="kV", limits=lambda s: s.electron.voltage_limits_kv)
    current_na = quantity(
        "current_na", egu="nA", limits=lambda s: s.electron.current_limits_na, key="beam_current_setpoint_na"
    )
    measured_current_na = readback("measured_current_na", egu="nA", key="beam_current_na", kind=Kind.hinted)
    blanked = quantity("blanked")
    probe_nm = setting("probe_nm", egu="nm", limits=lambda s: s.electron.probe_limits_nm)
    position_y_um = quantity("position_y_um", egu="um", limits=lambda s: half(s.electron.max_scan_field_um))
    position_z_um = quantity("position_z_um", egu="um", limits=lambda s: half(s.electron.max_scan_field_um))


class TargetManipulator(DriverDevice):
    """Position of the X-ray target's tip in the laboratory frame, and its material."""

    x_um = quantity("x_um", egu="um", limits=lambda s: s.target.x_um)
    y_um = quantity("y_um", egu="um", limits=lambda s: s.target.y_um)
    z_um = quantity("z_um", egu="um", limits=lambda s: s.target.z_um)
    material = quantity("material", choices=lambda s: s.target.materials)


class Pass(NamedTuple):
    """One milling or deposition pass of ``pattern.as_dict()``, numbered from 0."""

    pattern: Mapping[str, Any]
    number: int
    deposits: bool = False

    @property
    def action(self) -> str:
        return "deposition pass" if self.deposits else "milling pass"


class GalliumFIB(DriverDevice):
    """Ion column with its scan generator. ``trigger`` draws the prepared pass once."""

    voltage_kv = quantity("voltage_kv", egu="kV", limits=lambda s: s.ion.voltage_limits_kv)
    current_pa = quantity("current_pa", egu="pA", limits=lambda s: s.ion.current_limits_pa)
    blanked = quantity("blanked")
    dose_nc = readback("dose_nc", egu="nC", kind=Kind.hinted)
    scan_dose_nc = readback("scan_dose_nc", egu="nC")
    fov_um = setting("fov_um", egu="um", limits=lambda s: (s.scan.min_field_um, s.ion.max_scan_field_um))
    rows = setting("rows", limits=lambda s: s.scan.pixels)
    columns = setting("columns", limits=lambda s: s.scan.pixels)
    dwell_ms = setting("dwell_ms", egu="ms", limits=lambda s: s.scan.dwell_limits_ms)
    centre_u_um = setting("centre_u_um", egu="um", limits=lambda s: half(s.ion.max_scan_field_um))
    centre_v_um = setting("centre_v_um", egu="um", limits=lambda s: half(s.ion.max_scan_field_um))

    def __init__(self, prefix: str = "", **kwargs: Any) -> None:
        super().__init__(prefix, **kwargs)
        self._prepared: Pass | None = None
        self._passes_done = 0

    def stage(self) -> list[object]:
        self._prepared, self._passes_done = None, 0
        return super().stage()

    def prepare(self, next_pass: tuple[Mapping[str, Any], int] | tuple[Mapping[str, Any], int, bool]) -> Status:
        """Set the next pass, a :class:`Pass` or such a tuple. ValueError when an earlier pass is missing."""
        following = Pass(*next_pass)
        if following.number > self._passes_done:
            raise ValueError(f"{self.name}: pass {following.number} cannot follow {self._passes_done} passes")
        self._prepared = following
        return done(self)

    def trigger(self) -> Status:
        """Draw the prepared pass. Nothing happens when none is prepared, or when a rewound plan repeats one."""
        if self._prepared is None or self._prepared.number < self._passes_done:
            return done(self)
        self.interlocks.check_action(self._prepared.action)
        return self.channel.submit(self, partial(self._draw, self._prepared))

    def _draw(self, drawn: Pass) -> None:
        self.interlocks.check_action(drawn.action)
        self.channel.check_going(self)
        driver = self.channel.driver
        (driver.deposit_pass if drawn.deposits else driver.mill_pass)(dict(drawn.pattern))
        self._passes_done = drawn.number + 1
        self.conditions.tripped()


def half(field_um: float) -> tuple[float, float]:
    return -0.5 * field_um, 0.5 * field_um

"""Sample stage and rotation stage."""

from __future__ import annotations

from typing import Any

from ophyd import Device, Kind
from ophyd.status import Status

from devices.quantity import DriverDevice, quantity


class SampleStage(DriverDevice):
    """Position of the specimen, tilt and bias."""

    x_um = quantity("x_um", egu="um", limits=lambda s: s.stage.xy_um)
    y_um = quantity("y_um", egu="um", limits=lambda s: s.stage.xy_um)
    z_um = quantity("z_um", egu="um", limits=lambda s: s.stage.z_um)
    tilt_deg = quantity("tilt_deg", egu="deg", limits=lambda s: s.stage.tilt_deg)
    bias_v = quantity("bias_v", egu="V", limits=lambda s: s.stage.bias_v)

    def __call__(self) -> list[object]:
        """Stage the instrument: ``scope.stage`` is this device, and Bluesky calls ``scope.stage()``."""
        return Device.stage(self.parent)


class RotationStage(DriverDevice):
    """Rotation of the specimen in degrees, counter-clockwise seen from above."""

    angle_deg = quantity("angle_deg", egu="deg", limits=lambda s: s.stage.rotation_deg, kind=Kind.hinted)

    def set(self, angle_deg: float) -> Status:
        return self.angle_deg.set(angle_deg)

    @property
    def position(self) -> Any:
        return self.angle_deg.get()

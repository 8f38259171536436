"""What moves, by how much it may, and what moves although nobody asked for it."""

from __future__ import annotations

from xrm_sims.settings.section import Section


class Motion(Section):
    """What moves although nobody asked for it; every path hangs on the seed."""

    drift_nm_per_h: float = 60.0
    thermal_drift_um: float = 0.3  # assumed: amplitude of the exponential after start-up
    thermal_time_h: float = 3.0  # assumed
    move_drift_um: float = 0.1  # assumed: amplitude of the exponential after a change of mode or target
    move_time_h: float = 0.5  # assumed
    runout_nm: float = 150.0


class StageLimits(Section):
    xy_um: tuple[float, float] = (-500.0, 500.0)
    z_um: tuple[float, float] = (-200.0, 200.0)
    tilt_deg: tuple[float, float] = (-10.0, 60.0)
    bias_v: tuple[float, float] = (0.0, 1000.0)
    bias_off_below_v: float = 1.0  # a stage under this counts as grounded
    flat_lowering_um: float = 30.0
    speed_um_per_s: float = 100.0  # assumed
    tilt_deg_per_s: float = 1.0  # assumed
    rotation_deg_per_s: float = 10.0  # assumed
    rotation_deg: tuple[float, float] = (-3600.0, 3600.0)  # it turns without end, nobody means more


class TargetLimits(Section):
    """Target manipulator in the laboratory frame; the working position puts the focal spot at x = -source_object."""

    x_um: tuple[float, float] = (-10000.0, 0.0)
    y_um: tuple[float, float] = (-2000.0, 2000.0)
    z_um: tuple[float, float] = (-500.0, 2000.0)
    park_x_um: float = -8000.0
    clearance_um: float = 100.0  # never closer to the pillar's swept cylinder or the disk
    disk_clearance_um: float = 20.0
    materials: tuple[str, ...] = ("W", "Cu", "Cr")
    speed_um_per_s: float = 500.0  # assumed
    exchange_s: float = 120.0  # assumed: to bring another material to the tip
    working_tolerance_um: float = 25.0  # assumed: further off the working position nothing shines on the detector
    tip_um: float = 100.0  # assumed: edge of the square face that the electron beam can hit


class ModeChange(Section):
    """How badly the scan frame of a newly chosen mode agrees with the specimen frame; drawn anew at each change."""

    offset_um: tuple[float, float] = (2.0, 5.0)
    rotation_deg: float = 1.0
    scale: float = 0.01
    shear_deg: float = 0.5
    drift_nm_per_min: float = 5.0
    duration_s: float = 60.0  # assumed


class Chamber(Section):
    pressure_pa: float = 1e-4  # assumed
    exchange_s: float = 1200.0  # assumed: to bring another specimen in through the airlock

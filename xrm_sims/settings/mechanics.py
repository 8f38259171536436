"""Travel limits and speeds, unwanted motion, changes of mode, and the chamber."""

from __future__ import annotations

from xrm_sims.settings.section import Section


class Motion(Section):
    """Unwanted motion: drift of the focal spot and run-out of the rotation; the seed determines every path."""

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
    bias_off_below_v: float = 1.0  # a stage with less bias counts as grounded
    flat_lowering_um: float = 30.0
    speed_um_per_s: float = 100.0  # assumed
    tilt_deg_per_s: float = 1.0  # assumed
    rotation_deg_per_s: float = 10.0  # assumed
    rotation_deg: tuple[float, float] = (-3600.0, 3600.0)  # the stage has no end stops; a larger angle is a mistake


class TargetLimits(Section):
    """Target manipulator in the laboratory frame; the working position puts the focal spot at x = -source_object."""

    x_um: tuple[float, float] = (-10000.0, 0.0)
    y_um: tuple[float, float] = (-2000.0, 2000.0)
    z_um: tuple[float, float] = (-500.0, 2000.0)
    park_x_um: float = -8000.0
    clearance_um: float = 100.0  # least distance to the cylinder swept by the pillar and to the disk
    disk_clearance_um: float = 20.0
    materials: tuple[str, ...] = ("W", "Cu", "Cr")
    speed_um_per_s: float = 500.0  # assumed
    exchange_s: float = 120.0  # assumed: to change the material at the tip
    working_tolerance_um: float = 25.0  # assumed: further off the working position no X-rays reach the detector
    tip_um: float = 100.0  # assumed: edge of the square face for the electron beam


class ModeChange(Section):
    """Random mismatch between scan frame and specimen frame, drawn again at each change of mode."""

    offset_um: tuple[float, float] = (2.0, 5.0)
    rotation_deg: float = 1.0
    scale: float = 0.01
    shear_deg: float = 0.5
    drift_nm_per_min: float = 5.0
    duration_s: float = 60.0  # assumed


class Chamber(Section):
    pressure_pa: float = 1e-4  # assumed
    exchange_s: float = 1200.0  # assumed: to exchange the specimen through the airlock

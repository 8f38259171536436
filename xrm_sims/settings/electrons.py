"""SEM signals, and the scan generators of both columns."""

from __future__ import annotations

from xrm_sims.settings.section import Section


class Electrons(Section):
    """SEM signals: secondary electrons by material and tilt, characteristic X-rays by composition."""

    voltage_kv: float = 15.0
    current_na: float = 1.0
    se_counts_per_electron: float = 0.05  # assumed: detected per incident electron on flat LCO
    se_counts_per_ion: float = 0.5  # assumed: an ion releases more electrons
    se_lco: float = 1.0
    se_nca: float = 0.98
    se_binder: float = 0.5
    se_metal: float = 1.3
    se_dark_fraction: float = 0.01  # assumed: signal where the beam hits nothing
    channelling: float = 0.1  # assumed: contrast between crystals (grains of NCA, particles of LCO)
    tilt_exponent: float = 1.0  # SE yield rises as 1/cos(tilt)^exponent
    tilt_gain_limit: float = 3.0
    focus_depth_um: float = 30.0  # assumed: deeper places are dim and out of focus
    probe_fwhm_nm: float = 5.0
    eds_counts_per_electron: float = 2.0e-6  # assumed: pure nickel at twice its K edge
    eds_background: float = 0.002  # assumed: bremsstrahlung under a line, relative to the pure element
    eds_lowest_kev: float = 0.2  # the detector's window absorbs softer lines
    eds_overvoltage: float = 1.2  # a line is used if the voltage is at least this multiple of its edge
    eds_blur_per_range: float = 0.25  # lateral sigma of the interaction volume over the electron range
    eds_depths_per_range: tuple[float, ...] = (0.1, 0.3, 0.6)  # depths at which the interaction volume is sampled
    eds_depth_weights: tuple[float, ...] = (0.4, 0.45, 0.15)  # assumed: share of the X-rays from each depth


class Scan(Section):
    """Limits and initial values of the scan generators of both columns."""

    pixels: tuple[int, int] = (2, 4096)  # per side
    min_field_um: float = 0.1
    dwell_limits_ms: tuple[float, float] = (1e-4, 1000.0)
    fov_um: float = 20.7  # initial value; likewise the next four
    side_px: int = 512
    sims_dwell_ms: float = 0.55
    sem_dwell_us: float = 1.0
    eds_dwell_ms: float = 5.0  # assumed
    roi_depth_um: float = 3.0  # assumed: depth of a defect that is not yet known, for estimates

"""Criteria of the planner, and conditions that suspend a plan."""

from __future__ import annotations

from xrm_sims.settings.section import Section


class Planning(Section):
    """Criteria of the protocol planner, and values that it cannot compute."""

    residual_motion_nm: float = 15.0  # rms at the pillar's rim after geometry correction, from a benchmark
    visible_snr: float = 5.0  # signal-to-noise ratio of a visible pore (Rose, J. Opt. Soc. Am. 38 (1948) 196)
    least_counts: float = 20.0  # assumed: behind the pillar; with fewer the logarithm errs by more than 2.5 %
    map_depth_nm: float = 50.0  # assumed: depth that a map may sputter from the plane it shows


class Suspension(Section):
    """Conditions that suspend a running plan, and that resume it."""

    min_current_fraction: float = 0.5  # assumed: of the set electron current; drift alone lowers it by 26 % in 30 h
    max_pressure_pa: float = 1e-2  # assumed
    max_detector_temperature_c: float = 45.0  # assumed
    settle_s: float = 60.0  # assumed: time for which all conditions must be good again
    poll_s: float = 5.0  # assumed: between two checks; wall time while a plan runs, instrument time while it waits
    give_up_s: float = 21600.0  # assumed: then the plan fails

"""What decides for people: when a plan waits, what a protocol is planned for."""

from __future__ import annotations

from xrm_sims.settings.section import Section


class Planning(Section):
    """What the planner of protocols asks for, and what it cannot work out."""

    residual_motion_nm: float = 15.0  # rms at the pillar's rim that the geometry correction leaves, as benchmarked
    visible_snr: float = 5.0  # signal to noise from which a pore counts as seen (Rose, J. Opt. Soc. Am. 38 (1948) 196)
    least_counts: float = 20.0  # assumed: behind the pillar; with fewer the logarithm is off by more than 2.5 %
    map_depth_nm: float = 50.0  # assumed: what a map may consume of the plane that it shows


class Suspension(Section):
    """When a plan under way is suspended, and when it goes on."""

    min_current_fraction: float = 0.5  # assumed: of the electron current that was set; drift alone takes 26 % in 30 h
    max_pressure_pa: float = 1e-2  # assumed
    max_detector_temperature_c: float = 45.0  # assumed
    settle_s: float = 60.0  # assumed: for so long everything has to be right again
    poll_s: float = 5.0  # assumed: between two looks, in wall time while a plan runs, in instrument time while it waits
    give_up_s: float = 21600.0  # assumed: then the plan fails

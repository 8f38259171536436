"""Milling and deposition with the ion beam: one pass of a pattern, and the hole under a parked beam."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from xrm_sims.patterns import Milled
from xrm_sims.settings import Settings
from xrm_sims.twin.sector import FWHM_PER_SIGMA
from xrm_sims.twin.sputtering import removal_rates
from xrm_sims.twin.surface import BEAM_REACH, LEAST_SHARE, Beam, Specimen, Surface, flanks, weighted_area_um2
from xrm_sims.twin.surface_kernels import lower_block


def mill_pass(
    specimen: Specimen,
    surface: Surface,
    *,
    scan_to_specimen: ArrayLike,
    pattern: Milled,
    current_pa: float,
    fraction: float,
    settings: Settings,
    impact_energy_kev: float | None = None,
) -> dict[str, float]:
    """Draw one pass of a milling pattern.

    Planar patterns are milled down to a plane that the dose of the pass determines; in other patterns each point gets
    the dose for its depth. The depth follows from the materials and their rates, not from the nominal depth. Flanks
    around the pattern get their share of the dose according to the beam's profile.

    Parameters
    ----------
    scan_to_specimen : 2 x 3 affine from scan to specimen coordinates, um.
    pattern : its dose at the rate of LCO, divided by its passes, is the dose of one pass.
    fraction : share of this pass that is drawn, 1 unless it was stopped.
    impact_energy_kev : of the ions; None for the reference energy of the settings' rates.

    Returns
    -------
    dose_nc, seconds, removed_um3, and for planar patterns plane_z_um (specimen frame).

    Raises
    ------
    ValueError for a current or fraction that is not positive, and for a pattern beside the mapped surface.
    """
    milled = _one_pass(pattern, current_pa, fraction, settings.sputtering.rate_lco_um3_per_nc)
    dose_nc, beam = milled["dose_nc"], beam_profile(current_pa, settings, impact_energy_kev)
    if pattern.planar:
        z_um = _plane_reached(specimen, surface, scan_to_specimen, pattern, dose_nc, settings, impact_energy_kev, beam)
        removed = surface.cut_plane(specimen, scan_to_specimen, pattern, z_um, settings, beam)
        milled["plane_z_um"] = z_um
    else:
        removed = surface.erode(specimen, scan_to_specimen, pattern, dose_nc, settings, impact_energy_kev, beam)
    return milled | {"removed_um3": float(removed.sum())}


def deposit_pass(
    surface: Surface,
    *,
    scan_to_specimen: ArrayLike,
    pattern: Milled,
    current_pa: float,
    fraction: float,
    settings: Settings,
) -> dict[str, float]:
    """Draw one pass of a pattern under the platinum precursor: a layer grows in proportion to the local dose.

    The rate is net of what the ions sputter. Arguments and errors are those of :func:`mill_pass`; returns dose_nc,
    seconds, deposited_um3.
    """
    rate = settings.deposition.rate_um3_per_nc
    drawn = _one_pass(pattern, current_pa, fraction, rate)
    before_um3 = surface.deposited_um3
    surface.deposit(scan_to_specimen, pattern, drawn["dose_nc"] * rate, beam_profile(current_pa, settings))
    if surface.deposited_um3 == before_um3:
        raise ValueError(_misses(pattern, settings))
    return drawn | {"deposited_um3": surface.deposited_um3 - before_um3}


def _one_pass(pattern: Milled, current_pa: float, fraction: float, rate_um3_per_nc: float) -> dict[str, float]:
    """Return dose and time of a share of one pass; ValueError for a current or share that is not positive."""
    if not (np.isfinite(current_pa) and current_pa > 0):
        raise ValueError(f"current_pa: a pattern needs a positive current, got {current_pa}")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: needs a share above 0 and up to 1, got {fraction}")
    dose_nc = pattern.dose_nc(rate_um3_per_nc) / pattern.passes * fraction
    return {"dose_nc": dose_nc, "seconds": dose_nc / (current_pa * 1e-3)}


def _misses(pattern: Milled, settings: Settings) -> str:
    return (
        f"{pattern.kind}: misses the mapped surface; keep it within {0.5 * settings.surface.width_um:g} um "
        "of the axis and larger than a cell of the map"
    )


def dose_spot(
    specimen: Specimen,
    surface: Surface,
    *,
    xy_um: tuple[float, float],
    current_pa: float,
    seconds: float,
    settings: Settings,
    impact_energy_kev: float | None = None,
) -> float:
    """Mill with a parked beam at a point of the specimen frame; return the dose in nC."""
    dose_nc = current_pa * 1e-3 * seconds
    beam = [
        (share, float(np.hypot(sigma_um, 0.5 * surface.pitch_um)))
        for share, sigma_um in beam_profile(current_pa, settings, impact_energy_kev)
    ]
    middle, reach_um = np.asarray(xy_um), BEAM_REACH * max(sigma_um for _, sigma_um in beam)
    rows, columns = surface.block(middle - reach_um, middle + reach_um)
    y = surface.first_um + surface.pitch_um * np.arange(rows.start, rows.stop)[:, None] - xy_um[1]
    x = surface.first_um + surface.pitch_um * np.arange(columns.start, columns.stop) - xy_um[0]
    profile = sum(share * np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2 * np.pi * sigma**2) for share, sigma in beam)
    rates = removal_rates(settings, impact_energy_kev)
    surface.lower(specimen, rows, columns, dose_nc * np.asarray(profile), -np.inf, rates)
    return dose_nc


def beam_profile(current_pa: float, settings: Settings, impact_energy_kev: float | None = None) -> Beam:
    """Return the beam's core and tail."""
    tail = settings.ion.tail_fraction
    core_um = float(core_sigma_um(current_pa, settings, impact_energy_kev))
    return (1.0 - tail, core_um), (tail, 1e-3 * settings.ion.tail_sigma_nm)


def core_sigma_um(current_pa: float, settings: Settings, impact_energy_kev: float | None = None) -> float:
    """Return the standard deviation of the beam's core; its FWHM follows power laws of current and impact energy."""
    ion, reference_kev = settings.ion, settings.sputtering.reference_kev
    fwhm_nm = ion.core_fwhm_nm * max(current_pa / ion.core_current_pa, 0.0) ** ion.core_growth
    fwhm_nm *= (reference_kev / (impact_energy_kev or reference_kev)) ** ion.core_energy_exponent
    return fwhm_nm * 1e-3 / FWHM_PER_SIGMA


def _plane_reached(
    specimen: Specimen,
    surface: Surface,
    scan_to_specimen: ArrayLike,
    pattern: Milled,
    dose_nc: float,
    settings: Settings,
    impact_energy_kev: float | None,
    beam: Beam,
) -> float:
    """Return the height of the plane down to which ``dose_nc`` mills a pattern.

    It is the root of the dose for all material above a plane, computed on every n-th cell of the map, so that the cost
    of a pass does not depend on the size of its pattern.
    """
    rows, columns, share = surface.cells(scan_to_specimen, pattern, beam)
    stride = max(1, round(np.sqrt((share > LEAST_SHARE).sum()) / settings.surface.milling_columns))
    heights, deposit = (cells[rows, columns][::stride, ::stride] for cells in (surface.heights_um, surface.deposit_um))
    share = share[::stride, ::stride]
    if not (share > LEAST_SHARE).any():
        raise ValueError(_misses(pattern, settings))
    rates = removal_rates(settings, impact_energy_kev)
    dose_per_um3 = np.divide(1.0, rates, out=np.zeros_like(rates), where=rates > 0)
    available = dose_nc / weighted_area_um2(scan_to_specimen, pattern)
    first_y, first_x = (surface.first_um + block.start * surface.pitch_um for block in (rows, columns))
    step_um = surface.pitch_um * stride

    def excess_nc_per_um2(z_um: float) -> float:
        cleared = heights.copy()
        limit, floor_um = flanks(heights, share, z_um)
        block = cleared, deposit.copy(), np.zeros_like(cleared)
        removed_um = lower_block(specimen.solids, *block, first_y, first_x, step_um, limit, floor_um, rates).sum(axis=0)
        return float(removed_um @ dose_per_um3) / share.sum() - available

    highest = float(heights[share > LEAST_SHARE].max())
    foot = float(specimen.solids.cylinders[:, 2].min())
    reach_um = pattern.depth_um
    while excess_nc_per_um2(highest - reach_um) < 0:
        if highest - reach_um < foot:
            return foot
        reach_um *= 2.0
    return float(brentq(excess_nc_per_um2, highest - reach_um, highest, xtol=1e-6))

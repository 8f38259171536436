"""Secondary-ion counts of a raster frame: what the beam meets, what is sputtered, ionised, sorted and counted.

N = (I t / e) Y c U per pixel: ions x sputter yield x atomic fraction x useful yield (detected per sputtered atom).
Useful yields fall exponentially with the ionisation energy (Andersen and Hinthorne, Anal. Chem. 45 (1973) 1421).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from xrm_sims.patterns import Raster
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material, atomic_fractions
from xrm_sims.twin.sector import (
    C2H3_MASS_U,
    ISOTOPES,
    accepted_fraction,
    bias_transmission,
    centred_fraction,
    observed_rate_cps,
)
from xrm_sims.twin.surface import NUM_MATERIALS, Specimen, Surface, View, by_material, core_sigma_um

# First ionisation energies in eV: NIST Atomic Spectra Database.
IONISATION_EV = {
    "Li": 5.392, "Al": 5.986, "Ni": 7.640, "Co": 7.881, "Fe": 7.902, "Pt": 8.959, "C": 11.260, "O": 13.618, "F": 17.423,
}  # fmt: skip
SUBPIXELS = 2  # per side: where within its pixel the beam is taken to meet the specimen, jittered


def useful_yield(element: str, settings: Settings) -> float:
    """Ions detected per sputtered atom of an element, in its isotopic mixture: Li 4.0e-3, Al 1.5e-3, Co 6.3e-5."""
    s = settings.sputtering
    return s.useful_yield_li * float(np.exp(-(IONISATION_EV[element] - IONISATION_EV["Li"]) / s.useful_yield_scale_ev))


def sputter_yields(settings: Settings) -> NDArray[np.float64]:
    """(materials,) atoms per incident ion; the pillar's average sputters like the mean of its active materials."""
    s = settings.sputtering
    return by_material(s.yield_lco, s.yield_nca, s.yield_binder, s.yield_metal, 0.5 * (s.yield_lco + s.yield_nca))


def pixel_points(
    raster: Raster,
    scan_to_specimen: ArrayLike,
    drift_um_per_s: tuple[float, float] = (0.0, 0.0),
    jitter: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Specimen coordinates (rows, columns, 2) in um of the pixels' centres, each at its own time of the frame.

    ``jitter`` (rows, columns, 2) displaces them by fractions of a pixel along (u, v).
    """
    rows, columns = raster.shape
    r, c = np.mgrid[:rows, :columns].astype(float)
    u, v = c - 0.5 * (columns - 1), r - 0.5 * (rows - 1)
    if jitter is not None:
        u, v = u + jitter[..., 0], v + jitter[..., 1]
    u, v = u * raster.pixel_um + raster.centre_um[0], v * raster.pixel_um + raster.centre_um[1]
    seconds = (r * columns + c) * raster.dwell_ms * 1e-3
    affine = np.asarray(scan_to_specimen, dtype=float)
    return np.stack([a[0] * u + a[1] * v + a[2] + d * seconds for a, d in zip(affine, drift_um_per_s, strict=True)], -1)


def ion_sensitivity(
    collector_radii_mm: Sequence[float],
    *,
    bias_v: float,
    extraction_v: float,
    field_t: float,
    settings: Settings,
    slit_mm: float | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Counts per incident ion on a flat surface, before dead time.

    Returns
    -------
    by_code : (materials, channels), without the aluminium of the binder.
    binder_al : (channels,) per atomic fraction of aluminium in binder.
    hydrocarbon : (channels,) C2H3+ from binder.
    """
    sector, s = settings.sector, settings.sputtering
    voltage_v = bias_v + extraction_v
    collected = bias_transmission(bias_v, sector)

    def passed(mass_u: float) -> NDArray[np.float64]:
        return collected * np.array(
            [
                accepted_fraction(mass_u, r, voltage_v=voltage_v, field_t=field_t, sector=sector, slit_mm=slit_mm)
                for r in collector_radii_mm
            ]
        )

    per_atom = {element: np.zeros(len(collector_radii_mm)) for element in IONISATION_EV}
    for isotope in ISOTOPES.values():
        # useful yields count ions behind a well-placed slit of the settings' width
        before_slit = isotope.abundance * useful_yield(isotope.element, settings) / centred_fraction(sector)
        per_atom[isotope.element] += before_slit * passed(isotope.mass_u)
    yields = sputter_yields(settings)
    yields[[Material.BINDER, Material.CARBON]] *= s.binder_useful_yield_factor
    by_code = np.zeros((NUM_MATERIALS, len(collector_radii_mm)))
    for material in Material:
        for element, fraction in atomic_fractions(material, settings.specimen).items():
            if element in per_atom:
                by_code[material] += yields[material] * fraction * per_atom[element]
    hydrocarbon = sector.hydrocarbon_on_al_per_ion * passed(C2H3_MASS_U) * float(sector.hydrocarbon_on_al)
    return by_code, yields[Material.BINDER] * per_atom["Al"], hydrocarbon


def expected_counts(
    specimen: Specimen,
    surface: Surface,
    *,
    scan_to_specimen: ArrayLike,
    drift_um_per_s: tuple[float, float] = (0.0, 0.0),
    raster: Raster,
    current_pa: float,
    bias_v: float,
    extraction_v: float,
    field_t: float,
    collector_radii_mm: Sequence[float],
    settings: Settings,
    rng: np.random.Generator,
    slit_mm: float | None = None,
) -> NDArray[np.float64]:
    """Mean secondary ions per pixel (channel, row, column) behind the slits, before the counters.

    Every pixel is met at jittered sub-pixel points, then the maps are blurred by the beam's core and tail.
    """
    by_code, binder_al, hydrocarbon = ion_sensitivity(
        collector_radii_mm,
        bias_v=bias_v,
        extraction_v=extraction_v,
        field_t=field_t,
        settings=settings,
        slit_mm=slit_mm,
    )
    maps = np.zeros((len(collector_radii_mm), *raster.shape))
    for i, j in np.ndindex(SUBPIXELS, SUBPIXELS):
        jitter = (np.array([i, j]) + rng.random((*raster.shape, 2))) / SUBPIXELS - 0.5
        xy = pixel_points(raster, scan_to_specimen, drift_um_per_s, jitter)
        view = surface.look(specimen, xy.reshape(-1, 2))
        signal = by_code[view.codes]
        binder = np.flatnonzero(view.codes == Material.BINDER)
        aluminium = specimen.binder_al_fraction(view.points_um[binder])
        signal[binder] += aluminium[:, None] * binder_al + hydrocarbon
        signal *= (view.sky * tilt_gain(view, settings))[:, None]
        maps += signal.T.reshape(maps.shape)
    maps *= raster.ions_per_pixel(current_pa) / SUBPIXELS**2
    return blur_by_beam(maps, raster.pixel_um, current_pa, settings)


def raster_frame(
    specimen: Specimen,
    surface: Surface,
    *,
    scan_to_specimen: ArrayLike,
    drift_um_per_s: tuple[float, float] = (0.0, 0.0),
    raster: Raster,
    current_pa: float,
    bias_v: float,
    extraction_v: float,
    field_t: float,
    collector_radii_mm: Sequence[float],
    settings: Settings,
    rng: np.random.Generator,
    slit_mm: float | None = None,
) -> NDArray[np.uint32]:
    """One frame: counts (channel, row, column), and the surface lowered by what was sputtered for it.

    Parameters
    ----------
    scan_to_specimen : 2 x 3 affine, um; pixel (r, c) lies at u = (c - (C-1)/2) * pixel + centre_u, v likewise with r.
    drift_um_per_s : how the scan drifts over the specimen (x, y) during the frame.
    bias_v, extraction_v, field_t, collector_radii_mm : the sector as it is set; without bias nothing is collected.
    slit_mm : exit slit at the reference radius; the settings' when left out.

    Raises
    ------
    ValueError for a current that is negative or not finite.
    """
    if not (np.isfinite(current_pa) and current_pa >= 0):
        raise ValueError(f"current_pa: needs a current of 0 or more, got {current_pa}")
    ions = expected_counts(
        specimen,
        surface,
        scan_to_specimen=scan_to_specimen,
        drift_um_per_s=drift_um_per_s,
        raster=raster,
        current_pa=current_pa,
        bias_v=bias_v,
        extraction_v=extraction_v,
        field_t=field_t,
        collector_radii_mm=collector_radii_mm,
        settings=settings,
        rng=rng,
        slit_mm=slit_mm,
    )
    dwell_s = raster.dwell_ms * 1e-3
    rate_cps = ions / dwell_s + settings.sector.dark_rate_cps
    counts = rng.poisson(observed_rate_cps(rate_cps, settings.sector.dead_time_ns) * dwell_s)
    middle = np.asarray(scan_to_specimen, dtype=float) + np.outer(
        0.5 * raster.frame_s * np.asarray(drift_um_per_s), (0.0, 0.0, 1.0)
    )
    dose_field(
        specimen,
        surface,
        scan_to_specimen=middle,
        raster=raster,
        current_pa=current_pa,
        seconds=raster.frame_s,
        settings=settings,
    )
    return counts.astype(np.uint32)


def dose_field(
    specimen: Specimen,
    surface: Surface,
    *,
    scan_to_specimen: ArrayLike,
    raster: Raster,
    current_pa: float,
    seconds: float,
    settings: Settings,
) -> float:
    """A scanning beam erodes the raster's field evenly, each material at its own rate; returns the dose in nC."""
    dose_nc = current_pa * 1e-3 * seconds
    size_um = (raster.fov_um, raster.pixel_um * raster.shape[0])
    surface.erode(specimen, scan_to_specimen, raster.centre_um, size_um, dose_nc, settings)
    return dose_nc


def blur_by_beam(
    maps: NDArray[np.float64], pixel_um: float, current_pa: float, settings: Settings
) -> NDArray[np.float64]:
    """Maps (channel, row, column) as a beam with a Gaussian core and a weak, wide Gaussian tail sees them."""
    share = settings.ion.tail_fraction
    core_px = core_sigma_um(current_pa, settings) / pixel_um
    tail_px = settings.ion.tail_sigma_nm * 1e-3 / pixel_um
    core = gaussian_filter(maps, core_px, mode="nearest", axes=(1, 2))
    return (1.0 - share) * core + share * gaussian_filter(maps, tail_px, mode="nearest", axes=(1, 2))


def tilt_gain(view: View, settings: Settings) -> NDArray[np.float32]:
    """Signal relative to normal incidence: 1 / cos(tilt)^n up to a limit."""
    s = settings.sputtering
    return np.minimum(view.cos_tilt**-s.tilt_exponent, s.tilt_gain_limit)

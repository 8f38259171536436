"""Secondary-ion counts of a raster frame: what the beam meets, what is sputtered, ionised, sorted and counted.

N = (I t / e) Y c U per pixel: ions x sputter yield x atomic fraction x useful yield (detected per sputtered atom).
Useful yields fall exponentially with the ionisation energy (Andersen and Hinthorne, Anal. Chem. 45 (1973) 1421).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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


@dataclass(frozen=True)
class Scan:
    """A raster of the ion or the electron beam as it lies on the specimen.

    to_specimen : 2 x 3 affine, um; pixel (r, c) lies at u = (c - (C-1)/2) * pixel + centre_u, v likewise with r.
    drift_um_per_s : how the scan drifts over the specimen (x, y) during a frame.
    """

    raster: Raster
    to_specimen: ArrayLike
    current_pa: float
    drift_um_per_s: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.current_pa) and self.current_pa >= 0):
            raise ValueError(f"current_pa: needs a current of 0 or more, got {self.current_pa}")

    @property
    def primaries_per_pixel(self) -> float:
        """Ions (or electrons)."""
        return self.raster.ions_per_pixel(self.current_pa)

    def half_way(self) -> NDArray[np.float64]:
        """``to_specimen`` in the middle of a frame."""
        drift_um = 0.5 * self.raster.frame_s * np.asarray(self.drift_um_per_s)
        return np.asarray(self.to_specimen, dtype=float) + np.outer(drift_um, (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Analyser:
    """The magnetic sector as it is set; without bias nothing is collected. slit_mm: None for the settings' width."""

    bias_v: float
    extraction_v: float
    field_t: float
    collector_radii_mm: Sequence[float]
    slit_mm: float | None = None


def useful_yield(element: str, settings: Settings) -> float:
    """Ions detected per sputtered atom of an element, in its isotopic mixture: Li 4.0e-3, Al 1.5e-3, Co 6.3e-5."""
    s = settings.sputtering
    return s.useful_yield_li * float(np.exp(-(IONISATION_EV[element] - IONISATION_EV["Li"]) / s.useful_yield_scale_ev))


def sputter_yields(settings: Settings) -> NDArray[np.float64]:
    """(materials,) atoms per incident ion; the pillar's average sputters like the mean of its active materials."""
    s = settings.sputtering
    return by_material(s.yield_lco, s.yield_nca, s.yield_binder, s.yield_metal, 0.5 * (s.yield_lco + s.yield_nca))


def pixel_points(scan: Scan, jitter: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Specimen coordinates (rows, columns, 2) in um of the pixels' centres, each at its own time of the frame.

    ``jitter`` (rows, columns, 2) displaces them by fractions of a pixel along (u, v).
    """
    raster = scan.raster
    rows, columns = raster.shape
    r, c = np.mgrid[:rows, :columns].astype(float)
    u, v = c - 0.5 * (columns - 1), r - 0.5 * (rows - 1)
    if jitter is not None:
        u, v = u + jitter[..., 0], v + jitter[..., 1]
    u, v = u * raster.pixel_um + raster.centre_um[0], v * raster.pixel_um + raster.centre_um[1]
    seconds = (r * columns + c) * raster.dwell_ms * 1e-3
    along = zip(np.asarray(scan.to_specimen, dtype=float), scan.drift_um_per_s, strict=True)
    return np.stack([a[0] * u + a[1] * v + a[2] + d * seconds for a, d in along], -1)


def ion_sensitivity(
    analyser: Analyser, settings: Settings
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Counts per incident ion on a flat surface, before dead time.

    Returns
    -------
    by_code : (materials, channels), without the aluminium of the binder.
    binder_al : (channels,) per atomic fraction of aluminium in binder.
    hydrocarbon : (channels,) C2H3+ from binder.
    """
    sector, s = settings.sector, settings.sputtering
    radii_mm, voltage_v = analyser.collector_radii_mm, analyser.bias_v + analyser.extraction_v
    collected = bias_transmission(analyser.bias_v, sector)

    def passed(mass_u: float) -> NDArray[np.float64]:
        where: dict[str, Any] = {
            "voltage_v": voltage_v,
            "field_t": analyser.field_t,
            "sector": sector,
            "slit_mm": analyser.slit_mm,
        }
        return collected * np.array([accepted_fraction(mass_u, r, **where) for r in radii_mm])

    per_atom = {element: np.zeros(len(radii_mm)) for element in IONISATION_EV}
    for isotope in ISOTOPES.values():
        # useful yields count ions behind a well-placed slit of the settings' width
        before_slit = isotope.abundance * useful_yield(isotope.element, settings) / centred_fraction(sector)
        per_atom[isotope.element] += before_slit * passed(isotope.mass_u)
    yields = sputter_yields(settings)
    yields[[Material.BINDER, Material.CARBON]] *= s.binder_useful_yield_factor
    by_code = np.zeros((NUM_MATERIALS, len(radii_mm)))
    for material in Material:
        for element, fraction in atomic_fractions(material, settings.specimen).items():
            if element in per_atom:
                by_code[material] += yields[material] * fraction * per_atom[element]
    hydrocarbon = sector.hydrocarbon_on_al_per_ion * passed(C2H3_MASS_U) * float(sector.hydrocarbon_on_al)
    return by_code, yields[Material.BINDER] * per_atom["Al"], hydrocarbon


def expected_counts(
    specimen: Specimen,
    surface: Surface,
    scan: Scan,
    analyser: Analyser,
    *,
    settings: Settings,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Mean secondary ions per pixel (channel, row, column) behind the slits, before the counters.

    Every pixel is met at jittered sub-pixel points, then the maps are blurred by the beam's core and tail.
    """
    by_code, binder_al, hydrocarbon = ion_sensitivity(analyser, settings)
    raster = scan.raster
    maps = np.zeros((len(analyser.collector_radii_mm), *raster.shape))
    for i, j in np.ndindex(SUBPIXELS, SUBPIXELS):
        jitter = (np.array([i, j]) + rng.random((*raster.shape, 2))) / SUBPIXELS - 0.5
        xy = pixel_points(scan, jitter)
        view = surface.look(specimen, xy.reshape(-1, 2))
        signal = by_code[view.codes]
        binder = np.flatnonzero(view.codes == Material.BINDER)
        aluminium = specimen.binder_al_fraction(view.points_um[binder])
        signal[binder] += aluminium[:, None] * binder_al + hydrocarbon
        signal *= (view.sky * tilt_gain(view, settings))[:, None]
        maps += signal.T.reshape(maps.shape)
    maps *= scan.primaries_per_pixel / SUBPIXELS**2
    return blur_by_beam(maps, raster.pixel_um, scan.current_pa, settings)


def raster_frame(
    specimen: Specimen,
    surface: Surface,
    scan: Scan,
    analyser: Analyser,
    *,
    settings: Settings,
    rng: np.random.Generator,
) -> NDArray[np.uint32]:
    """One frame: counts (channel, row, column), and the surface lowered by what was sputtered for it."""
    ions = expected_counts(specimen, surface, scan, analyser, settings=settings, rng=rng)
    dwell_s = scan.raster.dwell_ms * 1e-3
    rate_cps = ions / dwell_s + settings.sector.dark_rate_cps
    counts = rng.poisson(observed_rate_cps(rate_cps, settings.sector.dead_time_ns) * dwell_s)
    middle = replace(scan, to_specimen=scan.half_way())
    dose_field(specimen, surface, middle, seconds=scan.raster.frame_s, settings=settings)
    return counts.astype(np.uint32)


def dose_field(specimen: Specimen, surface: Surface, scan: Scan, *, seconds: float, settings: Settings) -> float:
    """A scanning beam erodes the raster's field evenly, each material at its own rate; returns the dose in nC."""
    dose_nc = scan.current_pa * 1e-3 * seconds
    size_um = (scan.raster.fov_um, scan.raster.pixel_um * scan.raster.shape[0])
    surface.erode(specimen, scan.to_specimen, scan.raster.centre_um, size_um, dose_nc, settings)
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

"""Secondary-ion counts of a raster frame.

N = (I t / e) Y c U per pixel: ions x sputter yield x atomic fraction x useful yield (detected per sputtered atom).
Useful yields fall exponentially with the ionisation energy (Andersen and Hinthorne, Anal. Chem. 45 (1973) 1421).

Redeposition, to first order: a share of the sputtered atoms lands within a Gaussian around its origin. It is not
extracted at its origin but sputtered again where it landed, so that every atom counts at most once; atoms that land
beside the field are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

from xrm_sims.patterns import E_CHARGE_C, Floats, Raster
from xrm_sims.settings import Settings
from xrm_sims.specimen.lithium_enrichment import enriched_between_um3, is_enriched
from xrm_sims.specimen.materials import Material, atomic_fractions
from xrm_sims.twin.milling import core_sigma_um
from xrm_sims.twin.sector import (
    HYDROGEN_U,
    ISOTOPES,
    MOLECULES_U,
    OXYGEN_U,
    accepted_fraction,
    bias_transmission,
    centred_fraction,
    observed_rate_cps,
)
from xrm_sims.twin.sputtering import NUM_MATERIALS, implantation_gain, removal_rates, sputter_yields, tilt_gain
from xrm_sims.twin.surface import Specimen, Surface, View, area_scale

# First ionisation energies in eV: NIST Atomic Spectra Database.
IONISATION_EV = {
    "Li": 5.392, "Al": 5.986, "Ni": 7.640, "Co": 7.881, "Fe": 7.902, "Pt": 8.959, "C": 11.260, "O": 13.618, "F": 17.423,
}  # fmt: skip
NATURAL_LITHIUM = {name: ISOTOPES[name].abundance for name in ("6Li", "7Li")}
LITHIUM_BEARING = [Material.LCO, Material.NCA, Material.NCA_BOUNDARY, Material.PILLAR_AVERAGE]
SUBPIXELS = 2  # jittered sampling points per side of a pixel
NO_BINDER = -1.0


@dataclass(frozen=True)
class Scan:
    """A raster of the ion or the electron beam on the specimen.

    to_specimen : 2 x 3 affine, um; pixel (r, c) lies at u = (c - (C-1)/2) * pixel + centre_u, v likewise with r.
    drift_um_per_s : drift of the scan over the specimen (x, y) during a frame.
    impact_energy_kev : of ions; None for the reference energy of the settings' yields.
    """

    raster: Raster
    to_specimen: ArrayLike
    current_pa: float
    drift_um_per_s: tuple[float, float] = (0.0, 0.0)
    impact_energy_kev: float | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.current_pa) and self.current_pa >= 0):
            raise ValueError(f"current_pa: needs a current of 0 or more, got {self.current_pa}")

    @property
    def primaries_per_pixel(self) -> float:
        """Ions (or electrons) per pixel."""
        return self.raster.ions_per_pixel(self.current_pa)

    def at_mid_frame(self) -> Floats:
        """Return ``to_specimen`` in the middle of a frame."""
        drift_um = 0.5 * self.raster.frame_s * np.asarray(self.drift_um_per_s)
        return np.asarray(self.to_specimen, dtype=float) + np.outer(drift_um, (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Analyser:
    """State of the magnetic sector; without bias it collects nothing. slit_mm: None for the settings' width."""

    bias_v: float
    extraction_v: float
    field_t: float
    collector_radii_mm: Sequence[float]
    slit_mm: float | None = None


def useful_yield(element: str, settings: Settings) -> float:
    """Return the ions detected per sputtered atom of an element (all isotopes): Li 4.0e-3, Al 1.5e-3, Co 6.3e-5."""
    s = settings.sputtering
    return s.useful_yield_li * float(np.exp(-(IONISATION_EV[element] - IONISATION_EV["Li"]) / s.useful_yield_scale_ev))


def pixel_points(scan: Scan, jitter: Floats | None = None) -> Floats:
    """Return the pixels' centres in specimen coordinates (rows, columns, 2) in um, each at its time in the frame.

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
    analyser: Analyser,
    settings: Settings,
    impact_energy_kev: float | None = None,
    lithium: Mapping[str, float] = NATURAL_LITHIUM,
) -> tuple[Floats, Floats, Floats]:
    """Return counts per incident ion on a flat surface with its steady-state gallium, before dead time.

    Every isotope also forms hydride and dioxide ions, and binder emits organic molecules; the slits determine their
    interference with other masses. ``lithium`` gives the abundances of its isotopes.

    Returns
    -------
    by_code : (materials, channels), without the aluminium of the binder.
    binder_al : (channels,) per atomic fraction of aluminium in binder.
    organics : (channels,) molecules from binder, mainly C2H3+.
    """
    sector, s = settings.sector, settings.sputtering
    radii_mm, voltage_v = analyser.collector_radii_mm, analyser.bias_v + analyser.extraction_v
    collected = bias_transmission(analyser.bias_v, sector)

    accepted = partial(
        accepted_fraction, voltage_v=voltage_v, field_t=analyser.field_t, sector=sector, slit_mm=analyser.slit_mm
    )

    def passed(mass_u: float) -> Floats:
        return collected * np.array([accepted(mass_u, radius_mm) for radius_mm in radii_mm])

    per_atom = {element: np.zeros(len(radii_mm)) for element in IONISATION_EV}
    for name, isotope in ISOTOPES.items():
        # useful yields include the loss at a well-placed slit of the settings' width
        abundance = lithium.get(name, isotope.abundance)
        before_slit = abundance * useful_yield(isotope.element, settings) / centred_fraction(sector)
        arriving = passed(isotope.mass_u)
        arriving += sector.hydride_per_ion * passed(isotope.mass_u + HYDROGEN_U)
        arriving += sector.dioxide_per_ion * passed(isotope.mass_u + 2.0 * OXYGEN_U)
        per_atom[isotope.element] += before_slit * arriving
    yields = sputter_yields(settings, impact_energy_kev)
    yields[[Material.BINDER, Material.CARBON]] *= s.binder_useful_yield_factor
    by_code = np.zeros((NUM_MATERIALS, len(radii_mm)))
    for material in Material:
        for element, fraction in atomic_fractions(material, settings.specimen).items():
            if element in per_atom:
                by_code[material] += yields[material] * fraction * per_atom[element]
    organics = sector.hydrocarbon_on_al_per_ion * passed(MOLECULES_U["C2H3"]) * float(sector.hydrocarbon_on_al)
    for name in ("CHN", "C3H7O"):
        organics += sector.other_organics_per_ion * passed(MOLECULES_U[name])
    return by_code, yields[Material.BINDER] * per_atom["Al"], organics


def expected_counts(
    specimen: Specimen,
    surface: Surface,
    scan: Scan,
    analyser: Analyser,
    *,
    settings: Settings,
    rng: np.random.Generator,
) -> Floats:
    """Return mean secondary ions per pixel (channel, row, column) behind the slits, before the counters.

    Each pixel is sampled at jittered points, then the maps are blurred by the beam's core and tail.
    """
    by_code, binder_al, organics = ion_sensitivity(analyser, settings, scan.impact_energy_kev)
    if settings.specimen.enriched_um:  # a second table, for enriched lithium, after the first
        by_code = np.concatenate([by_code, _enriched_sensitivity(analyser, settings, scan.impact_energy_kev)])
    raster, lands_again = scan.raster, settings.sputtering.redeposited_fraction
    shape = (len(analyser.collector_radii_mm), *raster.shape)
    sputtered, seen, collected = np.zeros(shape), np.zeros(shape), np.zeros(raster.shape)
    for i, j in np.ndindex(SUBPIXELS, SUBPIXELS):
        jitter = (np.array([i, j]) + rng.random((*raster.shape, 2))) / SUBPIXELS - 0.5
        view = surface.look(specimen, pixel_points(scan, jitter).reshape(-1, 2))
        _add_ions(
            view.codes + np.uint8(NUM_MATERIALS) * is_enriched(view.points_um, settings.specimen),
            _binder_aluminium(specimen, view),
            _relative_emission(view, scan, settings),
            view.sky * view.cos_facet**settings.sputtering.collection_exponent,
            by_code,
            binder_al,
            organics,
            sputtered.reshape(len(sputtered), -1),
            seen.reshape(len(seen), -1),
            collected.reshape(-1),
        )
    if lands_again > 0:
        sigma_px = settings.sputtering.redeposition_um / raster.pixel_um
        again = spread(sputtered, sigma_px) * (collected / SUBPIXELS**2)
        seen = (1.0 - lands_again) * seen + lands_again * again
    seen *= scan.primaries_per_pixel / SUBPIXELS**2
    return blur_by_beam(seen, scan, settings)


def _enriched_sensitivity(analyser: Analyser, settings: Settings, impact_energy_kev: float | None) -> Floats:
    """Return counts per incident ion (materials, channels) where lithium is enriched in 6Li."""
    share = settings.specimen.enriched_6li_share
    return ion_sensitivity(analyser, settings, impact_energy_kev, {"6Li": share, "7Li": 1.0 - share})[0]


def _binder_aluminium(specimen: Specimen, view: View) -> Floats:
    """Return the atomic fraction of aluminium in binder (n,); ``NO_BINDER`` in other materials."""
    aluminium = np.full(len(view.codes), NO_BINDER)
    binder = np.flatnonzero(view.codes == Material.BINDER)
    aluminium[binder] = specimen.binder_al_fraction(view.points_um[binder])
    return aluminium


def _relative_emission(view: View, scan: Scan, settings: Settings) -> Floats:
    """Return ions (n,) relative to a flat surface in the steady state: more on tilted facets, less without gallium."""
    faster = tilt_gain(view.cos_facet, settings)
    energy_kev, raster = scan.impact_energy_kev, scan.raster
    dose_nc_per_um2 = scan.current_pa * 1e-3 * raster.frame_s / raster.area_um2 / area_scale(scan.to_specimen)
    lost_um = dose_nc_per_um2 * removal_rates(settings, energy_kev)[view.codes] * faster
    yields = sputter_yields(settings, energy_kev)[view.codes]
    return faster * implantation_gain(view.eroded_um, lost_um, yields, settings)


def spread(maps: Floats, sigma_px: float) -> Floats:
    """Blur maps (channel, row, column) by an approximate Gaussian; ions that leave the maps are lost.

    It is a sequence of three running means, whose cost does not depend on the width (Wells, IEEE Trans. PAMI 8 (1986)
    234).
    """
    width = 2 * max(0, round(0.5 * (np.sqrt(4.0 * sigma_px**2 + 1.0) - 1.0))) + 1

    def spread_one(one: Floats) -> Floats:
        for axis in (0, 1):
            for _ in range(3):
                one = uniform_filter1d(one, width, axis=axis, mode="constant")
        return np.maximum(one, 0.0)  # running sums leave rounding errors

    return _each_channel(spread_one, maps)


def raster_frame(
    specimen: Specimen,
    surface: Surface,
    scan: Scan,
    analyser: Analyser,
    *,
    settings: Settings,
    rng: np.random.Generator,
) -> NDArray[np.uint32]:
    """Return the counts of one frame (channel, row, column) and lower the surface by the sputtered depth."""
    ions = expected_counts(specimen, surface, scan, analyser, settings=settings, rng=rng)
    before_um3, before_um = surface.removed_um3.copy(), surface.heights_um.copy()
    middle = replace(scan, to_specimen=scan.at_mid_frame())
    dose_field(specimen, surface, middle, seconds=scan.raster.frame_s, settings=settings)
    removed_um3 = surface.removed_um3 - before_um3
    rich_um3 = enriched_between_um3(before_um, surface.heights_um, surface.pitch_um, settings.specimen)
    ions *= _available_share(ions, removed_um3, rich_um3, scan, analyser, settings)[:, None, None]
    dwell_s = scan.raster.dwell_ms * 1e-3
    rate_cps = ions / dwell_s + settings.sector.dark_rate_cps
    counts = rng.poisson(observed_rate_cps(rate_cps, settings.sector.dead_time_ns) * dwell_s)
    return counts.astype(np.uint32)


def _available_share(
    ions: Floats, removed_um3: Floats, rich_um3: float, scan: Scan, analyser: Analyser, settings: Settings
) -> Floats:
    """Return the share of the expected ions for which there were atoms (channels,).

    It is 1 unless the beam mills through the top material within the frame; then the removed volume limits the ions.
    Small differences come from the cells of the height map, not from a lack of atoms. ``rich_um3`` of the removed
    volume lay in spheres enriched in 6Li.
    """
    by_code, binder_al, organics = ion_sensitivity(analyser, settings, scan.impact_energy_kev)
    if settings.specimen.enriched_um:
        share = min(1.0, rich_um3 / max(removed_um3[LITHIUM_BEARING].sum(), 1e-9))
        enriched = _enriched_sensitivity(analyser, settings, scan.impact_energy_kev)
        by_code += share * np.maximum(enriched - by_code, 0.0)
    by_code[Material.NCA] = by_code[[Material.NCA, Material.NCA_BOUNDARY]].max(axis=0)  # boundaries count as NCA
    by_code[Material.BINDER] += settings.specimen.binder_al_fraction[1] * binder_al + organics
    rates = removal_rates(settings, scan.impact_energy_kev)
    spent_nc = np.divide(removed_um3, rates, out=np.zeros_like(rates), where=rates > 0)
    share = (spent_nc * 1e-9 / E_CHARGE_C) @ by_code / np.maximum(ions.sum(axis=(1, 2)), 1e-9)
    return np.where(share < 0.5, share, 1.0)


def dose_field(specimen: Specimen, surface: Surface, scan: Scan, *, seconds: float, settings: Settings) -> float:
    """Erode the raster's field evenly, each material at its own rate; return the dose in nC."""
    dose_nc = scan.current_pa * 1e-3 * seconds
    surface.erode(specimen, scan.to_specimen, scan.raster, dose_nc, settings, scan.impact_energy_kev)
    return dose_nc


def blur_by_beam(maps: Floats, scan: Scan, settings: Settings) -> Floats:
    """Blur maps (channel, row, column) by a beam with a Gaussian core and a weak, wide Gaussian tail."""
    share = settings.ion.tail_fraction
    core_px = core_sigma_um(scan.current_pa, settings, scan.impact_energy_kev) / scan.raster.pixel_um
    tail_px = settings.ion.tail_sigma_nm * 1e-3 / scan.raster.pixel_um

    def blur_one(one: Floats) -> Floats:
        core = gaussian_filter(one, core_px, mode="nearest")
        return (1.0 - share) * core + share * gaussian_filter(one, tail_px, mode="nearest")

    return _each_channel(blur_one, maps)


def _each_channel(blur: Callable[[Floats], Floats], maps: Floats) -> Floats:
    """Apply a filter to each channel of (channel, row, column), in threads (scipy's filters release the GIL)."""
    with ThreadPoolExecutor() as threads:
        return np.stack(list(threads.map(blur, maps)))


@njit(cache=True, parallel=True)
def _add_ions(  # type: ignore[no-untyped-def]
    codes, aluminium, gain, share, by_code, binder_al, organics, sputtered, seen, collected
):
    """Add one sampling point of each of n pixels to the sums.

    Parameters
    ----------
    codes : (n,) materials; aluminium : (n,) atomic fraction in binder, ``NO_BINDER`` elsewhere.
    gain : (n,) ions relative to a flat surface; share : (n,) share of them that escapes.
    by_code : (materials, channels) ions per primary; binder_al : (channels,) per fraction of aluminium in binder;
        organics : (channels,) from binder.
    sputtered, seen : (channels, n) sums of all ions and of those that escape; collected : (n,) sum of ``share``.
    """
    for p in prange(len(codes)):
        for k in range(len(sputtered)):
            ions = by_code[codes[p], k]
            if aluminium[p] >= 0.0:
                ions += aluminium[p] * binder_al[k] + organics[k]
            ions *= gain[p]
            sputtered[k, p] += ions
            seen[k, p] += ions * share[p]
        collected[p] += share[p]

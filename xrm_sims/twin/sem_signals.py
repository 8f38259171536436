"""SEM signals of the present surface: secondary-electron images and EDS maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xraylib
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from xrm_sims.feasibility import edge_kev, mapped_line
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material, attenuation_per_um, density_g_cm3, mass_fractions
from xrm_sims.twin.ions import Scan, blur_by_beam, dose_field, pixel_points
from xrm_sims.twin.sector import FWHM_PER_SIGMA
from xrm_sims.twin.sputtering import NUM_MATERIALS, by_material
from xrm_sims.twin.surface import Specimen, Surface, View


def se_image(
    specimen: Specimen,
    surface: Surface,
    scan: Scan,
    *,
    source: Literal["electron", "ion"],
    settings: Settings,
    rng: np.random.Generator,
) -> NDArray[np.uint32]:
    """Return secondary-electron counts (row, column) under the electron or the ion beam.

    Contrast comes from material, local tilt (1 / cos, which also brightens edges), crystal grain (channelling) and
    shading by walls; places far below the top are dim. An ion image erodes its field.

    Raises
    ------
    ValueError for another source.
    """
    if source not in ("electron", "ion"):
        raise ValueError(f"source: needs 'electron' or 'ion', got {source!r}")
    e, raster = settings.electrons, scan.raster
    view = _view_of_pixels(specimen, surface, scan, rng)
    signal = se_brightness(settings)[view.codes]
    signal *= np.minimum(view.cos_tilt**-e.tilt_exponent, e.tilt_gain_limit) * view.sky
    signal *= 1.0 + e.channelling * _grain_contrast(specimen, view.codes, view.points_um)
    signal *= np.exp(-(settings.specimen.top_um - view.points_um[:, 2]).clip(0.0) / e.focus_depth_um)
    image = signal.reshape(raster.shape)
    if source == "electron":
        per_primary = e.se_counts_per_electron
        image = gaussian_filter(image, e.probe_fwhm_nm * 1e-3 / FWHM_PER_SIGMA / raster.pixel_um, mode="nearest")
    else:
        per_primary = e.se_counts_per_ion
        image = blur_by_beam(image[None], scan, settings)[0]
        dose_field(specimen, surface, scan, seconds=raster.frame_s, settings=settings)
    mean = (image + e.se_dark_fraction) * per_primary * scan.primaries_per_pixel
    return rng.poisson(mean).astype(np.uint32)


def se_brightness(settings: Settings) -> NDArray[np.float64]:
    """Return the signal of a flat surface relative to LCO (materials,)."""
    e, share = settings.electrons, settings.specimen
    fractions = np.array([share.fraction_lco, share.fraction_nca, share.fraction_binder])
    average = float(fractions @ [e.se_lco, e.se_nca, e.se_binder])
    return by_material(e.se_lco, e.se_nca, e.se_binder, e.se_metal, average)


def eds_map(
    specimen: Specimen,
    surface: Surface,
    scan: Scan,
    *,
    voltage_kv: float,
    elements: Sequence[str],
    settings: Settings,
    rng: np.random.Generator,
) -> NDArray[np.uint32]:
    """Return characteristic X-ray counts (element, row, column) from mass fractions in the interaction volume.

    The volume is a lateral Gaussian and a few depths, both scaled with the Kanaya-Okayama range in LCO. Line
    intensity: fluorescence yield x (U - 1)^1.67 / A (Green and Cosslett, Proc. Phys. Soc. 78 (1961) 1206) x escape.

    Raises
    ------
    ValueError for an element without a detectable line, or without one that ``voltage_kv`` can excite.
    """
    e, raster = settings.electrons, scan.raster
    intensity = np.array([line_intensity(name, voltage_kv, settings) for name in elements])
    range_um = electron_range_um(Material.LCO, voltage_kv, settings)
    density = np.array([density_g_cm3(m, settings.specimen) for m in Material])
    weight = np.array([[mass_fractions(m, settings.specimen).get(name, 0.0) for name in elements] for m in Material])
    view = _view_of_pixels(specimen, surface, scan, rng)
    mass = np.zeros((1 + len(elements), *raster.shape))  # all elements, then each
    for depth, share in zip(e.eds_depths_per_range, e.eds_depth_weights, strict=True):
        codes = view.material_below(specimen, depth * range_um)
        per_code = share * density[:, None] * np.column_stack([np.ones(NUM_MATERIALS), weight])
        mass += per_code[codes].T.reshape(mass.shape)
    blur_px = e.eds_blur_per_range * range_um / raster.pixel_um
    mass = gaussian_filter(mass, blur_px, mode="nearest", axes=(1, 2))
    fractions = mass[1:] / np.maximum(mass[0], 1e-9)
    fractions[:, mass[0] > 1e-9] += e.eds_background
    mean = fractions * (intensity * scan.primaries_per_pixel)[:, None, None]
    return rng.poisson(mean).astype(np.uint32)


def _view_of_pixels(specimen: Specimen, surface: Surface, scan: Scan, rng: np.random.Generator) -> View:
    """Return the view of a random point in each pixel."""
    jitter = rng.random((*scan.raster.shape, 2)) - 0.5
    return surface.look(specimen, pixel_points(scan, jitter).reshape(-1, 2))


def electron_range_um(material: Material, voltage_kv: float, settings: Settings) -> float:
    """Return the Kanaya-Okayama range 0.0276 A E^1.67 / (Z^0.889 rho) um (J. Phys. D 5 (1972) 43), means by mass."""
    shares = {xraylib.SymbolToAtomicNumber(e): w for e, w in mass_fractions(material, settings.specimen).items()}
    mean_a = sum(w * xraylib.AtomicWeight(z) for z, w in shares.items())
    mean_z = sum(w * z for z, w in shares.items())
    return float(0.0276 * mean_a * voltage_kv**1.67 / (mean_z**0.889 * density_g_cm3(material, settings.specimen)))


def line_intensity(element: str, voltage_kv: float, settings: Settings) -> float:
    """Return counts per electron from the pure element, with the line and the errors of :func:`mapped_line`."""
    number, shell, line = mapped_line(settings, element, voltage_kv)
    nickel_kv = 2.0 * edge_kev(28, xraylib.K_SHELL)
    nickel = _relative_intensity(28, xraylib.K_SHELL, xraylib.KA_LINE, nickel_kv, settings)
    relative = _relative_intensity(number, shell, line, voltage_kv, settings)
    return settings.electrons.eds_counts_per_electron * relative / nickel


def _relative_intensity(number: int, shell: int, line: int, voltage_kv: float, settings: Settings) -> float:
    """Return the relative intensity of a line: generation x escape from a third of the range in LCO."""
    overvoltage = voltage_kv / edge_kev(number, shell)
    generated = xraylib.FluorYield(number, shell) * (overvoltage - 1.0) ** 1.67 / xraylib.AtomicWeight(number)
    depth_um = electron_range_um(Material.LCO, voltage_kv, settings) / 3.0
    energy_kev = xraylib.LineEnergy(number, line)
    return float(generated * np.exp(-attenuation_per_um(Material.LCO, energy_kev, settings.specimen) * depth_um))


def _grain_contrast(
    specimen: Specimen, codes: NDArray[np.uint8], points_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a contrast (n,) between -1 and 1 for each crystal (grain of NCA, particle of LCO); 0 elsewhere."""
    contrast = np.zeros(len(codes))
    crystal = np.flatnonzero((codes == Material.NCA) | (codes == Material.LCO))
    # odd multiplier of Knuth's multiplicative hash: unrelated brightnesses for neighbouring numbers
    contrast[crystal] = specimen.grain_id(points_um[crystal]) * np.uint32(2654435761) / 2.0**31 - 1.0
    return contrast

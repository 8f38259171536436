"""What the SEM sees: secondary-electron images and EDS maps of the surface as it stands."""

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
from xrm_sims.twin.surface import Specimen, Surface


def se_image(
    specimen: Specimen,
    surface: Surface,
    scan: Scan,
    *,
    source: Literal["electron", "ion"],
    settings: Settings,
    rng: np.random.Generator,
) -> NDArray[np.uint32]:
    """Secondary-electron counts (row, column) under the electron or the ion beam.

    Contrast by material, local tilt (1 / cos, which also lights up edges), crystal grain (channelling) and by what
    walls hide; what lies far below the top is dim. An ion image erodes its field.

    Raises
    ------
    ValueError for another source.
    """
    if source not in ("electron", "ion"):
        raise ValueError(f"source: needs 'electron' or 'ion', got {source!r}")
    e, raster = settings.electrons, scan.raster
    jitter = rng.random((*raster.shape, 2)) - 0.5
    xy = pixel_points(scan, jitter)
    view = surface.look(specimen, xy.reshape(-1, 2))
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
    """(materials,) signal of a flat surface relative to LCO."""
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
    """Characteristic X-ray counts (element, row, column): composition by mass, averaged over the interaction volume.

    The volume is a lateral Gaussian and a few depths, both scaled with the Kanaya-Okayama range in LCO. Line
    intensity: fluorescence yield x (U - 1)^1.67 / A (Green and Cosslett, Proc. Phys. Soc. 78 (1961) 1206) x escape.

    Raises
    ------
    ValueError for an element without a line that EDS sees, or without one that ``voltage_kv`` can excite.
    """
    e, raster = settings.electrons, scan.raster
    intensity = np.array([line_intensity(name, voltage_kv, settings) for name in elements])
    range_um = electron_range_um(Material.LCO, voltage_kv, settings)
    density = np.array([density_g_cm3(m, settings.specimen) for m in Material])
    weight = np.array([[mass_fractions(m, settings.specimen).get(name, 0.0) for name in elements] for m in Material])
    jitter = rng.random((*raster.shape, 2)) - 0.5
    xy = pixel_points(scan, jitter)
    view = surface.look(specimen, xy.reshape(-1, 2))
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


def electron_range_um(material: Material, voltage_kv: float, settings: Settings) -> float:
    """Kanaya-Okayama range 0.0276 A E^1.67 / (Z^0.889 rho) um (J. Phys. D 5 (1972) 43), means by mass."""
    shares = {xraylib.SymbolToAtomicNumber(e): w for e, w in mass_fractions(material, settings.specimen).items()}
    mean_a = sum(w * xraylib.AtomicWeight(z) for z, w in shares.items())
    mean_z = sum(w * z for z, w in shares.items())
    return float(0.0276 * mean_a * voltage_kv**1.67 / (mean_z**0.889 * density_g_cm3(material, settings.specimen)))


def line_intensity(element: str, voltage_kv: float, settings: Settings) -> float:
    """Counts per electron from the pure element: the K line where the voltage excites it, else the L line.

    Raises
    ------
    ValueError for an unknown element, one without a line that EDS sees (lithium), and a voltage that excites none.
    """
    number, shell, line = mapped_line(settings, element, voltage_kv)
    nickel = _seen(28, xraylib.K_SHELL, xraylib.KA_LINE, 2.0 * edge_kev(28, xraylib.K_SHELL), settings)
    return settings.electrons.eds_counts_per_electron * _seen(number, shell, line, voltage_kv, settings) / nickel


def _seen(number: int, shell: int, line: int, voltage_kv: float, settings: Settings) -> float:
    """Relative intensity of a line: generation x escape from a third of the range in LCO."""
    overvoltage = voltage_kv / edge_kev(number, shell)
    generated = xraylib.FluorYield(number, shell) * (overvoltage - 1.0) ** 1.67 / xraylib.AtomicWeight(number)
    depth_um = electron_range_um(Material.LCO, voltage_kv, settings) / 3.0
    energy_kev = xraylib.LineEnergy(number, line)
    return float(generated * np.exp(-attenuation_per_um(Material.LCO, energy_kev, settings.specimen) * depth_um))


def _grain_contrast(
    specimen: Specimen, codes: NDArray[np.uint8], points_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) between -1 and 1, the same over each crystal: a grain of NCA, a whole particle of LCO; 0 elsewhere."""
    contrast = np.zeros(len(codes))
    crystal = np.flatnonzero((codes == Material.NCA) | (codes == Material.LCO))
    # odd multiplier of Knuth's multiplicative hash: neighbours' numbers become unrelated brightnesses
    contrast[crystal] = specimen.grain_id(points_um[crystal]) * np.uint32(2654435761) / 2.0**31 - 1.0
    return contrast

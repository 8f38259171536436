"""Refraction in the specimen, which shows as bright and dark fringes along edges (in-line phase contrast)."""

from __future__ import annotations

import numpy as np
import xraylib
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfft2, rfft2, rfftfreq

from xrm_sims.settings import Specimen, XrayGeometry
from xrm_sims.specimen.materials import Material, density_g_cm3, mass_fractions

_HC_KEV_UM = 1.239842e-3


def wavelength_um(energy_kev: float) -> float:
    return _HC_KEV_UM / energy_kev


def defocus_um(xray: XrayGeometry) -> float:
    """Effective propagation distance in the object plane, source_object (M - 1) / M."""
    return 1e3 * xray.source_object_mm * (1 - xray.source_object_mm / xray.source_detector_mm)


def fresnel_length_um(energy_kev: float, xray: XrayGeometry) -> float:
    """Finest structure of which the fringe is still the second derivative: sqrt(wavelength times distance), 0.235 um at
    9 keV."""
    return float(np.sqrt(wavelength_um(energy_kev) * defocus_um(xray)))


def refractive_decrement(material: Material, energy_kev: float, specimen: Specimen) -> float:
    """delta of the refractive index n = 1 - delta + i beta, from the elements by mass (xraylib)."""
    density = density_g_cm3(material, specimen)
    return sum(
        share * density * (1.0 - xraylib.Refractive_Index_Re(symbol, energy_kev, 1.0))
        for symbol, share in mass_fractions(material, specimen).items()
    )


def edge_contrast(
    refraction_um: NDArray[np.float32], energy_kev: float, pitch_um: float, xray: XrayGeometry
) -> NDArray[np.float32]:
    """Relative change of intensity (rows, columns) by refraction, from path length times decrement in um.

    The transport of intensity, z times the Laplacian of the projected decrement (Teague 1983), rolled off beyond the
    Fresnel length by sin(chi) / chi with chi = pi wavelength z k², as the contrast transfer of a phase object has it
    (Guigay 1977). Both hold for weak fringes: none takes away more than all there is, or adds more than that.
    ``pitch_um`` is the pixel in the object plane.
    """
    rows, columns = refraction_um.shape
    mirrored = np.pad(refraction_um, ((0, rows), (0, columns)), mode="symmetric")
    k2 = np.add.outer(fftfreq(2 * rows, pitch_um) ** 2, rfftfreq(2 * columns, pitch_um) ** 2)
    distance_um = defocus_um(xray)
    roll_off = np.sinc(wavelength_um(energy_kev) * distance_um * k2)
    fringes = irfft2(rfft2(mirrored) * (-4 * np.pi**2 * distance_um * k2 * roll_off), mirrored.shape)
    return np.clip(fringes[:rows, :columns], -1.0, 1.0).astype(np.float32)

"""In-line phase contrast: refraction makes bright and dark fringes along edges."""

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
    """Return the effective propagation distance in the object plane, source_object (M - 1) / M."""
    return 1e3 * xray.source_object_mm * (1 - xray.source_object_mm / xray.source_detector_mm)


def refractive_decrement(material: Material, energy_kev: float, specimen: Specimen) -> float:
    """Return delta of the refractive index n = 1 - delta + i beta, from mass fractions (xraylib)."""
    density = density_g_cm3(material, specimen)
    return sum(
        share * density * (1.0 - xraylib.Refractive_Index_Re(symbol, energy_kev, 1.0))
        for symbol, share in mass_fractions(material, specimen).items()
    )


def edge_contrast(
    refraction_um: NDArray[np.float32], energy_kev: float, pitch_um: float, xray: XrayGeometry
) -> NDArray[np.float32]:
    """Return the relative change of intensity (rows, columns) by refraction, from path length times decrement in um.

    Transport of intensity, z times the Laplacian of the projected decrement (Teague 1983), reduced beyond the Fresnel
    length by sin(chi) / chi with chi = pi wavelength z k², the contrast transfer of a phase object (Guigay 1977). Both
    hold for weak fringes, so the change is limited to -1 and 1. ``pitch_um`` is the pixel in the object plane.
    """
    rows, columns = refraction_um.shape
    mirrored = np.pad(refraction_um, ((0, rows), (0, columns)), mode="symmetric")
    k2 = np.add.outer(fftfreq(2 * rows, pitch_um) ** 2, rfftfreq(2 * columns, pitch_um) ** 2)
    distance_um = defocus_um(xray)
    roll_off = np.sinc(wavelength_um(energy_kev) * distance_um * k2)
    fringes = irfft2(rfft2(mirrored) * (-4 * np.pi**2 * distance_um * k2 * roll_off), mirrored.shape)
    return np.clip(fringes[:rows, :columns], -1.0, 1.0).astype(np.float32)

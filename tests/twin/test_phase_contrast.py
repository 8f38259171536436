import numpy as np
import pytest
from scipy.fft import fft, fftfreq, ifft

from xrm_sims.settings import Settings, Specimen, XrayGeometry
from xrm_sims.specimen import Material
from xrm_sims.specimen.materials import atomic_fractions, density_g_cm3, mass_fractions
from xrm_sims.twin import phase_contrast

XRAY = XrayGeometry()


def test_fresnel_length():
    """sqrt(1.378 A * 0.4 mm * 1099 / 1100) = 235 nm at 9 keV."""
    fresnel_length_um = np.sqrt(phase_contrast.wavelength_um(9.0) * phase_contrast.defocus_um(XRAY))
    assert fresnel_length_um == pytest.approx(0.235, abs=0.001)
    assert phase_contrast.defocus_um(XRAY) == pytest.approx(400 * 1099 / 1100)


@pytest.mark.parametrize("material", [Material.LCO, Material.CARBON, Material.DEPOSIT])
def test_decrement_is_that_of_the_electrons(material):
    """Far from edges delta = r_e wavelength² electrons / 2 pi; within a few percent of it elsewhere."""
    numbers = {"Li": 3, "Co": 27, "O": 8, "C": 6, "Pt": 78}
    weights = {"Li": 6.94, "Co": 58.933, "O": 15.999, "C": 12.011, "Pt": 195.084}
    assert atomic_fractions(material).keys() <= numbers.keys()
    per_um3 = density_g_cm3(material) * 1e-12 * 6.02214e23
    electrons = per_um3 * sum(share * numbers[e] / weights[e] for e, share in mass_fractions(material).items())
    expected = 2.81794e-9 * phase_contrast.wavelength_um(20.0) ** 2 * electrons / (2 * np.pi)
    assert phase_contrast.refractive_decrement(material, 20.0, Specimen()) == pytest.approx(expected, rel=0.04)
    assert phase_contrast.refractive_decrement(Material.VACUUM, 9.0, Specimen()) == 0.0


def _propagated(refraction_um, energy_kev, pitch_um):
    """Intensity behind a phase object (n,), by the Fresnel integral."""
    wavelength_um = phase_contrast.wavelength_um(energy_kev)
    wave = np.exp(-2j * np.pi / wavelength_um * refraction_um)
    k = fftfreq(len(refraction_um), pitch_um)
    return np.abs(ifft(fft(wave) * np.exp(-1j * np.pi * wavelength_um * phase_contrast.defocus_um(XRAY) * k**2))) ** 2


@pytest.mark.parametrize("width_um", [0.15, 0.3, 0.6])
def test_fringes_of_a_weak_object_are_those_of_wave_optics(width_um):
    """A smooth ridge, finer and coarser than the Fresnel length."""
    x_um = (np.arange(512) - 256) * 0.05
    refraction_um = 1e-6 * np.exp(-(x_um**2) / (2 * width_um**2))
    expected = _propagated(refraction_um, 9.0, 0.05) - 1
    found = phase_contrast.edge_contrast(np.tile(refraction_um, (4, 1)).astype(np.float32), 9.0, 0.05, XRAY)
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


def test_coarse_structure_shows_its_second_derivative():
    """Transport of intensity: 1 + z d²/dx² of the projected decrement."""
    x_um = (np.arange(512) - 256) * 0.05
    ridge = np.exp(-(x_um**2) / (2 * 1.5**2))
    second = ridge * (x_um**2 / 1.5**4 - 1 / 1.5**2)
    found = phase_contrast.edge_contrast(np.tile(1e-5 * ridge, (4, 1)).astype(np.float32), 9.0, 0.05, XRAY)
    assert found == pytest.approx(np.tile(1e-5 * second * phase_contrast.defocus_um(XRAY), (4, 1)), abs=1e-5)


def test_what_is_flat_shows_nothing_and_light_is_only_moved():
    assert np.abs(phase_contrast.edge_contrast(np.full((32, 64), 1e-4, np.float32), 9.0, 0.05, XRAY)).max() < 1e-6
    bumps = 1e-5 * np.random.default_rng(1).random((32, 64)).astype(np.float32)
    assert phase_contrast.edge_contrast(bumps, 9.0, 0.05, XRAY).mean() == pytest.approx(0, abs=1e-6)


def test_it_is_off_unless_asked_for():
    assert Settings().xray.edge_enhancement is False

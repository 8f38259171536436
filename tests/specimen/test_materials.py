import numpy as np
import pytest

from xrm_sims.specimen.materials import (
    Material,
    atomic_fractions,
    atoms_per_um3,
    attenuation_per_um,
    density_g_cm3,
    mass_fractions,
)


@pytest.mark.parametrize(
    ("energy_kev", "lco_per_cm", "nca_per_cm"), [(7.50, 178, 186), (8.05, 992, 274), (8.40, 893, 895), (9.67, 622, 628)]
)
def test_attenuation_of_the_active_materials(energy_kev, lco_per_cm, nca_per_cm):
    """Tabulated mass attenuation; between the K edges of Co and Ni the two materials split."""
    assert attenuation_per_um(Material.LCO, energy_kev) * 1e4 == pytest.approx(lco_per_cm, rel=0.01)
    assert attenuation_per_um(Material.NCA, energy_kev) * 1e4 == pytest.approx(nca_per_cm, rel=0.01)


# Mass attenuation in cm2/g at 8, 10 and 15 keV as published: Hubbell and Seltzer, NIST Standard Reference Database 126.
PUBLISHED = {
    "Fe": (305.6, 170.6, 57.08),
    "Co": (324.8, 184.1, 62.01),
    "Ni": (49.52, 209.0, 70.81),
    "Al": (50.33, 26.23, 7.955),
    "O": (11.63, 5.952, 1.836),
    "C": (4.576, 2.373, 0.8071),
}
# Shares of the mass from standard atomic weights; lithium adds less than 0.1 %.
SHARES = {
    Material.STEEL: {"Fe": 1.0},
    Material.CARBON: {"C": 1.0},
    Material.LCO: {"Co": 58.933 / 97.871, "O": 31.998 / 97.871},
    Material.NCA: {"Ni": 46.955 / 96.082, "Co": 8.840 / 96.082, "Al": 1.349 / 96.082, "O": 31.998 / 96.082},
}


@pytest.mark.parametrize("material", list(SHARES), ids=lambda m: m.name)
def test_attenuation_is_the_published_one_at_three_energies(material):
    """8 keV lies between the K edges of Co and Ni, 10 and 15 keV above both."""
    published = density_g_cm3(material) * sum(w * np.array(PUBLISHED[e]) for e, w in SHARES[material].items())
    assert attenuation_per_um(material, [8.0, 10.0, 15.0]) * 1e4 == pytest.approx(published, rel=2e-3)


def test_attenuation_keeps_the_shape_of_the_energies():
    energies = np.linspace(5, 20, 6).reshape(2, 3)
    assert attenuation_per_um(Material.STEEL, energies).shape == (2, 3)
    assert not attenuation_per_um(Material.VACUUM, energies).any()


@pytest.mark.parametrize("material", [m for m in Material if m is not Material.VACUUM])
def test_fractions_sum_to_one(material):
    assert sum(mass_fractions(material).values()) == pytest.approx(1)
    assert sum(atomic_fractions(material).values()) == pytest.approx(1)
    assert density_g_cm3(material) > 0


def test_the_average_holds_the_atoms_of_its_parts():
    shares = {Material.LCO: 0.31, Material.NCA: 0.31, Material.BINDER: 0.13}
    parts = sum(share * atoms_per_um3(m) for m, share in shares.items())
    assert atoms_per_um3(Material.PILLAR_AVERAGE) == pytest.approx(parts, rel=1e-9)


def test_lco_number_density():
    """4 atoms of 97.87 g/mol at 5.05 g/cm3."""
    assert atoms_per_um3(Material.LCO) == pytest.approx(4 * 5.05e-12 / 97.87 * 6.022e23, rel=1e-3)

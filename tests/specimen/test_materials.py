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

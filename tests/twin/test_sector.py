import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrm_sims.settings import Settings
from xrm_sims.twin import sector

SETTINGS = Settings()
VOLTAGE_V = SETTINGS.sector.bias_v + SETTINGS.sector.extraction_v
FIELD_T = SETTINGS.sector.field_t


def accepted(mass_u, radius_mm, **kwargs):
    return sector.accepted_fraction(
        mass_u, radius_mm, voltage_v=VOLTAGE_V, field_t=FIELD_T, sector=SETTINGS.sector, **kwargs
    )


@pytest.mark.parametrize(
    ("isotope", "radius_mm"), [("6Li", 38.68), ("7Li", 41.77), ("27Al", 81.92), ("58Ni", 120.05), ("59Co", 121.07)]
)
def test_radii_at_3_kv_and_half_a_tesla(isotope, radius_mm):
    assert sector.collector_radii([isotope], SETTINGS)[0] == pytest.approx(radius_mm, abs=0.01)


def test_nickel_and_cobalt_stand_1_46_mm_apart_on_the_focal_plane():
    nickel, cobalt = sector.collector_radii(["58Ni", "59Co"], SETTINGS)
    assert sector.focal_position_mm(cobalt) - sector.focal_position_mm(nickel) == pytest.approx(1.46, abs=0.01)


@given(mass_u=st.floats(1, 400), voltage_v=st.floats(10, 10000), field_t=st.floats(0.05, 1.5))
def test_mass_and_radius_are_inverse(mass_u, voltage_v, field_t):
    radius_mm = sector.radius_for(mass_u, voltage_v, field_t)
    assert sector.mass_at(radius_mm, voltage_v, field_t) == pytest.approx(mass_u, rel=1e-9)


def test_resolving_power_of_450_by_scanning_a_narrow_slit_over_cobalt():
    mass_u = sector.ISOTOPES["59Co"].mass_u
    radii = np.linspace(120.5, 121.6, 4001)
    peak = np.array([accepted(mass_u, radius, slit_mm=1e-3) for radius in radii])
    masses = np.array([sector.mass_at(radius, VOLTAGE_V, FIELD_T) for radius in radii])
    inside = masses[peak >= 0.5 * peak.max()]
    assert mass_u / (inside[-1] - inside[0]) == pytest.approx(450, rel=0.02)


def test_neighbours_stay_out_and_nothing_arrives_between_masses():
    _, aluminium, nickel, cobalt = sector.collector_radii(SETTINGS.sector.channels, SETTINGS)
    assert accepted(sector.ISOTOPES["58Ni"].mass_u, cobalt) < 1e-9
    between = 0.5 * (nickel + cobalt)
    assert max(accepted(isotope.mass_u, between) for isotope in sector.ISOTOPES.values()) < 1e-4
    assert accepted(sector.ISOTOPES["27Al"].mass_u, aluminium) == pytest.approx(
        sector.centred_fraction(SETTINGS.sector), rel=1e-3
    )


def test_about_a_third_of_the_hydrocarbon_enters_the_aluminium_slit():
    aluminium_mm = sector.collector_radii(["27Al"], SETTINGS)[0]
    assert accepted(sector.MOLECULES_U["C2H3"], aluminium_mm) == pytest.approx(1 / 3, abs=0.04)


def test_abundances():
    isotopes = sector.ISOTOPES
    assert isotopes["6Li"].abundance / isotopes["7Li"].abundance == pytest.approx(0.0821, abs=1e-4)
    assert isotopes["58Ni"].abundance == 0.6808
    assert isotopes["58Fe"].abundance == 0.0028
    for element in {isotope.element for isotope in isotopes.values()}:
        total = sum(isotope.abundance for isotope in isotopes.values() if isotope.element == element)
        assert 0.99 <= total <= 1.0 + 1e-9


def test_dead_time_is_monotone_and_saturates():
    rates = np.geomspace(1, 1e12, 200)
    seen = sector.observed_rate_cps(rates, 25.0)
    assert (np.diff(seen) > 0).all()
    assert (seen <= rates).all()
    assert seen[-1] == pytest.approx(4e7, rel=1e-3)
    assert sector.observed_rate_cps(np.array([1e6]), 25.0)[0] == pytest.approx(1e6 / 1.025)


def test_no_ions_without_stage_bias():
    assert sector.bias_transmission(0.0, SETTINGS.sector) == 0.0
    assert sector.bias_transmission(500.0, SETTINGS.sector) == 1.0


@pytest.mark.parametrize(("mass_u", "voltage_v", "field_t"), [(-1, 3000, 0.5), (7, 0, 0.5), (7, 3000, float("nan"))])
def test_refused(mass_u, voltage_v, field_t):
    with pytest.raises(ValueError, match="needs a positive number"):
        sector.radius_for(mass_u, voltage_v, field_t)


def test_unknown_isotope_is_named():
    with pytest.raises(ValueError, match="8Li"):
        sector.collector_radii(["8Li"], SETTINGS)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material
from xrm_sims.twin.milling import core_sigma_um
from xrm_sims.twin.sputtering import (
    energy_gain,
    implantation_gain,
    relative_yield,
    removal_rates,
    sputter_yields,
    tilt_gain,
)

SETTINGS = Settings()
SOLID = [m for m in Material if m is not Material.VACUUM]


@pytest.mark.parametrize(
    ("target", "measured"),
    [
        ((29, 63.546, 3.49), {0.2: 1.1, 0.6: 2.3, 1.0: 3.2, 2.0: 4.3, 5.0: 5.5, 10.0: 6.6}),
        ((14, 28.086, 4.63), {0.2: 0.2, 0.6: 0.5, 1.0: 0.6, 2.0: 0.9, 5.0: 1.4}),
    ],
    ids=["Ar on Cu", "Ar on Si"],
)
def test_energy_dependence_is_that_of_measured_yields(target, measured):
    """Yields of argon from handbooks, relative to 1 keV; they scatter by about 20 %."""
    here = {e: relative_yield(e, 18, 39.948, *target) for e in measured}
    for energy_kev, wanted in measured.items():
        assert here[energy_kev] / here[1.0] == pytest.approx(wanted / measured[1.0], rel=0.22)


def test_the_tables_hold_at_the_reference_energy():
    at = SETTINGS.sputtering.reference_kev
    assert energy_gain(SETTINGS, at) == pytest.approx(1.0)
    assert sputter_yields(SETTINGS, at)[Material.LCO] == pytest.approx(2.9)
    assert removal_rates(SETTINGS, at)[Material.NCA] == pytest.approx(0.150)
    assert removal_rates(SETTINGS) == pytest.approx(removal_rates(SETTINGS, at))


@given(low=st.floats(1.0, 29.0), step=st.floats(0.5, 10.0))
def test_slower_ions_sputter_less(low, step):
    slow, fast = (energy_gain(SETTINGS, e)[SOLID] for e in (low, low + step))
    assert (slow < fast).all()
    assert removal_rates(SETTINGS, low)[Material.VACUUM] == 0


def test_below_the_threshold_nothing_leaves():
    assert (energy_gain(SETTINGS, 0.02)[SOLID] == 0).all()
    with pytest.raises(ValueError, match="impact_energy_kev: needs an energy above 0"):
        energy_gain(SETTINGS, -1.0)


def test_tilt_raises_yields_three_to_six_times_near_75_to_80_degrees():
    angles = np.arange(0.0, 89.5, 0.5)
    gain = tilt_gain(np.cos(np.radians(angles)), SETTINGS)
    assert gain[0] == 1.0
    assert 75.0 <= angles[gain.argmax()] <= 80.0
    assert 3.0 <= gain.max() <= 6.0
    assert gain[-1] < 1e-3


def test_gallium_settles_within_its_range():
    depth_um = np.array([0.0, 0.014, 0.1])
    tiny, lco = np.full(3, 1e-8), np.full(3, 2.9)
    gain = implantation_gain(depth_um, tiny, lco, SETTINGS)
    missing = SETTINGS.sputtering.gallium_on_ion_yield / 3.9
    assert gain == pytest.approx(1 + missing * np.array([1.0, np.exp(-1.0), np.exp(-0.1 / 0.014)]))


@given(start=st.floats(0.0, 0.1), lost=st.floats(1e-6, 0.5))
def test_a_frame_sees_the_mean_over_what_it_erodes(start, lost):
    fine = start + lost * (np.arange(20000) + 0.5) / 20000
    dense = implantation_gain(fine, np.full(fine.shape, 1e-9), np.full(fine.shape, 2.9), SETTINGS).mean()
    one = implantation_gain(np.array([start]), np.array([lost]), np.array([2.9]), SETTINGS)[0]
    assert one == pytest.approx(dense, abs=1e-5)


def test_probe_grows_with_current_and_with_falling_energy():
    fwhm_nm = 1e3 * 2.3548 * core_sigma_um(50.0, SETTINGS)
    assert fwhm_nm == pytest.approx(20.0, rel=1e-3)
    widths = [core_sigma_um(current, SETTINGS) for current in (1.5, 50.0, 1000.0, 65000.0)]
    assert (np.diff(widths) > 0).all()
    assert core_sigma_um(50.0, SETTINGS, 5.0) > core_sigma_um(50.0, SETTINGS, 29.5) == core_sigma_um(50.0, SETTINGS)

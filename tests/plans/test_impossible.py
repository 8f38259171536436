"""Physically impossible requests are refused with the reason, and nothing changes."""

import pytest

from plans import eds_map, mill, preflight, se_image, sims_raster, tomography
from xrm_sims.patterns import Rectangle

QUICK = {"num": 2, "step_deg": 1.0, "exposure_s": 1.0, "binning": 4}
SMALL = {"fov_um": 10.0, "shape": (8, 8)}


def narrow_probe(scope):
    """Narrow probes are allowed as long as no X-rays are needed."""
    scope.mode.set("sem").wait(10)
    scope.beam.probe_nm.set(10.0).wait(10)


def high_threshold(scope):
    scope.mode.set("sem").wait(10)
    scope.beam.voltage_kv.set(12.0).wait(10)
    scope.widepix.threshold_kev.set(30.0).wait(10)


def nothing(scope):
    pass


IMPOSSIBLE = [
    (
        narrow_probe,
        tomography,
        QUICK,
        r"400 nA at 30 kV bring 12 mW into a probe of 10 nm, and W melts there above 6\.3",
    ),
    (narrow_probe, tomography, {**QUICK, "target": "Cr"}, r"Cr melts there above 2\.1 mW; lower the current"),
    (high_threshold, tomography, QUICK, "30 keV lies above the end of the spectrum, electrons of 30 kV make no photon"),
    (
        nothing,
        sims_raster,
        {**SMALL, "fov_um": 300.0},
        "reaches 300 um across the scan centre, the scan field is 200 um",
    ),
    (nothing, sims_raster, {**SMALL, "centre_um": (98.0, 0.0)}, "reaches 206 um across the scan centre"),
    (nothing, mill, {"pattern": Rectangle((300.0, 5.0), 1.0)}, "reaches 300 um across the scan centre"),
    (nothing, se_image, {**SMALL, "fov_um": 600.0}, "reaches 600 um across the scan centre, the field is 500 um"),
    (
        nothing,
        sims_raster,
        {**SMALL, "channels": ("7Li", "27Al", 27.4, "59Co")},
        r"masses 26\.9\d* and 27\.4 u: are 0\.\d+ mm apart .* two collectors need 1 mm",
    ),
    (
        nothing,
        sims_raster,
        {**SMALL, "channels": ("7Li", "27Al", "59Co", 90.0)},
        "mass 90 u: has radius .* the collectors reach 30 to 130 mm",
    ),
    (
        nothing,
        eds_map,
        {**SMALL, "elements": ("Ni", "Li")},
        "Li cannot be mapped by EDS, it has no characteristic line",
    ),
    (nothing, eds_map, {**SMALL, "elements": ("Zz",)}, "'Zz' is not an element"),
    (nothing, eds_map, {**SMALL, "elements": ("U",)}, r"15 kV excites no line of U, it needs 20\.6 kV"),
]


@pytest.mark.parametrize(("prepare", "plan", "arguments", "sentence"), IMPOSSIBLE)
def test_the_impossible_is_refused_before_anything_moves(
    scope, RE, run, twin, state, prepare, plan, arguments, sentence
):
    prepare(scope)
    before, time_s = state(), twin.instrument.get("time_s")
    flight = preflight(scope, plan, **arguments)
    assert not flight.ok
    with pytest.raises(ValueError, match=sentence) as refused:
        RE(plan(scope, **arguments))
    assert flight.problems == (str(refused.value),)
    assert "\n" not in str(refused.value)
    assert state() == before
    assert twin.instrument.get("time_s") == time_s
    assert run.documents == []


def test_slow_electrons_make_no_x_rays(scope, twin):
    """Moves by hand are refused as well, also with the beam blanked."""
    with pytest.raises(ValueError, match="8 kV make next to no photons above a detector's threshold; X-rays need"):
        scope.beam.voltage_kv.set(8.0).wait(10)
    assert twin.beam.get("voltage_kv") == 30.0
    scope.mode.set("sem").wait(10)
    scope.beam.voltage_kv.set(8.0).wait(10)
    assert twin.beam.get("voltage_kv") == 8.0

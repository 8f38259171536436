"""X-ray frames through the drivers: impossible settings are refused, and drift follows its path."""

import numpy as np
import pytest

from tests.twin.conftest import DEFAULTS, for_xrays, small
from xrm_sims.twin import Microscope
from xrm_sims.twin.motion import SourceDrift

STEADY = {"motion": DEFAULTS.motion.model_copy(update={"drift_nm_per_h": 0.0, "thermal_drift_um": 0.0})}


def test_a_threshold_above_the_spectrum_is_refused(scope):
    with pytest.raises(
        ValueError, match=r"30 keV lies above the end of the spectrum, electrons of 30 kV make no photon"
    ):
        scope.widepix.put("threshold_kev", 30.0)
    scope.widepix.put("threshold_kev", 20.0)
    with pytest.raises(ValueError, match=r"20 keV lies above the end of the spectrum, electrons of 15 kV"):
        scope.beam.put("voltage_kv", 15.0)
    assert scope.beam.get("voltage_kv") == 30.0


def test_in_other_modes_the_voltage_is_free_but_no_frame_is_taken_without_photons(scope):
    scope.instrument.put("mode", "sem")
    scope.beam.put("voltage_kv", 3.0)
    scope.instrument.put("mode", "xray")
    for_xrays(scope)
    with pytest.raises(ValueError, match=r"3 kV make next to no photons above a detector's threshold"):
        scope.widepix.expose()


def test_a_beam_that_would_melt_the_target_is_refused(scope):
    """12 mW into 10 nm are 1.2 W/um; tungsten melts at pi/2 * 118 W/mK * 3400 K = 0.63 W/um."""
    with pytest.raises(
        ValueError, match=r"400 nA at 30 kV bring 12 mW into a probe of 10 nm, and W melts there above 6\.3 mW; lower"
    ):
        scope.beam.put("probe_nm", 10.0)
    scope.beam.put("current_na", 200.0)
    scope.beam.put("probe_nm", 10.0)
    with pytest.raises(ValueError, match="lower the current to 210 nA or widen the probe"):
        scope.beam.put("current_na", 400.0)
    scope.target.put("material", "Cr")
    with pytest.raises(ValueError, match=r"Cr melts there above 2\.1 mW"):
        scope.beam.put("blanked", False)
    scope.beam.put("blanked", True)


def test_an_exposure_that_no_counter_holds_is_refused(scope):
    for_xrays(scope)
    scope.widepix.put("counter_depth_bits", 12)
    with pytest.raises(
        ValueError, match=r"would bring 9\d,\d+ counts to a pixel, and its 12-bit counter ends at 4,095"
    ):
        scope.widepix.expose()
    scope.widepix.put("exposure_s", 1.0)
    assert scope.widepix.expose().counts.max() <= 4095
    scope.beam.put("blanked", True)
    scope.widepix.put("exposure_s", 3600.0)
    scope.widepix.expose()  # a dark overflows nothing


def test_a_wider_probe_blurs_more(tmp_path, pillar):
    with Microscope(tmp_path, settings=DEFAULTS, specimen=pillar) as scope:
        for_xrays(scope)
        steepest = []
        for probe_nm in (90.0, 400.0, 1000.0):
            scope.beam.put("probe_nm", probe_nm)
            edge = np.median(scope.widepix.expose().counts[20:200, 20:250], axis=0)
            steepest.append(np.max(edge[:-5] - edge[5:]))
    assert steepest[0] > 1.1 * steepest[1] > 1.2 * steepest[2]


def test_two_pixels_count_some_photons_both(tmp_path, pillar):
    """Open beam, full format: the correlation of neighbours is the share of photons counted twice."""
    with Microscope(tmp_path, settings=DEFAULTS.model_copy(update=STEADY), specimen=pillar) as scope:
        for_xrays(scope)
        scope.stage.put("z_um", -30.0)
        first, second = (scope.widepix.expose().counts.astype(float)[:, 2:250] for _ in range(2))
        paired = scope._simulator.xray.crosstalk().paired
    z = (first - second) / np.sqrt(np.maximum(first + second, 1))
    assert (z**2).mean() == pytest.approx(1, abs=5 * np.sqrt(2 / z.size))
    assert 0.01 < paired < 0.04
    assert np.mean(z[:, 1:] * z[:, :-1]) == pytest.approx(paired, abs=5 / np.sqrt(z.size))


def test_as_long_as_nothing_changes_the_drift_is_the_seeds_own(scope):
    own = SourceDrift(DEFAULTS.motion, 1)
    for_xrays(scope)
    scope.rotation.put("angle_deg", 40.0)
    for time_s in (0.0, 1e4, 1e5):
        assert np.array_equal(scope.truth().source_drift_um(time_s), own.at(time_s))


def test_changes_of_mode_and_target_warm_the_instrument(tmp_path, pillar):
    own, hour_s = SourceDrift(DEFAULTS.motion, 1), 3600.0
    with Microscope(tmp_path, settings=small(), specimen=pillar) as scope:
        scope.instrument.put("mode", "sem")
        changed_s = scope.instrument.get("time_s")
        scope.instrument.put("mode", "sem")  # it is there already
        after = [scope.truth().source_drift_um(changed_s + t) - own.at(changed_s + t) for t in (0, 0.5 * hour_s, 9e4)]
        assert np.linalg.norm(after, axis=1) == pytest.approx([0.0, 0.1 * (1 - np.exp(-1)), 0.1])
        scope.instrument.put("mode", "xray")
        scope.target.put("material", "Cu")
        times_s = np.arange(0.0, 2e4, 50.0)
        path = [scope.truth().source_drift_um(t) for t in times_s]
    assert len({tuple(np.round(p - own.at(t), 9)) for p, t in zip(path, times_s, strict=True)}) > 300
    with Microscope(tmp_path, settings=small(), specimen=pillar) as scope:
        assert np.array_equal([scope.truth().source_drift_um(t) for t in times_s], path)


def test_a_fresh_spot_of_the_target_is_as_good_as_new_and_the_same_spot_is_not(tmp_path, pillar):
    worn = small(source=DEFAULTS.source.model_copy(update={"wear_per_c": 2000.0}))
    with Microscope(tmp_path, settings=worn, specimen=pillar) as scope:
        for_xrays(scope)
        fresh, used = (scope.widepix.expose().counts.sum(dtype=float) for _ in range(2))
        scope.beam.put("position_y_um", 0.0)
        again = scope.widepix.expose().counts.sum(dtype=float)
        scope.beam.put("position_y_um", 1.0)
        moved = scope.widepix.expose().counts.sum(dtype=float)
    assert used / fresh == pytest.approx(np.exp(-2000.0 * 400e-9 * 90.0), rel=0.01)
    assert again < used
    assert moved / fresh == pytest.approx(1, abs=0.02)

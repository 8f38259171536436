"""The instrument through its drivers: modes, limits, exposures, rasters, images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.twin.conftest import DEFAULTS, for_sims, for_xrays, small
from xrm_sims.geometry import apply_affine
from xrm_sims.twin import Microscope
from xrm_sims.twin.driver import Quantity

STEADY = small(
    motion=DEFAULTS.motion.model_copy(update={"drift_nm_per_h": 0.0, "thermal_drift_um": 0.0}),
    electron=DEFAULTS.electron.model_copy(update={"current_decay_per_h": 0.0}),
)


QUANTITIES = {
    "instrument": "mode time_s specimen chamber_pressure_pa",
    "beam": "voltage_kv current_na measured_current_na blanked probe_nm position_y_um position_z_um",
    "target": "x_um y_um z_um material",
    "stage": "x_um y_um z_um tilt_deg bias_v",
    "rotation": "angle_deg",
    "widepix": "exposure_s threshold_kev counter_depth_bits binning rows columns",
    "fib": "voltage_kv current_pa blanked fov_um rows columns dwell_ms centre_u_um centre_v_um dose_nc",
    "sector": "field_t extraction_v slit_mm "
    + " ".join(f"collector_{n}_{q}" for n in (1, 2, 3, 4) for q in ("radius_mm", "dead_time_ns", "dark_rate_cps")),
    "se": "source fov_um rows columns dwell_us centre_u_um centre_v_um",
    "eds": "elements fov_um rows columns dwell_ms centre_u_um centre_v_um",
}


@pytest.mark.parametrize("device", QUANTITIES)
def test_every_quantity_of_the_driver_protocol_exists_as_a_plain_value(scope, device):
    driver = getattr(scope, device)
    for name in QUANTITIES[device].split():
        assert type(driver.get(name)) in (float, int, str, bool), name


def test_an_instrument_starts_safe(scope):
    assert scope.beam.get("blanked") is True
    assert scope.fib.get("blanked") is True
    assert scope.stage.get("bias_v") == 0.0
    assert scope.target.get("x_um") == DEFAULTS.target.park_x_um


@pytest.mark.parametrize(
    ("device", "name", "value", "sentence"),
    [
        ("beam", "current_na", 900.0, r"beam\.current_na: needs 0\.001 to 500 nA, got 900"),
        ("beam", "current_na", float("nan"), r"beam\.current_na: needs a finite number of nA, got nan"),
        ("beam", "blanked", "yes", r"beam\.blanked: needs True or False, got 'yes'"),
        ("beam", "measured_current_na", 1.0, r"beam\.measured_current_na: can only be read"),
        ("beam", "brightness", 1.0, r"beam: has no quantity 'brightness'; it has blanked, current_na, "),
        ("stage", "z_um", -201, r"stage\.z_um: needs -200 to 200 um, got -201"),
        ("stage", "z_um", "up", r"stage\.z_um: needs a finite number of um, got 'up'"),
        ("rotation", "angle_deg", 10**400, r"rotation\.angle_deg: needs a finite number of deg"),
        ("target", "material", "Mo", r"target\.material: needs one of W, Cu, Cr, got 'Mo'"),
        ("widepix", "exposure_s", -1.0, r"widepix\.exposure_s: needs 0\.001 to 3600 s, got -1"),
        ("widepix", "binning", 3, r"widepix\.binning: needs one of 1, 2, 4, 8, got 3"),
        ("fib", "rows", 2.5, r"fib\.rows: needs a whole number, got 2\.5"),
        ("fib", "fov_um", 300.0, r"fib\.fov_um: needs 0\.1 to 200 um, got 300"),
        ("sector", "collector_4_radius_mm", 120.5, r"closer than 1 mm to collector 3 at 120\.0\d+ mm"),
        ("se", "source", "photon", r"se\.source: needs one of electron, ion, got 'photon'"),
        ("eds", "elements", "Ni,Li", r"Li"),
        ("eds", "elements", " , ", r"eds\.elements: needs element symbols"),
        ("instrument", "mode", "tem", r"instrument\.mode: needs one of xray, sem, fib, transfer, got 'tem'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_and_nothing_moves(scope, device, name, value, sentence):
    driver = getattr(scope, device)
    before = dict(driver.values)
    with pytest.raises(ValueError, match=sentence) as refusal:
        driver.put(name, value)
    assert "\n" not in str(refusal.value)
    assert driver.values == before
    assert scope.instrument.get("time_s") == 0.0


ANYTHING = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(10**300, 10**400),
    st.booleans(),
    st.text(),
    st.none(),
    st.lists(st.floats()),
)


@given(ANYTHING)
def test_any_value_is_accepted_within_limits_or_refused_in_one_sentence(value):
    for quantity in (
        Quantity(1.0, "s", (0.0, 10.0)),
        Quantity(2, "", (2, 9)),
        Quantity(1, choices=(1, 2, 4)),
        Quantity("W", choices=("W", "Cu")),
        Quantity("text"),
        Quantity(True),
    ):
        try:
            accepted = quantity.accept("device.quantity", value)
        except ValueError as refusal:
            sentence = str(refusal)
        else:
            sentence = "device.quantity: needs nothing more"
            assert type(accepted) is type(quantity.initial)
            assert accepted == value
            assert not isinstance(accepted, float) or 0.0 <= accepted <= 10.0
            assert not quantity.choices or accepted in quantity.choices
        assert sentence.startswith("device.quantity: needs ")
        assert "\n" not in sentence


def test_numpy_scalars_are_taken_as_plain_values(scope):
    scope.fib.put("rows", np.int64(64))
    scope.stage.put("z_um", np.float32(1.5))
    scope.beam.put("blanked", np.bool_(False))
    assert (scope.fib.get("rows"), scope.stage.get("z_um"), scope.beam.get("blanked")) == (64, 1.5, False)


def test_commands_belong_to_their_modes(scope):
    with pytest.raises(ValueError, match='milling needs mode "fib", it is in "xray"'):
        scope.fib.mill_pass({"kind": "rectangle", "size_um": [5, 5], "depth_um": 0.2})
    with pytest.raises(ValueError, match='a SIMS raster needs mode "fib", it is in "xray"'):
        scope.sector.raster_frame()
    with pytest.raises(ValueError, match='an SE image needs mode "sem"'):
        scope.se.image()
    with pytest.raises(ValueError, match='an EDS map needs mode "sem"'):
        scope.eds.image()
    scope.instrument.put("mode", "fib")
    with pytest.raises(ValueError, match='an exposure needs mode "xray", it is in "fib"'):
        scope.widepix.expose()


def test_sims_is_refused_without_bias_with_a_tilted_stage_or_beyond_the_scan_field(scope):
    scope.instrument.put("mode", "fib")
    with pytest.raises(ValueError, match=r"stage\.bias_v: a SIMS raster needs at least 100 V .* it is at 0 V"):
        scope.sector.raster_frame()
    scope.stage.put("bias_v", 500.0)
    scope.stage.put("tilt_deg", 10.0)
    with pytest.raises(ValueError, match=r"stage: a SIMS raster needs tilt_deg 0, it is at 10 deg"):
        scope.sector.raster_frame()
    scope.stage.put("tilt_deg", 0.0)
    scope.fib.put("centre_u_um", 95.0)
    with pytest.raises(ValueError, match="the scan field is 200 um"):
        scope.sector.raster_frame()
    assert scope.fib.get("dose_nc") == 0.0


def test_time_passes_by_moves_exposures_and_scans(scope):
    scope.stage.put("z_um", -30.0)
    assert scope.instrument.get("time_s") == pytest.approx(30.0 / DEFAULTS.stage.speed_um_per_s)
    before = scope.instrument.get("time_s")
    scope.widepix.put("exposure_s", 90.0)
    frame = scope.widepix.expose()
    assert (frame.started_s, frame.stopped_s) == (before, before + 90.0)
    for_sims(scope)
    before = scope.instrument.get("time_s")
    frame = scope.sector.raster_frame()
    assert frame.stopped_s - before == pytest.approx(32 * 32 * 0.55e-3)


def test_open_beam_has_the_flux_of_the_paper(tmp_path, pillar):
    """1,453 counts per 90 s and 55 um pixel; here pixels are eight times wider."""
    with Microscope(tmp_path, settings=STEADY, specimen=pillar) as scope:
        for_xrays(scope)
        scope.stage.put("z_um", -30.0)
        counts = scope.widepix.expose().counts
        assert counts.dtype == np.uint32
        assert counts.shape == (32, 160)
        assert np.median(counts) == pytest.approx(64 * 1453, rel=0.1)


@pytest.mark.parametrize(
    "spoil", [("beam", "blanked", True), ("target", "x_um", -600.0), ("beam", "position_y_um", 60)]
)
def test_without_beam_on_the_target_a_frame_is_dark(scope, spoil):
    for_xrays(scope)
    assert scope.widepix.expose().counts.mean() > 1e4
    device, name, value = spoil
    getattr(scope, device).put(name, value)
    dark = scope.widepix.expose().counts
    expected = DEFAULTS.detector.dark_rate_cps * 90.0 * dark.size
    assert abs(int(dark.sum()) - expected) < 6 * np.sqrt(expected)


def test_a_full_turn_brings_the_same_image_back(tmp_path, pillar):
    """Two frames at 0 and 360 degrees differ by counting statistics alone: chi-square per pixel is 1 within 6 sigma."""
    with Microscope(tmp_path, settings=STEADY, specimen=pillar) as scope:
        for_xrays(scope)
        first = scope.widepix.expose().counts.astype(float)
        scope.rotation.put("angle_deg", 40.0)
        other = scope.widepix.expose().counts.astype(float)
        scope.rotation.put("angle_deg", 360.0)
        second = scope.widepix.expose().counts.astype(float)
    assert chi_square(first, second) == pytest.approx(1.0, abs=6 * np.sqrt(2 / first.size))
    assert chi_square(first, other) > 2.0


def chi_square(a, b):
    return float(((a - b) ** 2 / (a + b)).mean())


def test_the_electron_current_decays_until_it_is_set_again(scope):
    scope.widepix.put("exposure_s", 3600.0)
    scope.beam.put("current_na", 400.0)
    scope.widepix.expose()
    assert scope.beam.get("measured_current_na") == pytest.approx(400.0 * np.exp(-0.01))
    scope.beam.put("current_na", 400.0)
    assert scope.beam.get("measured_current_na") == 400.0


def test_electrons_are_counted_where_they_land(scope):
    for_xrays(scope, exposure_s=100.0)
    scope.widepix.expose()
    on_target = scope.beam.get("target_charge_c")
    assert on_target == pytest.approx(400e-9 * 100.0, rel=1e-3)
    scope.target.put("x_um", -8000.0)
    scope.widepix.expose()
    assert scope.beam.get("target_charge_c") == pytest.approx(on_target, rel=1e-3, abs=400e-9 * 16)
    assert scope.beam.get("specimen_charge_c") == pytest.approx(400e-9 * 100.0, rel=1e-3)


def test_a_raster_erodes_and_counts_its_dose(scope):
    for_sims(scope, side=64, fov_um=8.0)
    removed = scope.truth().surface.removed_um3.sum()
    frame = scope.sector.raster_frame()
    assert frame.counts.shape == (4, 64, 64)
    assert frame.counts.dtype == np.uint32
    dose_nc = 50e-3 * 64 * 64 * 0.55e-3
    assert scope.fib.get("dose_nc") == pytest.approx(dose_nc)
    assert 0.1 < (scope.truth().surface.removed_um3.sum() - removed) / dose_nc < 0.16
    assert frame.counts[0].mean() > 100  # lithium of the active material


def test_a_blanked_raster_is_dark_and_erodes_nothing(scope):
    for_sims(scope, side=64)
    scope.fib.put("blanked", True)
    heights = scope.truth().surface.heights_um.copy()
    counts = scope.sector.raster_frame().counts
    expected = DEFAULTS.sector.dark_rate_cps * 0.55e-3 * counts.size
    assert abs(int(counts.sum()) - expected) < 6 * np.sqrt(expected)
    np.testing.assert_array_equal(scope.truth().surface.heights_um, heights)
    assert scope.fib.get("dose_nc") == 0.0
    with pytest.raises(ValueError, match="fib: the beam is blanked; unblank it before milling"):
        scope.fib.mill_pass({"kind": "rectangle", "size_um": [5, 5], "depth_um": 0.2})


def test_milling_removes_and_says_its_dose(scope):
    for_sims(scope)
    scope.fib.put("current_pa", 1000.0)
    pattern = {"kind": "rectangle", "size_um": [5.0, 5.0], "depth_um": 0.5, "passes": 2}
    first, second = scope.fib.mill_pass(pattern), scope.fib.mill_pass(pattern)
    assert first == second
    assert set(first) == {"dose_nc", "seconds"}
    assert first["dose_nc"] == pytest.approx(25 * 0.5 / 0.146 / 2)
    assert scope.fib.get("dose_nc") == pytest.approx(2 * first["dose_nc"])
    assert scope.truth().surface.removed_um3.sum() > 3.0
    with pytest.raises(
        ValueError, match="fib: milling needs a rectangle, polygon, annulus or cross_section, got a raster"
    ):
        scope.fib.mill_pass({"kind": "raster", "shape": [8, 8], "fov_um": 5.0, "dwell_ms": 1.0})


def test_a_parked_unblanked_fib_digs_where_it_stands(scope):
    for_sims(scope)
    dose_nc = scope.fib.get("dose_nc")
    scope.fib.put("current_pa", 1000.0)
    surface = scope.truth().surface
    before = surface.heights_um.copy()
    u, v = scope.truth().scan_to_specimen[:, 2]
    scope.stage.put("tilt_deg", 30.0)  # takes 30 s
    assert scope.fib.get("dose_nc") - dose_nc == pytest.approx(30.0)
    row, column = np.unravel_index(np.argmax(before - surface.heights_um), before.shape)
    n, pitch = len(before), surface.pitch_um
    assert np.hypot((column - (n - 1) / 2) * pitch - u, (row - (n - 1) / 2) * pitch - v) < 2 * pitch


def test_images_under_both_beams(scope):
    for_sims(scope)
    for driver in (scope.se, scope.eds):
        driver.put("rows", 24)
        driver.put("columns", 32)
    scope.se.put("source", "ion")
    assert scope.se.image().counts.shape == (24, 32)
    assert scope.fib.get("dose_nc") == pytest.approx(50e-3 * 24 * 32 * 1e-6)
    scope.fib.put("blanked", True)
    scope.instrument.put("mode", "sem")
    scope.se.put("source", "electron")
    assert scope.se.image().counts.sum() == 0
    scope.beam.put("blanked", False)
    assert scope.se.image().counts.sum() > 0
    frame = scope.eds.image()
    assert frame.counts.shape == (3, 24, 32)
    assert frame.stopped_s - frame.started_s == pytest.approx(24 * 32 * 5e-3)
    assert frame.current_na == pytest.approx(scope.beam.get("measured_current_na"), rel=1e-4)
    scope.beam.put("voltage_kv", 2.0)
    scope.eds.put("elements", "C,Zr")
    with pytest.raises(ValueError, match="kV excites no line of Zr"):
        scope.eds.image()
    scope.target.put("x_um", -400.0)
    with pytest.raises(ValueError, match="park it before imaging"):
        scope.se.image()


def test_every_change_of_mode_draws_another_scan_frame_within_its_bounds(scope):
    bounds, frames = DEFAULTS.mode_change, []
    for mode in ("sem", "fib") * 10:
        scope.instrument.put("mode", mode)
        frame = scope.truth().scan_to_specimen
        frames.append(frame)
        offset = frame[:, 2] + scope.truth().run_out_um(0.0)[:2]
        assert bounds.offset_um[0] - 1e-9 <= np.hypot(*offset) <= bounds.offset_um[1] + 1e-9
        low, high = np.linalg.svd(frame[:, :2])[1][::-1]
        shear = np.tan(np.radians(bounds.shear_deg))
        assert 1 - bounds.scale - shear < low <= high < 1 + bounds.scale + shear
        turned = np.degrees(np.arctan2(frame[1, 0], frame[0, 0]))
        assert abs(turned) <= bounds.rotation_deg + 1e-9
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_staying_in_a_mode_keeps_its_scan_frame_but_for_the_drift(scope):
    scope.instrument.put("mode", "fib")
    before = scope.truth().scan_to_specimen
    scope.instrument.put("mode", "fib")
    np.testing.assert_array_equal(scope.truth().scan_to_specimen, before)
    scope.stage.put("tilt_deg", 60.0)  # one minute
    moved_nm = 1e3 * np.hypot(*(scope.truth().scan_to_specimen - before)[:, 2])
    assert moved_nm == pytest.approx(DEFAULTS.mode_change.drift_nm_per_min)


def test_the_scan_frame_follows_stage_and_rotation(scope):
    """The beam's centre hits the specimen point that stage and rotation moved there."""
    scope.instrument.put("mode", "fib")
    scope.instrument.get("time_s")
    steady = scope.truth()
    lab = steady.scan_to_specimen[:, 2] + steady.run_out_um(0.0)[:2]
    scope.stage.put("x_um", 3.0)
    scope.rotation.put("angle_deg", 90.0)
    turned = scope.truth()
    x, y = lab - (3.0, 0.0) - turned.run_out_um(90.0)[:2]
    met = apply_affine(turned.scan_to_specimen, [[0.0, 0.0]])[0]
    np.testing.assert_allclose(met, (y, -x), atol=2e-3)  # a few seconds of drift


def test_the_same_seed_measures_the_same(tmp_path, pillar):
    def measure(root, seed):
        with Microscope(root, settings=small(), specimen=pillar, seed=seed) as scope:
            for_xrays(scope)
            projection = scope.widepix.expose().counts
            scope.beam.put("blanked", True)
            for_sims(scope)
            return projection, scope.sector.raster_frame().counts

    first, again, other = (measure(tmp_path / name, seed) for name, seed in (("a", 7), ("b", 7), ("c", 8)))
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one != three).any()


def test_two_frames_are_two_draws(scope):
    for_xrays(scope)
    assert (scope.widepix.expose().counts != scope.widepix.expose().counts).any()

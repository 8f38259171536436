"""Signals over driver quantities: units, limits, refusals, failures, stop."""

import bluesky.plan_stubs as bps
import pytest
from bluesky.utils import FailedStatus
from ophyd.utils import LimitError, ReadOnlyError

from devices import Instrument
from xrm_sims.settings import Settings
from xrm_sims.twin.microscope import Microscope

EVENT_KEYS = {"rotation_angle_deg", "beam_current_na", "instrument_time_s", "fib_dose_nc"}


def test_everything_reads_with_the_agreed_names_and_no_prefix(scope):
    assert set(scope.read()) >= EVENT_KEYS
    assert not [key for key in [*scope.read(), *scope.read_configuration()] if key.startswith("scope")]
    assert scope.read().keys() == scope.describe().keys()
    assert scope.read_configuration().keys() == scope.describe_configuration().keys()


def test_numbers_say_their_unit_and_limits(scope):
    described = {**scope.describe(), **scope.describe_configuration()}
    assert described["rotation_angle_deg"]["units"] == "deg"
    assert described["stage_z_um"]["limits"]["control"] == {"low": -200.0, "high": 200.0}
    assert described["sector_collector_2_radius_mm"]["units"] == "mm"
    units = {
        "um",
        "mm",
        "nm",
        "deg",
        "s",
        "ms",
        "us",
        "kv",
        "kev",
        "na",
        "pa",
        "v",
        "t",
        "nc",
        "ns",
        "cps",
        "bits",
        "u",
    }
    numbers = {key: entry for key, entry in described.items() if entry["dtype"] in ("number", "integer")}
    missing = [key for key, entry in numbers.items() if key.split("_")[-1] in units and "units" not in entry]
    assert missing == []


def test_hints_name_the_angle(scope):
    assert scope.rotation.hints == {"fields": ["rotation_angle_deg"]}


@pytest.mark.parametrize(
    ("path", "value", "error", "sentence"),
    [
        ("stage.z_um", 500.0, LimitError, "stage_z_um: 500 um is outside -200 to 200 um"),
        ("rotation.angle_deg", float("nan"), ValueError, "needs a finite number in deg, got nan"),
        ("beam.current_na", float("inf"), ValueError, "needs a finite number in nA"),
        ("widepix.exposure_s", "long", ValueError, "needs a number in s, got 'long'"),
        ("widepix.exposure_s", -1.0, LimitError, "-1 s is outside"),
        ("widepix.binning", 3, ValueError, "needs one of 1, 2, 4, 8, got 3"),
        ("fib.rows", 2.5, ValueError, "needs a whole number, got 2.5"),
        ("target.material", "Au", ValueError, "needs one of W, Cu, Cr, got 'Au'"),
        ("beam.blanked", "off", ValueError, "needs True or False, got 'off'"),
        ("mode", "sims", ValueError, "needs one of xray, sem, fib"),
        ("time_s", 0.0, ReadOnlyError, "can only be read"),
    ],
)
def test_bad_values_are_refused_in_a_sentence_before_anything_moves(scope, path, value, error, sentence):
    signal = scope
    for name in path.split("."):
        signal = getattr(signal, name)
    before = scope.read()
    with pytest.raises(error, match=sentence.replace("(", r"\(")):
        signal.set(value)
    assert {k: v["value"] for k, v in scope.read().items()} == {k: v["value"] for k, v in before.items()}


def test_a_move_finishes_and_reads_back(scope):
    seen = []
    scope.rotation.angle_deg.subscribe(lambda value, **_: seen.append(value), run=False)
    status = scope.rotation.set(12.5)
    status.wait()
    assert status.success
    assert scope.rotation.position == 12.5
    assert seen == [12.5]


def test_a_refusing_driver_fails_the_status_with_its_sentence(scope, RE):
    second = float(scope.sector.collector_2.radius_mm.get())
    with pytest.raises(FailedStatus) as failure:
        RE(bps.mv(scope.sector.collector_1.radius_mm, second + 0.1))
    assert "closer than 1 mm to collector 2" in str(failure.value.__cause__)


def test_stop_ends_a_move_in_real_time(tmp_path):
    with Microscope(tmp_path / "twin", seed=1, clock=1.0) as twin:
        scope = Instrument(twin, Settings(), tmp_path / "frames")
        for success in (False, True):
            status = scope.rotation.set(3600.0)  # six minutes at 10 deg/s
            scope.rotation.stop(success=success)
            if success:
                status.wait(timeout=60)
            else:
                with pytest.raises(RuntimeError, match="stopped"):
                    status.wait(timeout=60)
            assert scope.rotation.position < 3600.0
        scope.close()


def test_reading_does_not_wait_for_an_exposure(tmp_path):
    with Microscope(tmp_path / "twin", seed=1, clock=1.0) as twin:
        scope = Instrument(twin, Settings(), tmp_path / "frames")
        status = scope.rotation.set(3600.0)
        assert scope.mode.get() == "xray"  # answered while the stage turns
        assert not status.done
        scope.stop(success=True)
        status.wait(timeout=60)
        scope.close()


def test_collectors_move_to_masses(scope):
    scope.stage.bias_v.put(500.0)
    assert [c["label"] for c in scope.sector.channels()] == ["7Li", "27Al", "58Ni", "59Co"]
    scope.sector.collector_1.set(6.015123).wait()
    assert scope.sector.collector_1.radius_mm.get() == pytest.approx(38.68, abs=0.005)
    assert scope.sector.channels()[0]["label"] == "6Li"

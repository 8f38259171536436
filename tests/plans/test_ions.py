import numpy as np
import pytest

from plans import mill, sims_raster
from xrm_sims.patterns import Raster, Rectangle
from xrm_sims.settings import Settings

SMALL = {"fov_um": 10.0, "shape": (16, 24), "dwell_ms": 0.5, "frames": 3}
SECONDS = 16 * 24 * 0.5e-3
DOSE_NC = 0.05 * SECONDS  # 50 pA


def test_the_documents_of_a_raster(scope, RE, run, is_safe):
    RE(sims_raster(scope, **SMALL, md={"purpose": "test"}))
    start = run.start
    assert start["scan_type"] == "sims_raster"
    assert [c["label"] for c in start["channels"]] == ["7Li", "27Al", "58Ni", "59Co"]
    assert start["channels"][0]["radius_mm"] == pytest.approx(41.77, abs=0.01)
    assert start["channels"][3]["mass_u"] == pytest.approx(58.9332, abs=1e-3)
    assert (start["fov_um"], start["shape"], start["dwell_ms"]) == (10.0, [16, 24], 0.5)
    assert start["impact_energy_kev"] == pytest.approx(29.5)
    frames = run.frames("primary", "sector_counts")
    assert frames.shape == (3, 4, 16, 24)
    assert frames[:, 0].sum() > frames[:, 3].sum() > 0  # lithium far above cobalt
    assert run.stop["num_events"] == {"baseline": 2, "dose": 3, "primary": 3}
    assert is_safe()


def test_each_frame_takes_its_dose_and_time(scope, RE, run):
    RE(sims_raster(scope, **SMALL))
    notes = [event["data"] for event in run.events("dose")]
    assert np.diff([n["fib_dose_nc"] for n in notes]) == pytest.approx([DOSE_NC] * 2)
    assert (np.diff([n["instrument_time_s"] for n in notes]) >= SECONDS).all()


@pytest.mark.parametrize("command", ["prepare", "kickoff", "complete", "collect", "checkpoint", "save"])
def test_a_hard_pause_never_erodes_a_frame_twice(scope, RE, run, interrupt, twin, command):
    picks = lambda msg: msg.command == command and msg.kwargs.get("name") != "baseline"  # noqa: E731
    interrupt(sims_raster(scope, **SMALL), picks, nth=2)
    assert twin.fib.get("blanked") is True
    RE.resume()
    assert run.stop["exit_status"] == "success"
    assert len(run.frames("primary", "sector_counts")) == 3
    assert twin.fib.get("dose_nc") == pytest.approx(3 * DOSE_NC)


def test_abort_keeps_the_frames_taken_and_blanks(scope, RE, run, interrupt, is_safe):
    completed = []

    def blanking_after_the_second_frame(msg):
        completed.extend([msg] if msg.command == "complete" else [])
        return len(completed) == 2 and msg.command == "set"

    interrupt(sims_raster(scope, **SMALL), blanking_after_the_second_frame)
    RE.abort()
    assert len(run.frames("primary", "sector_counts")) == 2
    assert is_safe()


def test_an_exception_between_frames_leaves_it_safe(scope, RE, run, raises_at, is_safe):
    with pytest.raises(RuntimeError, match="a cable came off"):
        RE(raises_at(sims_raster(scope, **SMALL), lambda msg: msg.command == "kickoff", nth=2))
    assert len(run.frames("primary", "sector_counts")) == 1
    assert is_safe()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fov_um": 250.0}, "reaches 250 um across the scan centre, the scan field is 200 um"),
        ({"fov_um": 10.0, "centre_um": (98.0, 0.0)}, "reaches 206 um"),
        ({"fov_um": float("nan")}, "fov_um: needs a positive number, got nan"),
        ({"centre_um": (float("nan"), 0.0)}, "centre"),
        ({"dwell_ms": -0.5}, "dwell_ms: needs a positive number"),
        ({"frames": 0}, "frames: needs a whole number of at least 1, got 0"),
        ({"shape": (0, 16)}, "shape: needs at least 2 x 2"),
        ({"shape": (16.5, 16)}, "rows: needs a whole number"),
        ({"shape": (16,)}, "shape: needs two numbers"),
        ({"shape": (99999, 99999)}, "fib_rows"),
        ({"bias_v": 0.0}, "bias_v: SIMS needs the stage bias on"),
        ({"bias_v": float("nan")}, "bias_v"),
        ({"current_pa": -1.0}, "current_pa: needs a number above 0"),
        ({"md": {"channels": []}}, "md: 'channels' comes from the instrument"),
    ],
)
def test_bad_rasters_are_one_sentence_and_nothing_moves(scope, RE, run, state, changes, sentence):
    before = state()
    with pytest.raises(ValueError, match=sentence) as refused:
        RE(sims_raster(scope, **{**SMALL, **changes}))
    assert "\n" not in str(refused.value)
    assert state() == before
    assert run.documents == []


BOX = Rectangle(size_um=(6.0, 6.0), depth_um=0.2, passes=4)


def test_milling_goes_pass_by_pass(scope, RE, run, is_safe):
    RE(mill(scope, BOX))
    start = run.start
    assert start["scan_type"] == "milling"
    assert start["pattern"] == BOX.as_dict()
    doses = [event["data"]["fib_dose_nc"] for event in run.events("primary")]
    assert len(doses) == 4
    assert (np.diff(doses) > 0).all()
    assert doses[-1] == pytest.approx(BOX.dose_nc(Settings().sputtering.rate_lco_um3_per_nc), rel=0.05)
    assert is_safe()


@pytest.mark.parametrize("command", ["prepare", "trigger", "checkpoint", "save"])
def test_a_hard_pause_never_mills_a_pass_twice(scope, RE, run, interrupt, twin, command):
    picks = lambda msg: msg.command == command  # noqa: E731
    interrupt(mill(scope, BOX), picks, nth=4)
    assert twin.fib.get("blanked") is True
    RE.resume()
    assert len(run.events("primary")) == 4
    assert twin.fib.get("dose_nc") == pytest.approx(BOX.dose_nc(Settings().sputtering.rate_lco_um3_per_nc), rel=0.05)


@pytest.mark.parametrize(
    ("pattern", "arguments", "sentence"),
    [
        (Rectangle((300.0, 5.0), 1.0), {}, "reaches 300 um"),
        (Raster((16, 16), 10.0, 1.0), {}, "milling needs a Rectangle, Polygon, Annulus or CrossSection, got Raster"),
        (BOX, {"current_pa": float("nan")}, "current_pa: needs a finite number"),
        (BOX, {"current_pa": 1e9}, "fib_current_pa: 1e\\+09 pA is outside"),
    ],
)
def test_bad_milling_is_one_sentence_and_nothing_moves(scope, RE, state, pattern, arguments, sentence):
    before = state()
    with pytest.raises(ValueError, match=sentence):
        RE(mill(scope, pattern, **arguments))
    assert state() == before

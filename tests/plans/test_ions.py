import numpy as np
import pytest

from plans import mill, resume_mill, resume_sims_raster, sims_raster
from xrm_sims.patterns import Annulus, CrossSection, Polygon, Raster, Rectangle
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
        ({"voltage_kv": 1.0}, "fib_voltage_kv: 1 kV is outside 2 to 30 kV"),
        ({"channels": ("7Li", "27Al")}, "channels: needs 4, one for each collector, got 2"),
        ({"channels": ("7Li", "27Al", "8Li", "59Co")}, "unknown isotope '8Li'"),
        (
            {"channels": (7.016, 26.98, 58.43, 58.93)},
            "masses 58.43 and 58.93 u: are 0.515 mm apart at 3000 V and 0.5 T",
        ),
        (
            {"channels": ("7Li", "27Al", "59Co", "69Ga")},
            "mass 68.9.* has radius 130.9 mm .* the collectors reach 30 to 130",
        ),
        ({"channels": ("7Li", "27Al", "59Co", float("nan"))}, "mass: needs a positive number of u, got nan"),
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


@pytest.mark.parametrize(
    "pattern",
    [
        Polygon(((-4.0, -3.0), (4.0, -3.0), (0.0, 5.0)), 0.2, passes=3),
        Annulus(2.0, 5.0, 0.2, passes=3),
        CrossSection((6.0, 6.0), 0.4, face="-v", steps=4, passes=3),
    ],
    ids=lambda p: p.kind,
)
def test_every_pattern_mills_pass_by_pass(scope, RE, run, twin, is_safe, pattern):
    before = twin.truth().surface.removed_um3.sum()
    RE(mill(scope, pattern, current_pa=65000.0))
    assert run.start["pattern"] == pattern.as_dict()
    doses = [event["data"]["fib_dose_nc"] for event in run.events("primary")]
    assert np.diff([0.0, *doses]) == pytest.approx([pattern.dose_nc(0.146) / 3] * 3)
    removed = twin.truth().surface.removed_um3.sum() - before
    assert removed == pytest.approx(doses[-1] * 0.146, rel=0.35)  # binder goes slower, cells of 0.4 um
    assert is_safe()


def test_slower_ions_mill_less_with_the_same_dose(scope, RE, run, twin):
    removed = []
    for voltage_kv in (30.0, 5.0):
        before = twin.truth().surface.removed_um3.sum()
        RE(mill(scope, BOX, voltage_kv=voltage_kv))
        removed.append(twin.truth().surface.removed_um3.sum() - before)
    assert run.start["voltage_kv"] == 5.0
    assert 0.4 < removed[1] / removed[0] < 0.9


def test_lithium_isotopes_side_by_side(scope, RE, run):
    """Collectors move to the old positions of others without coming too close."""
    RE(sims_raster(scope, **SMALL, channels=("59Co", "6Li", "7Li", "27Al"), voltage_kv=20.0, bias_v=400.0))
    assert [c["label"] for c in run.start["channels"]] == ["6Li", "7Li", "27Al", "59Co"]
    assert run.start["impact_energy_kev"] == pytest.approx(19.6)
    light, heavy, *_ = run.frames("primary", "sector_counts").sum(axis=(0, 2, 3)).astype(float)
    assert light / heavy == pytest.approx(0.0821, rel=6 * np.sqrt(1 / light) + 0.03)  # 7Li loses 2 % to dead time
    RE(sims_raster(scope, **SMALL, channels=("7Li", "27Al", "58Ni", "59Co")))
    assert [c["label"] for c in run.start["channels"]] == ["7Li", "27Al", "58Ni", "59Co"]


@pytest.mark.parametrize(
    ("mass_u", "sentence"),
    [
        (58.4, "masses .* and 58.4 u: are .* mm apart at 3000 V and 0.5 T, two collectors need 1 mm"),
        (400.0, "mass 400 u: has radius .* mm at 3000 V and 0.5 T, the collectors reach 30 to 130 mm"),
    ],
)
def test_a_mass_between_collectors_or_out_of_reach_is_refused(scope, mass_u, sentence):
    scope.stage.bias_v.set(500.0).wait()
    before = scope.sector.collector_2.radius_mm.get()
    with pytest.raises(ValueError, match=sentence):
        scope.sector.collector_2.set(mass_u)
    assert scope.sector.collector_2.radius_mm.get() == before


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
        (Annulus(10.0, 120.0, 1.0), {}, "annulus: reaches 240 um"),
        (BOX, {"current_pa": 1.0}, "fib_current_pa: 1 pA is outside 1.5 to 65000 pA"),
        (BOX, {"current_pa": 1e9}, "fib_current_pa: 1e\\+09 pA is outside"),
    ],
)
def test_bad_milling_is_one_sentence_and_nothing_moves(scope, RE, state, pattern, arguments, sentence):
    before = state()
    with pytest.raises(ValueError, match=sentence):
        RE(mill(scope, pattern, **arguments))
    assert state() == before


def test_a_raster_is_resumed_frame_by_frame(scope, RE, run, twin, is_safe):
    RE(sims_raster(scope, **SMALL, bias_v=450.0, md={"experiment_uid": "mine"}))
    first = run.start
    run.documents.clear()
    dosed_nc = twin.fib.get("dose_nc")
    RE(resume_sims_raster(scope, first, done_indices=[0], lost_indices=[1]))
    assert run.start["resumes_uid"] == first["uid"]
    assert run.start["experiment_uid"] == "mine"
    assert (run.start["frames"], run.start["frame_indices"], run.start["lost_indices"]) == (3, [2], [1])
    assert run.start["impact_energy_kev"] == first["impact_energy_kev"]
    assert len(run.frames("primary", "sector_counts")) == 1
    assert twin.fib.get("dose_nc") - dosed_nc == pytest.approx(DOSE_NC) == run.start["frame_dose_nc"]
    with pytest.raises(ValueError, match=r"all 3 frames were drawn, 1 of them are lost; nothing is left"):
        RE(resume_sims_raster(scope, run.start, done_indices=[0, 2], lost_indices=[1]))
    with pytest.raises(ValueError, match="needs a sims_raster, got 'milling'"):
        RE(resume_sims_raster(scope, first | {"scan_type": "milling"}, []))
    assert is_safe()


@pytest.mark.parametrize(
    "pattern",
    [BOX, CrossSection((6.0, 6.0), 0.4, steps=3, passes=4)],
    ids=["rectangle", "cross section"],
)
@pytest.mark.parametrize(("passes_done", "left"), [(0.0, 4), (1.0, 3), (1.25, 3), (3.9, 1)])
def test_milling_is_resumed_without_giving_a_dose_twice(scope, RE, run, twin, pattern, passes_done, left):
    whole_nc = pattern.dose_nc(Settings().sputtering.rate_lco_um3_per_nc)
    start = {"uid": "u", "scan_type": "milling", "pattern": pattern.as_dict(), "current_pa": 1e3, "voltage_kv": 30.0}
    RE(resume_mill(scope, start, passes_done * whole_nc / 4))
    assert run.start["pattern"] == pattern.as_dict()
    assert run.start["passes_done"] == pytest.approx(passes_done)
    assert len(run.events("primary")) == left
    assert twin.fib.get("scan_dose_nc") == pytest.approx((1 - passes_done / 4) * whole_nc)
    with pytest.raises(ValueError, match="all 4 passes are drawn, nothing is left"):
        RE(resume_mill(scope, start, whole_nc))


def test_a_parked_beam_doses_and_is_no_scan(scope, twin):
    scope.mode.put("fib")
    scope.fib.blanked.put(False)
    scope.stage.x_um.put(1.0)  # takes a while
    scope.fib.blanked.put(True)
    assert twin.fib.get("dose_nc") > 0
    assert twin.fib.get("scan_dose_nc") == 0

import json

import numpy as np
import pytest
from bluesky.simulators import summarize_plan

from plans import resume_tomography, tomography
from plans.tomography import TomographyScan
from xrm_sims.geometry import ConeGeometry
from xrm_sims.settings import Settings

SHORT = {
    "num": 4,
    "step_deg": 90.0,
    "exposure_s": 90.0,
    "binning": 8,
    "num_dark": 1,
    "num_flat": 2,
    "flat_every": 2,
    "reference_every": 2,
}


def angles(run):
    return [event["data"]["rotation_angle_deg"] for event in run.events("primary")]


def test_the_documents_of_a_scan(scope, RE, run, is_safe):
    md = {"operator": "Ada", "note": ["mine"]}
    given = json.dumps(md)
    result = RE(tomography(scope, **SHORT, md=md))
    assert result.plan_result == run.start["uid"]
    assert run.stop["num_events"] == {"baseline": 2, "dark": 1, "flat": 6, "reference": 3, "primary": 4}
    assert angles(run) == [0.0, 90.0, 180.0, 270.0]
    assert {tuple(sorted(e["data"])) for s in ("dark", "flat", "primary", "reference") for e in run.events(s)} == {
        ("beam_current_na", "instrument_time_s", "rotation_angle_deg")
    }
    start = run.start
    assert start["scan_type"] == "tomography"
    assert start["operator"] == "Ada"
    assert start["sample_name"] == scope.specimen.get()
    spot = scope.settings.source.focal_spot_of(scope.beam.probe_nm.get())
    assert start["beam"] == {"energy_kev": 30.0, "current_na": 400.0, "target": "W", "focal_spot": spot}
    assert (start["num_projections"], start["step_deg"], start["exposure_s"]) == (4, 90.0, 90.0)
    geometry = ConeGeometry.from_dict(start["geometry"])
    assert geometry.detector_shape == (32, 160)
    assert geometry.volume_shape == (32, 160, 160)
    assert geometry.pixel_mm == pytest.approx(0.44)
    assert geometry.voxel_um == pytest.approx(0.4)
    assert geometry.angles_deg.tolist() == angles(run)
    assert json.dumps(md) == given
    assert is_safe()


def test_the_frames_of_a_scan(scope, RE, run):
    """Open beam: 1,453 counts per unbinned pixel in 90 s, here 64 pixels per bin; the pillar transmits less."""
    RE(tomography(scope, **SHORT))
    open_beam = 1453 * 64
    flats, darks, projections = run.frames("flat"), run.frames("dark"), run.frames("primary")
    assert np.median(flats) == pytest.approx(open_beam, rel=0.1)
    assert np.median(darks) < 1e-3 * open_beam
    middle = projections[:, 4:20, 75:85].mean() / np.median(flats)
    assert 0.1 < middle < 0.6
    assert len(run.frames("reference")) == 3
    times = [e["data"]["instrument_time_s"] for e in run.events("primary")]
    assert (np.diff(times) >= 90.0).all()


def test_the_instruments_state_is_the_baseline(scope, RE, run):
    RE(tomography(scope, **SHORT))
    before, after = run.events("baseline")
    assert before["data"]["target_x_um"] == -400.0
    assert before["data"]["mode"] == "xray"
    assert before["data"].keys() == scope.read().keys() == after["data"].keys()
    descriptor = next(doc for doc in run.all("descriptor") if doc["name"] == "baseline")
    assert descriptor["configuration"]["scope"]["data"]["widepix_exposure_s"] == 90.0


def test_interleaved_views_cover_every_angle_once_and_spread_early():
    scan = TomographyScan(num=1200, order="interleaved")
    order = scan.view_order()
    assert sorted(order) == list(range(1200))
    early = np.sort(order[:75])
    assert np.diff([*early, 1200]).max() <= 2 * 1200 / 64


def test_interleaved_geometry_lists_angles_as_they_were_taken(scope, RE, run):
    RE(tomography(scope, **{**SHORT, "order": "interleaved"}))
    assert run.start["geometry"]["angles_deg"] == [0.0, 180.0, 90.0, 270.0] == angles(run)
    assert run.start["view_indices"] == [0, 2, 1, 3]


def test_enough_ends_a_scan_properly_and_says_why(scope, RE, run, is_safe):
    asked = []

    def enough():
        asked.append(len(run.events("primary")))
        return len(asked) == 5

    RE(tomography(scope, **{**SHORT, "num": 8, "step_deg": 45.0, "order": "interleaved"}, enough=enough))
    assert asked == [1, 2, 3, 4, 5]
    assert angles(run) == [0.0, 180.0, 90.0, 270.0, 45.0]
    assert (run.stop["exit_status"], run.stop["num_events"]["primary"]) == ("success", 5)
    assert run.stop["reason"] == "enough: 3 of 8 views were left out, as agreed before"
    last = {stream: run.events(stream)[-1]["data"]["instrument_time_s"] for stream in ("primary", "reference", "flat")}
    assert last["primary"] < last["reference"] < last["flat"]
    assert is_safe()
    taken = [run.start["view_indices"][e["seq_num"] - 1] for e in run.events("primary")]
    first = run.start
    run.documents.clear()
    RE(resume_tomography(scope, first, taken))
    assert angles(run) == [225.0, 135.0, 315.0]
    assert not run.stop.get("reason")


def test_a_scan_that_never_has_enough_is_a_whole_one(scope, RE, run):
    RE(tomography(scope, **{**SHORT, "order": "interleaved"}, enough=lambda: False))
    assert run.stop["num_events"]["primary"] == 4
    assert not run.stop.get("reason")


COMMANDS = ("prepare", "set", "trigger", "wait", "create", "read", "save", "checkpoint")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_hard_pause_anywhere_in_a_view_loses_and_doubles_nothing(scope, RE, run, interrupt, twin, command):
    """After a pause at any message of a view, frame i of the file still has seq_num i + 1 and its angle."""
    nth = {"set": 20, "wait": 30, "read": 16}.get(command, 8)
    interrupt(tomography(scope, **{**SHORT, "num": 6, "step_deg": 60.0}), lambda msg: msg.command == command, nth)
    assert twin.beam.get("blanked") is True
    exposed = twin.beam.get("target_charge_c")
    assert RE.state == "paused"
    assert twin.beam.get("target_charge_c") == exposed
    RE.resume()
    assert run.stop["exit_status"] == "success"
    assert angles(run) == [0.0, 60.0, 120.0, 180.0, 240.0, 300.0]
    assert len(run.frames("primary")) == 6
    assert len(run.frames("flat")) == 8
    assert len(run.frames("reference")) == 4
    dark = 1e-2 * np.median(run.frames("flat"))
    assert (np.median(run.frames("primary"), axis=(1, 2)) > dark).all()


def test_abort_leaves_it_safe_and_keeps_what_was_taken(scope, RE, run, interrupt, is_safe):
    picks = lambda msg: msg.command == "create" and msg.kwargs.get("name") == "primary"  # noqa: E731
    interrupt(tomography(scope, **SHORT), picks, nth=3)
    RE.abort()
    assert run.stop["exit_status"] == "abort"
    assert angles(run) == [0.0, 90.0]
    assert is_safe()


@pytest.mark.parametrize("command", ["trigger", "save", "open_run"])
def test_an_exception_leaves_it_safe(scope, RE, run, raises_at, is_safe, command):
    with pytest.raises(RuntimeError, match="a cable came off"):
        RE(raises_at(tomography(scope, **SHORT), lambda msg: msg.command == command, nth=1))
    assert is_safe()
    assert all(doc["exit_status"] == "fail" for doc in run.all("stop"))
    assert not scope.widepix.store.is_open


def test_a_failing_beam_ends_the_run_safely(scope, RE, run, is_safe, twin, monkeypatch):
    def arcs():
        raise RuntimeError("widepix: the high voltage arced")

    monkeypatch.setattr(twin.widepix, "expose", arcs)
    with pytest.raises(Exception, match=r".*") as failure:
        RE(tomography(scope, **SHORT))
    assert str(failure.value.__cause__) == "widepix: the high voltage arced"
    assert is_safe()


def test_resume_takes_what_is_missing(scope, RE, run, interrupt, is_safe):
    picks = lambda msg: msg.command == "create" and msg.kwargs.get("name") == "primary"  # noqa: E731
    whole = {**SHORT, "order": "interleaved"}
    interrupt(tomography(scope, **whole, md={"sample_name": "mine"}), picks, nth=3)
    RE.abort()
    first = run.start
    done = [first["view_indices"][e["seq_num"] - 1] for e in run.events("primary")]
    assert done == [0, 2]
    run.documents.clear()
    RE(resume_tomography(scope, first, done))
    second = run.start
    assert second["resumes_uid"] == first["uid"]
    assert second["sample_name"] == "mine"
    assert second["num_projections"] == 4
    assert second["view_indices"] == [1, 3]
    assert angles(run) == second["geometry"]["angles_deg"] == [90.0, 270.0]
    assert run.stop["num_events"]["dark"] == 1
    assert run.stop["num_events"]["flat"] == 4
    run.documents.clear()
    RE(resume_tomography(scope, second, [0, 1, 2]))
    assert run.start["resumes_uid"] == first["uid"]
    with pytest.raises(ValueError, match="nothing is left"):
        RE(resume_tomography(scope, first, range(4)))
    assert is_safe()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"exposure_s": -1.0}, "exposure_s: needs a number above 0, got -1"),
        ({"exposure_s": float("nan")}, "exposure_s: needs a finite number, got nan"),
        ({"exposure_s": 1e6}, "widepix_exposure_s: 1e\\+06 s is outside"),
        ({"step_deg": 0.0}, "step_deg: needs a step other than 0 degrees"),
        ({"step_deg": float("inf")}, "step_deg"),
        ({"start_deg": float("nan")}, "start_deg"),
        ({"num": 0}, "num: needs a whole number of at least 1, got 0"),
        ({"num": 2.5}, "num: needs a whole number"),
        ({"num": 4000, "step_deg": 3.0}, "rotation"),
        ({"num_flat": 0}, "num_flat: needs a whole number of at least 1"),
        ({"num_dark": -1}, "num_dark"),
        ({"order": "random"}, "order: needs one of sequential, interleaved"),
        ({"target": "Au"}, "target: needs one of W, Cu, Cr, got 'Au'"),
        ({"binning": 3}, "binning: needs"),
        ({"enough": lambda: True}, 'enough: needs order="interleaved", because sequential views end'),
        ({"md": {"geometry": {}}}, "md: 'geometry' comes from the instrument"),
        ({"md": {"beam": {}}}, "md: 'beam' comes from the instrument"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_moves(scope, RE, run, state, changes, sentence):
    before = state()
    with pytest.raises(ValueError, match=sentence) as refused:
        RE(tomography(scope, **{**SHORT, **changes}))
    assert "\n" not in str(refused.value)
    assert state() == before
    assert run.documents == []


def test_resume_refuses_what_is_no_tomography(scope, RE):
    with pytest.raises(ValueError, match="needs a tomography, got 'milling'"):
        RE(resume_tomography(scope, {"uid": "x", "scan_type": "milling"}, []))


def test_the_copper_target_is_exchanged_while_parked(scope, RE, run):
    RE(tomography(scope, **{**SHORT, "target": "Cu", "num": 2, "step_deg": 180.0}))
    assert run.start["beam"]["target"] == "Cu"
    assert scope.target.material.get() == "Cu"


def test_the_estimate_counts_every_frame(scope, RE, run):
    scan = TomographyScan(**SHORT)
    RE(tomography(scope, **SHORT))
    events = sum(n for stream, n in run.stop["num_events"].items() if stream != "baseline")
    assert scan.estimate(Settings()).disk_bytes == events * 32 * 160 * 4


def test_a_dry_run_says_what_would_happen_and_moves_nothing(scope, state, capsys):
    before = state()
    summarize_plan(tomography(scope, **SHORT))
    said = capsys.readouterr().out
    assert "rotation_angle_deg -> 270.0" in said
    assert "target_x_um -> -400.0" in said
    assert state() == before


def test_numpy_arguments_become_plain_numbers_in_the_documents(scope, RE, run):
    RE(tomography(scope, **{**SHORT, "num": np.int64(2), "step_deg": np.float64(180.0)}, md={"mass_mg": np.float32(2)}))
    json.dumps(run.start)
    assert run.start["plan_args"]["num"] == 2


def test_a_stage_too_low_for_flats_is_refused_before_anything_moves(scope, RE):
    scope.stage.z_um.put(-190.0)
    with pytest.raises(ValueError, match="flats lower the specimen by 30 um, 10 um are left; raise the stage"):
        RE(tomography(scope, **SHORT))

"""The interlock rules, on states and on the instrument."""

from dataclasses import replace

import bluesky.plan_stubs as bps
import pytest
from bluesky.utils import FailedStatus

from devices import Instrument, InterlockError
from devices.interlocks import RULES, State, refusal
from xrm_sims.settings import Settings

SETTINGS = Settings()
SAFE = State(
    mode="xray",
    beam_blanked=True,
    fib_blanked=True,
    target_x_um=-8000.0,
    target_y_um=0.0,
    target_z_um=0.0,
    target_material="W",
    stage_x_um=0.0,
    stage_y_um=0.0,
    stage_z_um=0.0,
    stage_tilt_deg=0.0,
    stage_bias_v=0.0,
    rotation_angle_deg=0.0,
)
WORKING = replace(SAFE, target_x_um=-400.0)
FIB = replace(SAFE, mode="fib", stage_bias_v=500.0)
TRANSFER = replace(SAFE, mode="transfer")


@pytest.mark.parametrize(
    ("state", "changes", "word"),
    [
        (WORKING, {"target_x_um": -50.0}, "pillar"),
        (replace(SAFE, target_y_um=1000.0, target_x_um=0.0), {"target_y_um": -1000.0}, "pillar"),
        (replace(WORKING, target_z_um=-200.0), {"target_x_um": -140.0}, "pedestal"),
        (WORKING, {"stage_x_um": -350.0}, "pillar"),
        (WORKING, {"target_z_um": -265.0}, "disk"),
        (replace(WORKING, target_z_um=-90.0), {"stage_z_um": 180.0}, "disk"),
        (replace(WORKING, target_x_um=-100.0), {"rotation_angle_deg": 10.0}, "turn"),
        (WORKING, {"stage_tilt_deg": 10.0}, "park"),
        (replace(SAFE, stage_tilt_deg=10.0), {"target_x_um": -400.0}, "tilt"),
        (FIB, {"target_x_um": -400.0}, "fib mode"),
        (WORKING, {"target_material": "Cu"}, "park"),
        (replace(SAFE, beam_blanked=False), {"target_material": "Cu"}, "blank"),
        (replace(SAFE, beam_blanked=False), {"mode": "sem"}, "electron beam is on"),
        (replace(FIB, fib_blanked=False), {"mode": "xray"}, "ion beam is on"),
        (WORKING, {"mode": "fib"}, "park"),
        (SAFE, {"fib_blanked": False}, "xray mode"),
        (replace(SAFE, mode="sem"), {"fib_blanked": False}, "sem mode"),
        (FIB, {"beam_blanked": False}, "fib mode"),
        (replace(WORKING, stage_bias_v=500.0), {"beam_blanked": False}, "bias"),
        (replace(WORKING, beam_blanked=False), {"stage_bias_v": 500.0}, "bias"),
        (replace(FIB, fib_blanked=False, stage_bias_v=0.0), {"action": "raster"}, "bias"),
        (FIB, {"action": "raster"}, "blanked"),
        (SAFE, {"action": "milling pass"}, "fib mode"),
        (replace(SAFE, stage_bias_v=500.0), {"mode": "transfer"}, "bias"),
        (replace(SAFE, stage_tilt_deg=5.0), {"mode": "transfer"}, "tilt"),
        (TRANSFER, {"beam_blanked": False}, "transfer mode"),
        (TRANSFER, {"fib_blanked": False}, "transfer mode"),
        (TRANSFER, {"target_x_um": -400.0}, "transfer mode"),
        (TRANSFER, {"stage_bias_v": 500.0}, "bias"),
    ],
)
def test_refused_with_what_is_in_the_way(state, changes, word):
    sentence = refusal(state, changes, SETTINGS)
    assert sentence is not None
    assert word in sentence


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (SAFE, {"target_x_um": -400.0}),
        (WORKING, {"beam_blanked": False}),
        (replace(WORKING, beam_blanked=False), {"rotation_angle_deg": 90.0}),
        (replace(WORKING, beam_blanked=False), {"stage_z_um": -30.0}),
        (replace(WORKING, beam_blanked=False), {"target_x_um": -8000.0}),
        (SAFE, {"mode": "fib"}),
        (SAFE, {"mode": "transfer"}),
        (TRANSFER, {"target_material": "Cu"}),
        (replace(SAFE, stage_bias_v=500.0), {"mode": "sem"}),
        (FIB, {"fib_blanked": False}),
        (replace(FIB, fib_blanked=False), {"action": "raster"}),
        (replace(FIB, fib_blanked=False, stage_bias_v=0.0), {"action": "milling pass"}),
        (SAFE, {"stage_tilt_deg": 20.0}),
    ],
)
def test_ordinary_work_passes(state, changes):
    assert refusal(state, changes, SETTINGS) is None


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (replace(WORKING, target_x_um=-60.0), {"target_x_um": -8000.0}),
        (replace(FIB, target_x_um=-60.0), {"target_x_um": -8000.0}),
        (replace(WORKING, stage_tilt_deg=5.0), {"target_x_um": -8000.0}),
        (replace(WORKING, target_z_um=-270.0), {"target_z_um": 0.0}),
        (replace(WORKING, target_z_um=-270.0), {"target_x_um": -8000.0}),
        (replace(WORKING, target_x_um=0.0, stage_x_um=-350.0), {"stage_y_um": 400.0}),
        (replace(WORKING, beam_blanked=False, fib_blanked=False, stage_bias_v=500.0), {"beam_blanked": True}),
        (replace(FIB, beam_blanked=False, fib_blanked=False), {"fib_blanked": True}),
    ],
)
def test_a_bad_state_has_a_way_back(state, changes):
    assert refusal(state, changes, SETTINGS) is None


def test_every_rule_watches_something_that_exists():
    fields = State.__dataclass_fields__
    assert all(set(rule.watches) <= set(fields) and (rule.watches or rule.actions) for rule in RULES)


def test_neither_plan_nor_console_gets_past(scope, RE):
    scope.target.x_um.put(-400.0)
    with pytest.raises(InterlockError, match="pillar"):
        RE(bps.mv(scope.target.x_um, 0.0))
    with pytest.raises(InterlockError, match="fib mode"):
        scope.fib.blanked.put(False)
    with pytest.raises(InterlockError, match="not parked"):
        scope.mode.set("fib")
    assert scope.target.x_um.get() == -400.0
    assert scope.fib.blanked.get() is True
    assert scope.mode.get() == "xray"


def test_moves_queued_together_are_judged_again_when_their_turn_comes(scope):
    """The mode change is allowed when it is queued, but not after the move before it."""
    with scope.worker.lock:  # nothing is carried out before both are accepted
        approach, change = scope.target.x_um.set(-400.0), scope.mode.set("fib")
    approach.wait()
    with pytest.raises(InterlockError, match="not parked"):
        change.wait()
    assert scope.mode.get() == "xray"


def test_make_safe_blanks_and_says_so(scope):
    scope.target.x_um.put(-400.0)
    scope.beam.blanked.put(False)
    assert scope.make_safe() == ["electron beam: found on, now blanked"]
    assert scope.beam.blanked.get() is True
    assert scope.make_safe() == []


def test_a_raster_without_bias_or_beam_does_not_start(scope):
    scope.mode.put("fib")
    scope.sector.stage()
    with pytest.raises(InterlockError, match="unblank fib"):
        scope.sector.kickoff()
    scope.fib.blanked.put(False)
    with pytest.raises(InterlockError, match="bias"):
        scope.sector.kickoff()
    scope.sector.unstage()


def test_a_stop_takes_no_blanking_back(scope, twin):
    """A stop cancels the queued move but not the queued command to blank."""
    scope.beam.blanked.put(False)
    with scope.worker.lock:
        move, blank = scope.rotation.set(90.0), scope.beam.blanked.set(True)
        scope.stop()
    with pytest.raises(RuntimeError, match="stopped before it began"):
        move.wait()
    blank.wait()
    assert twin.beam.get("blanked") is True
    assert twin.rotation.get("angle_deg") == 0.0


def test_no_way_of_setting_a_value_goes_round(scope, twin):
    """put, put with force, set, and a move of the stage instead of the target."""
    scope.target.x_um.put(-160.0)
    scope.target.z_um.put(300.0)
    scope.target.x_um.put(0.0)
    attempts = [
        lambda: scope.target.z_um.put(0.0),
        lambda: scope.target.z_um.put(0.0, force=True),
        lambda: scope.target.z_um.set(0.0).wait(),
        lambda: scope.stage.z_um.put(190.0),
    ]
    for attempt in attempts:
        with pytest.raises(InterlockError, match="pillar"):
            attempt()
    assert twin.target.get("z_um") == 300.0
    assert twin.stage.get("z_um") == 0.0


def test_a_move_of_two_axes_is_judged_as_the_staircase_it_is(scope, RE, twin):
    """The straight line from the working position to (0, 700) is clear of the pillar; along x first it is not."""
    scope.target.x_um.put(-400.0)
    with pytest.raises(InterlockError, match="pillar"):
        RE(bps.mv(scope.target.x_um, 0.0, scope.target.y_um, 700.0))
    assert (twin.target.get("x_um"), twin.target.get("y_um")) == (-400.0, 0.0)
    RE(bps.mv(scope.target.y_um, 700.0))
    RE(bps.mv(scope.target.x_um, 0.0))
    with pytest.raises(InterlockError, match="pillar"):
        scope.target.y_um.put(0.0)  # the tip would pass behind the pillar, the arm through it


def test_the_second_leg_is_judged_where_the_first_one_ends(scope, RE, twin):
    """Both moves are allowed from the state in which they are queued."""
    scope.target.x_um.put(-400.0)
    with pytest.raises(FailedStatus) as failure:
        RE(bps.mv(scope.stage.x_um, -240.0, scope.target.x_um, -300.0))
    assert "pillar" in str(failure.value.__cause__)
    assert (twin.stage.get("x_um"), twin.target.get("x_um")) == (-240.0, -400.0)


def test_a_parking_place_within_reach_of_the_tilting_stage_is_refused(twin, tmp_path):
    near = Settings().model_copy(update={"target": Settings().target.model_copy(update={"park_x_um": -1500.0})})
    with pytest.raises(ValueError, match=r"target\.park_x_um: a tilting stage reaches .* park at"):
        Instrument(twin, near, tmp_path / "frames")

"""The rules, as a table and on the live instrument."""

from dataclasses import replace

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import InterlockError
from devices.interlocks import RULES, State, distance_to_axis_um, refusal, swept_cylinders
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
        (replace(WORKING, beam_blanked=False, fib_blanked=False, stage_bias_v=500.0), {"beam_blanked": True}),
        (replace(FIB, beam_blanked=False, fib_blanked=False), {"fib_blanked": True}),
    ],
)
def test_a_bad_state_has_a_way_back(state, changes):
    assert refusal(state, changes, SETTINGS) is None


coordinates = st.tuples(st.floats(-600, 600), st.floats(-600, 600), st.floats(-250, 300))


@given(start=coordinates, end=coordinates, ceiling_um=st.floats(-250, 300))
def test_distance_along_a_path_is_that_of_the_densely_walked_path(start, end, ceiling_um):
    a, b = np.array(start), np.array(end)
    path = a + np.linspace(0, 1, 4001)[:, None] * (b - a)
    below = path[path[:, 2] <= ceiling_um]
    walked_um = np.hypot(below[:, 0], below[:, 1]).min() if len(below) else np.inf
    exact_um = distance_to_axis_um(a, b, ceiling_um)
    stride_um = np.linalg.norm(b - a) / 4000
    assert exact_um <= walked_um + 1e-9
    if np.isfinite(walked_um):
        assert walked_um <= exact_um + stride_um + 1e-9 or (below[:, 2].max() > ceiling_um - stride_um)


@given(
    axis=st.sampled_from(["target_x_um", "target_y_um", "target_z_um"]), start=coordinates, value=st.floats(-600, 600)
)
def test_no_accepted_move_enters_the_clearance(axis, start, value):
    """Whatever is accepted from a clear place keeps the tip out of the enlarged cylinders all along the way."""
    before = replace(SAFE, target_x_um=start[0], target_y_um=start[1], target_z_um=start[2])
    after = replace(before, **{axis: value})
    path = np.linspace(before.target_from_pillar_um, after.target_from_pillar_um, 500)
    clearance_um = SETTINGS.target.clearance_um

    def inside(points):
        return any(
            (
                (np.hypot(points[:, 0], points[:, 1]) < radius_um + clearance_um - 1e-9)
                & (points[:, 2] < top_um + clearance_um)
            ).any()
            for _, radius_um, top_um in swept_cylinders(SETTINGS)
        )

    if not inside(path[:1]) and refusal(before, {axis: value}, SETTINGS) is None:
        assert not inside(path)


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
    """The mode change is allowed as things stand, and no longer once the move before it has happened."""
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

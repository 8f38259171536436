"""Distances along moves, compared with a bar and a path made of many points."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from devices.clearance import bar_to_axis_um, swept_cylinders, tilted_reach_um
from devices.interlocks import refusal
from tests.devices.test_interlocks import SAFE, WORKING
from xrm_sims.settings import Settings

SETTINGS = Settings()
HALF_UM = 0.5 * SETTINGS.target.tip_um
coordinates = st.tuples(st.floats(-900, 600), st.floats(-600, 600), st.floats(-250, 300))


def bar(tips):
    """Return (tip, point of the bar, 3): points on face and arm, on the lines along x that can come closest."""
    back_um = np.concatenate([[0.0], np.geomspace(1, 3000, 60)])
    across_um = np.linspace(-HALF_UM, HALF_UM, 21)
    x, y = np.meshgrid(-back_um, across_um)
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, -HALF_UM)], axis=-1)
    return tips[:, None] + points


@given(start=coordinates, end=coordinates, ceiling_um=st.floats(-250, 300))
def test_the_distance_along_a_path_is_that_of_the_densely_walked_path(start, end, ceiling_um):
    path = np.array(start) + np.linspace(0, 1, 1001)[:, None] * (np.array(end) - np.array(start))
    below = path[path[:, 2] - HALF_UM <= ceiling_um]
    past, aside = np.minimum(below[:, 0], 0), np.maximum(np.abs(below[:, 1]) - HALF_UM, 0)
    walked_um = np.hypot(past, aside).min() if len(below) else math.inf
    exact_um = bar_to_axis_um(start, end, ceiling_um, SETTINGS.target.tip_um)
    stride_um = math.dist(start, end) / 1000
    assert exact_um <= walked_um + 1e-9
    if math.isfinite(walked_um):
        cut_short = (below[:, 2] - HALF_UM).max() > ceiling_um - stride_um
        assert walked_um <= exact_um + stride_um + 1e-9 or cut_short


def enters(tips, clearance_um):
    """Return True when any point of a bar at any of the tips (relative to the axis) is in an enlarged cylinder."""
    points = bar(tips)
    radius = np.hypot(points[..., 0], points[..., 1])
    return any(
        ((radius < c.radius_um + clearance_um - 1e-6) & (points[..., 2] < c.top_um + clearance_um - 1e-6)).any()
        for c in swept_cylinders(SETTINGS)
    )


@given(
    axis=st.sampled_from([f"{what}_{axis}_um" for what in ("target", "stage") for axis in "xyz"]),
    start=coordinates,
    value=st.floats(-600, 600),
)
def test_no_accepted_move_of_target_or_stage_sweeps_the_clearance(axis, start, value):
    """The arm counts too: a tip beyond the pillar cannot move sideways through it."""
    before = replace(SAFE, target_x_um=start[0], target_y_um=start[1], target_z_um=start[2])
    after = replace(before, **{axis: value})
    path = np.linspace(before.target_from_axis_um, after.target_from_axis_um, 60)
    if not enters(path[:1], SETTINGS.target.clearance_um) and refusal(before, {axis: value}, SETTINGS) is None:
        assert not enters(path, SETTINGS.target.clearance_um)


def test_lowering_the_stage_for_flats_keeps_the_distance_to_disk_and_pillar():
    lowered = {"stage_z_um": -SETTINGS.stage.flat_lowering_um}
    assert refusal(WORKING, lowered, SETTINGS) is None
    assert refusal(replace(WORKING, **lowered), {"stage_z_um": 0.0}, SETTINGS) is None
    just_over = replace(WORKING, target_z_um=-200.0)
    assert "disk" in refusal(replace(just_over, **lowered), {"stage_z_um": 6.0}, SETTINGS)


def test_no_corner_of_the_tilting_disk_comes_as_far_as_the_sphere_it_is_kept_in():
    specimen, limits = SETTINGS.specimen, SETTINGS.stage
    radius_um = 0.5 * specimen.disk_diameter_um
    top_um = specimen.top_um - specimen.disk_below_top_um
    corners = [
        (side * radius_um, z)
        for side in (-1, 1)
        for z in (top_um, top_um - specimen.disk_thickness_um, specimen.top_um)
    ]
    reach_um = tilted_reach_um(SETTINGS)
    for tilt in np.radians(np.linspace(*limits.tilt_deg, 71)):
        for x, z in corners:
            for stage_x, stage_z in ((a, b) for a in limits.xy_um for b in limits.z_um):
                at_x = math.cos(tilt) * (x + stage_x) + math.sin(tilt) * (z + stage_z)
                at_z = -math.sin(tilt) * (x + stage_x) + math.cos(tilt) * (z + stage_z)
                assert math.hypot(at_x, limits.xy_um[1], at_z) <= reach_um
    assert reach_um + SETTINGS.target.clearance_um < -SETTINGS.target.park_x_um

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrm_sims.patterns import (
    Annulus,
    CrossSection,
    Polygon,
    Raster,
    Rectangle,
    check_within_field,
    pattern_from_dict,
)
from xrm_sims.settings import Settings

SQUARE = ((-2.0, -1.0), (2.0, -1.0), (2.0, 3.0), (-2.0, 3.0))
STAR = ((0.0, 4.0), (-1.0, 1.0), (-4.0, 0.0), (-1.0, -1.0), (0.0, -4.0), (1.0, -1.0), (4.0, 0.0), (1.0, 1.0))
ALL = [
    Raster((64, 32), 4.0, 0.5, (1.0, -2.0)),
    Rectangle((4.0, 6.0), 1.0, (0.5, 0.5), solid_fraction=0.7, passes=3),
    Polygon(STAR, 0.5),
    Annulus(2.0, 5.0, 1.5, (1.0, 0.0)),
    CrossSection((6.0, 4.0), 2.0, face="-u", steps=4, centre_um=(-1.0, 1.0)),
]


def covered_um2(pattern, n=2000):
    """Return the area weighted by the relative depth, from n x n points over the extent."""
    (u0, v0), (u1, v1) = pattern.extent_um
    at = (np.arange(n) + 0.5) / n
    share = pattern.depth_share(u0 + (u1 - u0) * at, (v0 + (v1 - v0) * at)[:, None])
    assert share.min() >= 0
    assert share.max() <= 1
    return share.mean() * (u1 - u0) * (v1 - v0)


@pytest.mark.parametrize("pattern", ALL, ids=lambda p: p.kind)
def test_patterns_travel_as_json(pattern):
    assert pattern_from_dict(json.loads(json.dumps(pattern.as_dict()))) == pattern


@pytest.mark.parametrize("pattern", ALL, ids=lambda p: p.kind)
def test_area_is_what_the_depth_covers(pattern):
    assert covered_um2(pattern) == pytest.approx(pattern.area_um2 * pattern.mean_depth_share, rel=3e-3)


@given(
    phase=st.lists(st.floats(0.0, 1.0), min_size=3, max_size=9),
    radius=st.floats(0.1, 50.0),
    centre=st.tuples(st.floats(-40, 40), st.floats(-40, 40)),
)
def test_any_convex_polygon_has_the_area_it_covers(phase, radius, centre):
    corners = 2 * np.pi * (np.arange(len(phase)) + 0.8 * np.array(phase)) / len(phase)
    vertices = tuple((centre[0] + radius * np.cos(a), centre[1] + radius * np.sin(a)) for a in corners)
    pattern = Polygon(vertices, 1.0)
    (u0, v0), (u1, v1) = pattern.extent_um
    edge = 2.0 * (u1 - u0 + v1 - v0) * max(u1 - u0, v1 - v0) / 400  # one grid step around the outline
    assert covered_um2(pattern, 400) == pytest.approx(pattern.area_um2, abs=edge)


def test_dose_and_time_follow_the_volume():
    ring = Annulus(1.0, 3.0, 2.0, solid_fraction=0.5)
    assert ring.volume_um3 == pytest.approx(np.pi * 8 * 2.0 * 0.5)
    assert ring.dose_nc(0.146) == pytest.approx(ring.volume_um3 / 0.146)
    assert ring.estimated_s(1000.0, 0.146) == pytest.approx(ring.dose_nc(0.146))  # 1 nA
    # the paper's field: 643 um^3 are 4.4 uC, 24 h at 50 pA and 73 minutes at 1 nA
    box = Rectangle((20.7, 20.7), 1.5)
    assert box.estimated_s(50.0, 0.146) / 3600 == pytest.approx(24.0, rel=0.03)
    assert box.estimated_s(1000.0, 0.146) / 60 == pytest.approx(72.0, rel=0.03)


@pytest.mark.parametrize(("face", "deepest"), [("+u", (3, 1)), ("-u", (0, 1)), ("+v", (1, 3)), ("-v", (1, 0))])
def test_a_cross_section_is_deepest_at_its_face(face, deepest):
    trench = CrossSection((4.0, 4.0), 1.0, face=face, steps=4)
    at = np.array([-1.5, -0.5, 0.5, 1.5])
    share = trench.depth_share(at, at[:, None])
    assert sorted(set(share.ravel())) == [0.25, 0.5, 0.75, 1.0]
    assert share[deepest[1], deepest[0]] == 1.0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Polygon(((0, 0), (1, 0)), 1.0), "three or more"),
        (lambda: Polygon(((0, 0), (1, 0), (2, 0)), 1.0), "empty"),
        (lambda: Polygon(((0, 0), (1, 1), (1, 0), (0, 1)), 1.0), "crosses itself, edge 0 meets edge 2"),
        (lambda: Polygon(((0, 0), (1, 0), (1, float("nan"))), 1.0), "finite"),
        (lambda: Polygon(SQUARE, 0.0), "depth_um"),
        (lambda: Annulus(3.0, 3.0, 1.0), "inner_radius_um: needs 0 or more and less than the outer radius of 3.0 um"),
        (lambda: Annulus(-1.0, 3.0, 1.0), "inner_radius_um"),
        (lambda: Annulus(0.0, float("inf"), 1.0), "outer_radius_um"),
        (lambda: CrossSection((4.0, 4.0), 1.0, face="up"), "face: needs one of"),
        (lambda: CrossSection((4.0, 4.0), 1.0, steps=0), "steps"),
        (lambda: Rectangle((4.0, 0.0), 1.0), "size_v_um"),
        (lambda: Rectangle((4.0, 1.0), 1.0, passes=0), "passes"),
        (lambda: Raster((1, 4), 1.0, 1.0), "shape"),
        (lambda: pattern_from_dict({"kind": "spiral"}), "kind: needs one of raster, rectangle, polygon"),
        (lambda: pattern_from_dict({"kind": "annulus", "radius": 2}), "annulus: unknown field 'radius'"),
    ],
)
def test_refused_in_one_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        make()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "reach"),
    [
        (Annulus(10.0, 60.0, 1.0, (50.0, 0.0)), 220),
        (Polygon(((0, 0), (0, 120), (5, 0)), 1.0), 240),
        (CrossSection((10.0, 20.0), 1.0, centre_um=(0.0, -95.0)), 210),
    ],
)
def test_nothing_reaches_beyond_the_scan_field(pattern, reach):
    with pytest.raises(ValueError, match=f"reaches {reach} um across the scan centre, the scan field is 200 um"):
        check_within_field(pattern, Settings())

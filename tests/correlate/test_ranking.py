import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrm_sims.correlate.volume.defects import Defect
from xrm_sims.correlate.volume.ranking import (
    COLUMNS,
    DefectRule,
    NoDefectError,
    Roi,
    best_roi,
    load_rule,
    numbered_roi,
    rank_rois,
)


def defect(**changes):
    plain = dict(
        label=0, kind="pore", centre_um=(0.0, 0.0, 0.0), diameter_um=0.8, volume_um3=0.27, extents_um=(0.8, 0.8, 0.8),
        normal=(0.0, 0.0, 1.0), opening_um=0.8, depth_um=3.0, edge_um=8.0, particle=1, contrast=0.8, enclosure=1.0,
        confidence=1.0,
    )  # fmt: skip
    return Defect(**(plain | changes))


RULE = DefectRule()


def best(defects, rule=RULE):
    return best_roi(rank_rois(defects, rule), rule).defect


def test_the_rule_prefers_large_and_shallow():
    deep, shallow, small = defect(depth_um=5.5), defect(depth_um=1.5), defect(diameter_um=0.45)
    assert best([deep, small, shallow]).depth_um == 1.5
    assert best([small, deep]).diameter_um == 0.8
    assert best([deep, small, shallow], DefectRule(shallow_weight=0.0, edge_weight=0.0)).depth_um == 5.5


def test_voids_that_touch_have_no_middle_to_aim_at():
    one = defect(diameter_um=0.5)
    several = defect(kind="crack", diameter_um=1.4, extents_um=(3.0, 2.0, 0.7), opening_um=0.3)
    assert best([several, one]) == replace(one, label=1)
    with pytest.raises(NoDefectError, match="1 by several in one"):
        best([several])
    assert best([one, several], DefectRule(most_hollow_um=0.5)).diameter_um == 1.4
    assert best([one, replace(several, opening_um=0.6)]).diameter_um == 1.4  # as thick as it is full


def test_an_intact_particle_beside_it_decides_between_equals():
    alone, beside = defect(), defect(comparison=7, comparison_intact=1.0)
    assert best([alone, beside]).comparison == 7


def test_a_rule_that_nothing_meets_says_why():
    rois = rank_rois([defect(depth_um=9.0), defect(depth_um=0.2), defect(edge_um=1.0)], RULE)
    with pytest.raises(NoDefectError, match=r"none of 3 qualifies \(2 by depth, 1 by distance to the side\)"):
        best_roi(rois, RULE)
    with pytest.raises(NoDefectError, match="the volume contains none"):
        best_roi([], RULE)


def test_a_number_that_is_none_and_one_that_is_held_back():
    rois = rank_rois([defect(depth_um=9.0), defect()], RULE)
    assert numbered_roi(rois, 1).defect.depth_um == 3.0
    with pytest.raises(ValueError, match=r"roi: 3 is none of those found, which are numbered from 1 to 2"):
        numbered_roi(rois, 3)
    with pytest.raises(ValueError, match=r"roi: 0 is none"):
        numbered_roi(rois, 0)
    with pytest.raises(ValueError, match=r"roi: 2 is held back by the rule \(depth\)"):
        numbered_roi(rois, 2)
    with pytest.raises(ValueError, match=r"roi: 1 was asked for, and none was found"):
        numbered_roi([], 1)


@given(
    st.lists(
        st.builds(
            defect,
            depth_um=st.floats(0, 10),
            diameter_um=st.floats(0.1, 3),
            edge_um=st.floats(0, 20),
            confidence=st.floats(0, 1),
            kind=st.sampled_from(["pore", "crack"]),
        ),
        max_size=8,
    )
)
def test_numbers_run_from_the_best_on_and_those_held_back_come_last(defects):
    rois = rank_rois(defects, RULE)
    assert [roi.number for roi in rois] == list(range(1, len(defects) + 1))
    order = [(roi.obstacle is not None, -roi.score) for roi in rois]
    assert order == sorted(order)
    assert all(tuple(roi.as_row()) == COLUMNS for roi in rois)


def test_a_rule_is_read_as_it_was_written(tmp_path):
    rule = DefectRule(kinds=("crack",), depth_um=(0.5, 4.0), size_weight=0.25)
    (tmp_path / "rule.toml").write_text(rule.as_toml())
    assert load_rule(tmp_path / "rule.toml") == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth = [1, 2]", "depth: unknown key; the keys are kinds, depth_um, least_diameter_um"),
        ("depth_um = [6, 1]", "the lesser first"),
        ("size_weight = nan", "size_weight: Input should be a finite number"),
        ("kinds = ", "not valid TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_rule_that_is_none(tmp_path, text, message):
    path = tmp_path / "rule.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_rule(path)


@given(st.floats(0, 1.57), st.floats(-3.14, 3.14), st.sampled_from(["", "depth"]))
def test_a_line_of_the_table_is_read_back(tilt, azimuth, obstacle):
    normal = (math.sin(tilt) * math.cos(azimuth), math.sin(tilt) * math.sin(azimuth), math.cos(tilt))
    roi = Roi(defect(label=3, kind="crack", normal=normal, extents_um=(2.0, 1.0, 0.2)), 2.5, obstacle or None)
    read = Roi.from_row(json.loads(json.dumps(roi.as_row())))
    assert read.defect.normal == pytest.approx(normal, abs=1e-7)
    assert replace(read, defect=replace(read.defect, normal=normal)) == roi
    assert Defect.from_dict(json.loads(json.dumps(roi.defect.as_dict()))) == roi.defect

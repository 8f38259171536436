"""find-rois on a volume with planted voids: what it prints, keeps and draws, and what it refuses."""

import csv
import re

import numpy as np
import pytest

from tests.app.conftest import journal_starts, make_data_root, own_lines, twin_values
from tests.app.planted import TOP_UM, VOIDS, VOXEL_UM, searched
from xrm_sims.app.session.session import open_session
from xrm_sims.correlate.volume.ranking import COLUMNS, DefectRule, load_rule
from xrm_sims.data import results


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A data root and the uids in it."""
    data = make_data_root(tmp_path_factory.mktemp("rois") / "data")
    return data, searched(data)


def test_table_pictures_and_rule_are_left(measured, command, tmp_path):
    data, uids = measured
    ended = command("find-rois", uids["tomography"][:8], "--out", tmp_path, "--data", data)
    assert ended.code == 0, ended.err
    assert "3 pores, 1 cracks; 3 within the rule" in ended.out
    assert (tmp_path / "rois.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert load_rule(tmp_path / "rule.toml") == DefectRule()
    kept = results.load(data, uids["tomography"], "rois")
    assert kept.metadata["rule"] == DefectRule().model_dump(mode="json")
    table = kept.tables["rois"]
    said = table[["x_um", "y_um", "z_um"]].to_numpy()
    for name, (centre, half) in VOIDS.items():
        away = np.linalg.norm(said - centre, axis=1)
        assert away.min() < 0.5 * VOXEL_UM, name
        row = table.iloc[int(away.argmin())]
        assert row["kind"] == ("crack" if name == "crack" else "pore")
        assert row["depth_um"] == pytest.approx(TOP_UM - centre[2], abs=0.15)
        assert row["edge_um"] == pytest.approx(10.0 - np.hypot(*centre[:2]), abs=0.15)
        assert row["opening_um" if name == "crack" else "diameter_um"] == pytest.approx(2 * half[2], rel=0.3)
        assert (row["obstacle"] == "depth") == (name == "too deep")
    with open(tmp_path / "rois.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["roi"]) for row in rows] == table["roi"].tolist() == [1, 2, 3, 4]
    for name in ("x_um", "depth_um", "confidence"):
        np.testing.assert_allclose([float(row[name]) for row in rows], table[name], atol=6e-4)


def test_a_rule_of_ones_own_and_what_it_takes_to_reach_one(measured, command, tmp_path):
    data, uids = measured
    (tmp_path / "rule.toml").write_text('kinds = ["crack"]\n')
    ended = command("find-rois", uids["tomography"][:8], "--rule", tmp_path / "rule.toml", "--roi", "1", "--data", data)
    assert ended.code == 0, ended.err
    assert "3 pores, 1 cracks; 1 within the rule" in ended.out
    depth_um = results.load(data, uids["tomography"], "rois").tables["rois"]["depth_um"][0]
    assert depth_um == pytest.approx(2.5, abs=0.15)
    assert f"{depth_um:.2f} um deep, then a map" in ended.out
    assert ended.out.count("of instrument time") == 2


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["deadbeef"], "run 'deadbeef'"),
        (["{se_image}"], "is a se_image; the uid of a tomography is needed here"),
        (["{bare}"], "has no result 'volume'.* xrm-sims reconstruct"),
        (["{tomography}", "--roi", "0"], "roi: 0 is none of those found, which are numbered from 1 to 4"),
        (["{tomography}", "--roi", "999"], "roi: 999 is none of those found"),
        (["{tomography}", "--roi", "4"], r"roi: 4 is held back by the rule \(depth\)"),
        (["{tomography}", "--rule", "/nowhere/rule.toml"], "rule /nowhere/rule.toml: cannot be read"),
    ],
)
def test_what_is_refused(measured, command, args, told):
    data, uids = measured
    refused(data, command, [word.format(**uids) for word in args], told)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"sample": "cathode_pillar:2"}, "shows cathode_pillar, and cathode_pillar:2 is mounted"),
        ({"seed": 2}, "of the instrument's clock, which is at 0 s: another specimen was mounted since"),
    ],
)
def test_another_specimen_is_mounted(measured, command, other, told):
    data, uids = measured
    with open_session(data, fresh=True, **other):
        pass
    refused(data, command, [uids["tomography"][:8], "--roi", "1"], told)


def refused(data, command, args, told):
    """One sentence, nothing moved, nothing milled, nothing measured."""
    before, runs = twin_values(data), len(journal_starts(data))
    ended = command("find-rois", *args, "--data", data)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert re.search(told, line), line
    assert twin_values(data) == before
    assert len(journal_starts(data)) == runs


def test_settings_of_the_data_root_and_of_a_file_change_what_is_found(measured, command, tmp_path):
    data, uids = measured
    find = ["find-rois", uids["tomography"][:8], "--data", data]
    root_file, mine = data / "settings.toml", tmp_path / "mine.toml"
    before = root_file.read_text()
    try:
        root_file.write_text(before + "\n[defects]\ncrack_length_um = 50.0\n[rois]\ndepth_um = [0.1, 9.0]\n")
        assert "4 pores, 0 cracks; 4 within the rule" in command(*find).out
        mine.write_text("[defects]\ncrack_length_um = 1.0\n")
        assert "3 pores, 1 cracks; 4 within the rule" in command(*find, "--settings", mine).out
        mine.write_text("[defects]\ncrack_um = 1.0\n")
        ended = command(*find, "--settings", mine)
        assert ended.code != 0
        assert "defects.crack_um: unknown key; the keys are least_contrast, " in ended.err
    finally:
        root_file.write_text(before)

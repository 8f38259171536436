"""correlate on a tomogram that is there: what is refused before anything moves, and what an earlier milling forbids."""

import re
from dataclasses import replace

import numpy as np
import pytest

import plans
from plans.ions import sims_request
from tests.app.conftest import journal_starts, make_data_root, own_lines, twin_values
from tests.app.planted import searched
from xrm_sims.app.correlative.findings import Choices, Height
from xrm_sims.app.correlative.workflow import FIELD_UM, Analysis
from xrm_sims.app.planner import Planner
from xrm_sims.app.planner.search import MAP_PIXELS
from xrm_sims.app.session.hardware import session_settings
from xrm_sims.app.session.session import open_session
from xrm_sims.app.tomography.tomogram import kept_tomogram
from xrm_sims.data import results
from xrm_sims.patterns import Rectangle


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    data = make_data_root(tmp_path_factory.mktemp("correlate") / "data")
    return data, searched(data)


def refused(data, command, tmp_path, args, told):
    """One sentence; nothing moved, milled, measured or written."""
    before, runs, out = twin_values(data), len(journal_starts(data)), tmp_path / "out"
    ended = command("correlate", *args, "--out", out, "--data", data)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert re.search(told, line), line
    assert twin_values(data) == before
    assert len(journal_starts(data)) == runs
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "needs either --auto, or a tomography, or a tomography and a sims_raster, got nothing"),
        (["{tomography}", "--auto"], "needs either --auto, or a tomography"),
        (["{tomography}", "{se_image}", "{bare}"], "needs either --auto, or a tomography"),
        (["deadbeef"], "run 'deadbeef'"),
        (["{se_image}"], "is a se_image; the uid of a tomography is needed here"),
        (["{bare}"], "has no result 'volume'.* xrm-sims reconstruct"),
        (["{tomography}", "--roi", "0"], "roi: 0 is none of those found, which are numbered from 1 to 4"),
        (["{tomography}", "--roi", "4"], r"roi: 4 is held back by the rule \(depth\)"),
        (["{tomography}", "--rule", "/nowhere/rule.toml"], "rule /nowhere/rule.toml: cannot be read"),
        (["{tomography}", "{bare}"], "is a tomography, and a sims_raster or an se_image is needed"),
        (["{tomography}", "{se_image}"], "the height of its plane in the tomogram is unknown"),
        (["{tomography}", "--seed", "3"], "with one run --seed has no meaning; it takes --rule, --roi"),
        (["--auto", "--roi", "2", "--z-um", "1"], "with --auto --roi, --z-um has no meaning; it takes --seed, --num"),
        (["{tomography}", "--elements", "Ni,Xx"], "'Xx' is not an element"),
        (["{tomography}", "--fov-um", "0"], "--fov-um: needs a number above 0"),
        (["{tomography}", "--sims-counts", "1e6"], "sims_counts: 1e.06 counts of 58Ni .* but the map may erode"),
        (["{tomography}", "{bare}", "--roi", "2"], "with two runs --roi has no meaning; it takes --z-um"),
    ],
)
def test_what_is_refused(measured, command, tmp_path, args, told):
    data, uids = measured
    refused(data, command, tmp_path, [word.format(**uids) for word in args], told)


def test_a_data_root_that_is_not_there(command, tmp_path):
    ended = command("correlate", "3f2a9", "--data", tmp_path / "nowhere")
    assert ended.code == 1
    assert "nowhere does not exist; name another with --data" in ended.err


def test_an_roi_out_of_reach_is_not_dug_for(measured, command, tmp_path):
    data, uids = measured
    settings = data / "settings.toml"
    text = settings.read_text()
    settings.write_text(text + "[ion]\nmax_scan_field_um = 10.0\n")  # the box of 19 um does not fit
    try:
        refused(data, command, tmp_path, [uids["tomography"]], "roi: 1 is out of reach: .*field")
    finally:
        settings.write_text(text)


def test_a_map_of_unknown_depth_needs_a_height(measured, command, tmp_path):
    data, uids = measured
    with open_session(data) as session:
        uid = session.run(plans.sims_raster(session.scope, fov_um=5.0, shape=(16, 16)))
    refused(data, command, tmp_path, [uids["tomography"], uid], "plane in the tomogram is unknown; .*--z-um")


def test_what_may_have_been_milled_away_is_not_dug_for(measured, command, tmp_path):
    """A milling that nobody registered lies somewhere within what a mode change does; one beside it does no harm."""
    data, uids = measured
    assert command("find-rois", uids["tomography"], "--data", data).code == 0
    x, y, deep_um = results.load(data, uids["tomography"], "rois").tables["rois"].loc[0, ["x_um", "y_um", "depth_um"]]
    with open_session(data) as session:
        session.run(plans.mill(session.scope, Rectangle((2.0, 2.0), 0.2, centre_um=(x, y), passes=1)))  # too shallow
        session.run(
            plans.mill(session.scope, Rectangle((2.0, 2.0), deep_um, centre_um=(x + 7.0, y), passes=1))
        )  # too far
        gone = session.run(plans.mill(session.scope, Rectangle((2.0, 2.0), deep_um, centre_um=(x + 5.0, y), passes=1)))
    said = f"roi: 1 may have been milled away by run {gone[:8]}"
    refused(data, command, tmp_path, [uids["tomography"], "--roi", "1"], said)


def test_another_specimen_is_mounted(measured, command, tmp_path):
    data, uids = measured
    with open_session(data, fresh=True, sample="cathode_pillar:2") as session:
        uid = session.run(plans.sims_raster(session.scope, fov_um=5.0, shape=(16, 16)))
    shows = "shows cathode_pillar, and cathode_pillar:2 is mounted"
    refused(data, command, tmp_path, [uids["tomography"]], shows)
    both = "the tomogram shows cathode_pillar and the map cathode_pillar:2; both need to be of one specimen"
    refused(data, command, tmp_path, [uids["tomography"], uid], both)


def test_the_map_is_chosen_by_counts_and_by_what_it_may_consume(measured):
    """Dwell goes with the counts; pixels widen until no more is consumed than the ROI can spare."""
    data, uids = measured
    tomogram, settings = kept_tomogram(uids["tomography"], data), session_settings(data)
    usual = Analysis(data, settings).choose(tomogram)
    paper = {"shape": (settings.scan.side_px,) * 2, "dwell_ms": settings.scan.sims_dwell_ms, "frames": 1}
    assert usual.sims_args == paper
    assert usual.fov_um == max(FIELD_UM)  # the pillar is one particle
    assert usual.mill.size_um[0] > usual.fov_um

    many = Analysis(data, settings, Choices(sims_counts=100.0, fov_um=15.0)).choose(tomogram)
    how = sims_request(settings, fov_um=many.fov_um, **many.sims_args)
    assert Planner(settings).ions_per_pixel(how, "NCA", "58Ni") == pytest.approx(100.0, rel=0.02)
    assert how.raster.fov_um == 15.0
    next_finer = MAP_PIXELS[MAP_PIXELS.index(how.raster.shape[0]) - 1]
    finer = replace(how, raster=replace(how.raster, shape=(next_finer, next_finer)))
    budget_nm = settings.planning.map_depth_nm
    assert how.estimate(settings).eroded_nm <= budget_nm < finer.estimate(settings).eroded_nm
    with pytest.raises(ValueError, match=r"the map may erode 0\.1 nm"):
        Analysis(data, settings, Choices(sims_counts=100.0, map_depth_nm=0.1)).choose(tomogram)


def test_heights_that_contradict_each_other():
    both = Height(2.0, 0.1).mean(Height(2.3, 0.2))
    assert (both.z_um, both.sigma_um) == pytest.approx((2.06, 0.1 * 0.2 / np.hypot(0.1, 0.2)))
    with pytest.raises(
        ValueError, match=r"plane: two measurements of its height differ by 1\.00 um, and 0\.89 um are allowed"
    ):
        Height(2.0, 0.1).mean(Height(3.0, 0.2))

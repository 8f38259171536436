"""The command maps on rasters of the twin with an inclusion: its output, results and figures, and its refusals."""

import re

import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky.utils import Msg

import plans
from tests.app.conftest import SETTINGS, journal_starts, own_lines
from xrm_sims.app.maps.sims_maps import in_words, make_maps, report_maps
from xrm_sims.app.session.session import open_session
from xrm_sims.data import read_raster, results
from xrm_sims.settings import Settings

# the scan frame is the specimen frame, except for a drift of half a pixel a frame; one particle is rich in 6Li
DRIFT_NM_PER_MIN = 4000.0
PLANTED_UM = (0.0, 0.0, 4.5, 1.0)
PLANTED = f"""{SETTINGS}
[mode_change]
offset_um = [0.0, 0.0]
rotation_deg = 0.0
scale = 0.0
shear_deg = 0.0
drift_nm_per_min = {DRIFT_NM_PER_MIN}
[specimen]
enriched_um = [{list(PLANTED_UM)}]
"""
PNG = b"\x89PNG\r\n"
LITHIUM = ("6Li", "7Li", "27Al", "59Co")
USUAL = Settings().sector.channels
FIELD = {"shape": (48, 48), "fov_um": 6.0}


def failing_at(plan, kickoff):
    """A plan that ends with an error instead of its nth frame."""
    seen = []

    def fail():
        yield Msg("null")
        raise RuntimeError("a cable came off")

    def insert(msg):
        seen.extend([msg] if msg.command == "kickoff" else [])
        return (fail(), None) if msg.command == "kickoff" and len(seen) == kickoff else (None, None)

    return bpp.plan_mutator(plan, insert)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A data root and the uids in it: lithium over an inclusion, a raster in parts, a small one, an image."""
    data = tmp_path_factory.mktemp("maps") / "data"
    data.mkdir()
    (data / "settings.toml").write_text(PLANTED)
    with open_session(data, seed=1) as session:
        scope = session.scope
        lithium = session.run(plans.sims_raster(scope, **FIELD, frames=3, channels=LITHIUM))
        with pytest.raises(RuntimeError, match="a cable came off"):
            session.run(failing_at(plans.sims_raster(scope, **FIELD, frames=3), 3))
        begun = journal_starts(data)[-1]
        rest = session.run(plans.resume_sims_raster(scope, begun, done_indices=[0, 1]))
        small = session.run(plans.sims_raster(scope, shape=(16, 16), fov_um=6.0, frames=2, channels=USUAL))
        image = session.run(plans.se_image(scope, fov_um=50.0, shape=(16, 16)))
    return data, {"lithium": lithium, "begun": begun["uid"], "rest": rest, "small": small, "image": image}


@pytest.fixture(scope="module")
def mapped(measured, tmp_path_factory):
    """The command's summary of the lithium, the folder of its figures and its result."""
    data, uids = measured
    out = tmp_path_factory.mktemp("pictures")
    maps = report_maps(uids["lithium"][:8], data=data, out=out, ratio="6Li/7Li", align=True)
    natural = Settings().sector.natural_6li_per_7li
    return "\n".join(in_words(maps, natural)), out, results.load(data, uids["lithium"], "maps")


def test_an_inclusion_is_found_mapped_and_followed_down(mapped):
    summary, out, kept = mapped
    for name in ("maps", "ratio", "profile"):
        assert (out / f"{name}.png").read_bytes().startswith(PNG)
    assert re.search(r"6Li/7Li 0\.08\d+ \+- 0\.00\d+ \(natural 0\.0821\); deviating regions: 1", summary)
    (region,) = kept.tables["regions"].to_dict("records")
    assert region["kind"] == "enriched"
    assert (region["u_um"], region["v_um"]) == pytest.approx(PLANTED_UM[:2], abs=0.5)
    assert region["ratio"] > 0.8
    assert f"1: enriched, {region['ratio']:.4f}" in summary
    rest = kept.metadata["rest"]
    assert abs(rest["value"] - Settings().sector.natural_6li_per_7li) < 5 * rest["sigma"]
    profile = kept.tables["profile_region_1"]
    assert (profile["6Li"] > 0.8 * profile["7Li"]).all()


def test_the_saved_numbers(measured, mapped):
    data, uids = measured
    _, _, kept = mapped
    counts, start = read_raster(uids["lithium"], data)
    assert kept.metadata["channels"] == list(LITHIUM)
    assert kept.metadata["dead_time_ns"] == pytest.approx([25.0] * 4)
    assert kept.metadata["dark_rate_cps"] == pytest.approx([5.0] * 4)
    assert kept.arrays["counts"].shape == kept.arrays["variance"].shape == (4, 48, 48)
    inner = np.s_[:, 6:-6, 6:-6]
    raw = counts.sum(axis=0, dtype=float)[inner].sum(axis=(1, 2))
    assert (kept.arrays["counts"][inner].sum(axis=(1, 2)) / raw)[1] == pytest.approx(1.015, abs=0.03)
    totals = kept.tables["totals"]
    whole = kept.arrays["frames_seen"] > 3 - 1e-6
    np.testing.assert_allclose(totals["ions"], kept.arrays["counts"][:, whole].sum(axis=1))
    np.testing.assert_allclose(totals["error"], np.sqrt(kept.arrays["variance"][:, whole].sum(axis=1)))
    # the drift that was set, whatever its direction, in the time between the middles of two frames
    step_px = 1e-3 * DRIFT_NM_PER_MIN / 60 * (48 * 48 * 0.55e-3) / (6.0 / 48)
    drift, sigma = kept.arrays["drift_px"], kept.arrays["drift_sigma_px"]
    moved = np.hypot(*(drift[2] - drift[0]))
    assert abs(moved - 2 * step_px) < 4 * np.hypot(*sigma[0]) + 4 * np.hypot(*sigma[2])
    # each frame takes its dose: half way through frame n the field has sunk by n + 1/2 frames
    rate, area_um2 = 0.148, 36.0
    wanted_um = (np.arange(3) + 0.5) * start["frame_dose_nc"] * rate / area_um2
    profile = kept.tables["profile_whole_field"]
    np.testing.assert_allclose(profile["depth_um"], wanted_um, rtol=1e-6)
    np.testing.assert_allclose(profile["depth_sigma_um"], 0.2 * wanted_um, rtol=0.01)


def test_all_parts_of_an_interrupted_raster_are_gathered(measured):
    data, uids = measured
    maps = make_maps(uids["rest"], data, Settings(), None, False, lambda name, share: None)
    assert maps.uid == uids["begun"]
    assert maps.summed.frames == 3
    assert maps.drift is None
    assert maps.summed.whole.all()
    depth_um = maps.profiles["whole field"].scale.depth_um
    np.testing.assert_allclose(depth_um / depth_um[0], [1, 3, 5], rtol=1e-6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["deadbeef"], "run 'deadbeef' is not in the catalogue"),
        (["{image}"], "is a se_image, but maps need a sims_raster"),
        (["{small}"], "frames of 16 x 16 pixels are too small to be aligned.*--no-align"),
        (["{small}", "--ratio", "6Li/7Li"], "has no channel 6Li, its collectors were set to 7Li, 27Al, 58Ni, 59Co"),
        (["{small}", "--ratio", "6Li"], "ratio: needs two channels with a slash between them.* got '6Li'"),
    ],
)
def test_what_is_refused(measured, command, args, message):
    data, uids = measured
    ended = command("maps", *(word.format(**uids) for word in args), "--data", data)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert re.search(message, line), line
